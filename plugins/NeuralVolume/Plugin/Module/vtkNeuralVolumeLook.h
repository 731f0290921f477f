/**
 * @class   vtkNeuralVolumeLook
 * @brief   Shows a model at first as its own values suggest.
 *
 * On the client. When image data that tell how to show them get a representation, other than by a
 * state file, this sets its Scale, the range of the colours, the opacities and their unit distance,
 * each only where nobody has done so before; and a scalar bar gets the array's unit.
 */
#ifndef vtkNeuralVolumeLook_h
#define vtkNeuralVolumeLook_h

class vtkSMProxy;
class vtkSMPVRepresentationProxy;
class vtkSMRenderViewProxy;

namespace vtkNeuralVolumeLook
{
/**
 * Look out for new representations and scalar bars from now on. Does nothing on servers, and
 * nothing more when called again.
 */
void Watch();

/**
 * Colour by the first array where none is chosen: without one nothing would be drawn.
 */
void ChooseArray(vtkSMPVRepresentationProxy* display);

/**
 * Move the camera of a view along its direction to where what the display's opacities show fills the
 * picture: the box is often far larger. Does nothing unless these are the suggested opacities, and
 * nothing else is shown there.
 */
void Frame(vtkSMRenderViewProxy* view, vtkSMPVRepresentationProxy* display);

/**
 * Fetch what a display's source tells in its panel, if that is a training: the window would ask for
 * it at the next Apply only.
 */
void RefreshTraining(vtkSMProxy* display);

/**
 * Give the display whose part `representation` is the opacities that its data suggest, or those
 * that ParaView starts with, which rise evenly over the range of the colours.
 */
void SetOpacities(vtkSMProxy* representation, bool suggested);
}

#endif
