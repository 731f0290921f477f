/**
 * @class   vtkNeuralVolumeRefinement
 * @brief   Lets ParaView's window refine a picture step by step.
 *
 * Lives on the client, beside the representation's object there. At the first render it chooses an
 * array to colour by where none is chosen, as ParaView does for its own volumes; without one nothing
 * would be drawn. Where ParaView resets the camera, it brings it to what is visible. After each still
 * render it starts a timer of the view's interactor, whose event loop is Qt's; when that fires and
 * the picture is not complete yet, wherever it is made, it renders again; once it is, what the next
 * time step needs is decoded in the same way. Nothing but the window has
 * such an event loop: elsewhere it stays idle and the picture is made in one go.
 */
#ifndef vtkNeuralVolumeRefinement_h
#define vtkNeuralVolumeRefinement_h

#include "NeuralVolumeRenderingModule.h" // for the export macro
#include "vtkObject.h"
#include "vtkWeakPointer.h" // for vtkWeakPointer

class vtkNeuralVolumeRepresentation;
class vtkPVRenderView;
class vtkRenderWindowInteractor;
class vtkSMProxy;
class vtkSMRenderViewProxy;

class NEURALVOLUMERENDERING_EXPORT vtkNeuralVolumeRefinement : public vtkObject
{
public:
  static vtkNeuralVolumeRefinement* New();
  vtkTypeMacro(vtkNeuralVolumeRefinement, vtkObject);

  ///@{
  /**
   * Serve a representation in a view; may be called on every process.
   */
  void Attach(vtkPVRenderView* view, vtkNeuralVolumeRepresentation* representation);
  void Detach();
  ///@}

  /**
   * Take the opacities that the data suggest, or those that ParaView starts with. Does nothing but
   * on the client.
   */
  void SetOpacities(bool suggested);

  /**
   * Render again soon. Does nothing but on the client.
   */
  void RequestPass();

protected:
  vtkNeuralVolumeRefinement() = default;
  ~vtkNeuralVolumeRefinement() override;

private:
  vtkNeuralVolumeRefinement(const vtkNeuralVolumeRefinement&) = delete;
  void operator=(const vtkNeuralVolumeRefinement&) = delete;

  bool FindViewProxy();
  bool FindRepresentationProxy();
  void ChooseArray();
  bool FindInteractor();
  void LeaveInteractor();
  void StartTimer(double seconds);
  void CancelTimer();
  void OnReset();
  void OnRenderStart();
  void OnInteraction(vtkObject* caller, unsigned long event, void* data);
  void OnTimer();
  bool IsElsewhere();
  double GetProgress();
  double PrepareNext();

  vtkWeakPointer<vtkPVRenderView> View;
  vtkNeuralVolumeRepresentation* Representation = nullptr; // owns this
  vtkWeakPointer<vtkSMRenderViewProxy> ViewProxy;
  vtkWeakPointer<vtkSMProxy> RepresentationProxy;
  vtkWeakPointer<vtkSMProxy> Display; // of which that is a part
  vtkWeakPointer<vtkRenderWindowInteractor> Interactor;
  unsigned long ViewTag = 0;
  unsigned long ResetTag = 0;
  unsigned long InteractorTags[3] = { 0, 0, 0 };
  int TimerId = -1;
  bool HasChosenArray = false;
  bool IsInteracting = false;
  bool IsPending = false; // is there a picture to go on with, or the next time step's?
};

#endif
