/**
 * @class   vtkNeuralVolumeMapper
 * @brief   Draws the neural model that its input carries.
 *
 * An image (or a rectilinear grid) whose field data have `amgsrn_model` (path and checksum of a model file) is a coarse
 * preview of that model. This mapper draws the model itself within the image's box. The picture is
 * made in Python, by amgsrn_paraview.neural_volume; the mapper hands over the camera, the opaque
 * depth, the sampled transfer functions and the settings, and blends the result over the frame
 * buffer. Rays end at the opaque depth; what is translucent and in front is covered by the volume.
 *
 * With the backend "opengl" a shader of VTK's own volume mapper evaluates the model instead, right in
 * the frame buffer; see amgsrn_paraview.shader_volume.
 *
 * A picture is refined over several calls of Render(), see SetPass(), and kept until something that
 * it depends on changes.
 *
 * Input that carries no model, or one that cannot be drawn, is drawn as an ordinary volume by the
 * superclass; the reason is shown once.
 */
#ifndef vtkNeuralVolumeMapper_h
#define vtkNeuralVolumeMapper_h

#include "NeuralVolumeRenderingModule.h" // for the export macro
#include "vtkMultiBlockVolumeMapper.h"

#include <memory> // for std::unique_ptr
#include <string> // for std::string

struct vtkNeuralVolumeRequest;

class NEURALVOLUMERENDERING_EXPORT vtkNeuralVolumeMapper : public vtkMultiBlockVolumeMapper
{
public:
  static vtkNeuralVolumeMapper* New();
  vtkTypeMacro(vtkNeuralVolumeMapper, vtkMultiBlockVolumeMapper);
  void PrintSelf(ostream& os, vtkIndent indent) override;

  void Render(vtkRenderer* renderer, vtkVolume* volume) override;
  void ReleaseGraphicsResources(vtkWindow* window) override;

  ///@{
  /**
   * Settings of the ray marcher, see amgsrn_core.rendering.RenderSettings; a unit distance of 0 is
   * the mean spacing of the model's data. Sampling "auto" is "cached", or "exact" for pictures that
   * are made in one go.
   */
  vtkSetMacro(SamplesPerVoxel, double);
  vtkSetMacro(UnitDistance, double);
  vtkSetMacro(Jitter, bool);
  vtkSetStdStringFromCharMacro(Sampling);
  vtkSetStdStringFromCharMacro(Interpolation);
  vtkSetStdStringFromCharMacro(Backend);
  vtkSetStdStringFromCharMacro(Device);
  ///@}

  /**
   * While interacting one ray is cast for so many pixels along each axis, or for more where time
   * is short.
   */
  vtkSetMacro(ImageReduction, int);

  enum Passes
  {
    WHOLE,       ///< computes the whole picture, however long it takes (the default)
    REFINING,    ///< goes on with the picture for a while
    INTERACTIVE, ///< makes a rough one within a while
  };

  /**
   * Say what the next Render() may do, and for how many seconds if it is not the whole picture.
   */
  void SetPass(Passes pass, double seconds);
  Passes GetPass() const { return this->Pass; }

  /**
   * Get how much of the picture is drawn, 0 to 1; 1 too where there is nothing to be drawn.
   */
  vtkGetMacro(Progress, double);

  /**
   * Get what was drawn last and how, or an empty string.
   */
  const std::string& GetStatus() const { return this->Status; }

  /**
   * Decode for some seconds what the finished picture needs of the next time step. Returns how much
   * of that is done, 0 to 1; 1 too where there is nothing to be done.
   */
  double PrepareNext(double seconds);

  /**
   * Let the first rank's status tell of all ranks, which have to call this together.
   */
  void ShareStatus();

  /**
   * Tell whether a data object carries a model.
   */
  static bool CarriesModel(vtkDataObject* data);

protected:
  vtkNeuralVolumeMapper();
  ~vtkNeuralVolumeMapper() override;

private:
  vtkNeuralVolumeMapper(const vtkNeuralVolumeMapper&) = delete;
  void operator=(const vtkNeuralVolumeMapper&) = delete;

  struct Internals;

  bool DrawByShader(
    vtkRenderer* renderer, vtkVolume* volume, const vtkNeuralVolumeRequest& request);
  bool UpdatePicture(vtkRenderer* renderer, vtkNeuralVolumeRequest request);
  vtkNeuralVolumeRequest MakeRequest(vtkRenderer* renderer, vtkVolume* volume, vtkDataSet* input);
  void DrawPicture(vtkRenderer* renderer);
  void Complain(const std::string& sentence);

  double SamplesPerVoxel = 1.0;
  double UnitDistance = 0.0;
  bool Jitter = false;
  int ImageReduction = 2;
  std::string Sampling = "auto";
  std::string Interpolation = "linear";
  std::string Backend = "auto";
  std::string Device = "auto";

  Passes Pass = WHOLE;
  Passes LastPass = WHOLE;
  double Seconds = 0.0;
  double Progress = 1.0;
  std::string Status;
  std::string Complaint;
  std::unique_ptr<Internals> Internal;
};

#endif
