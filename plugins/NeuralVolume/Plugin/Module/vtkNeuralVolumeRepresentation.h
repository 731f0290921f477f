/**
 * @class   vtkNeuralVolumeRepresentation
 * @brief   Shows the neural model that image data carry.
 *
 * As vtkImageVolumeRepresentation, which does all but the drawing, but with vtkNeuralVolumeMapper:
 * the data stay where they are, and each rank draws the part of the model that lies within its own
 * piece of the data.
 *
 * In ParaView's window a still picture is refined step by step, see vtkNeuralVolumeRefinement;
 * elsewhere, and for screenshots, it is made in one go.
 */
#ifndef vtkNeuralVolumeRepresentation_h
#define vtkNeuralVolumeRepresentation_h

#include "NeuralVolumeRenderingModule.h" // for the export macro
#include "vtkImageVolumeRepresentation.h"
#include "vtkNew.h"         // for vtkNew
#include "vtkWeakPointer.h" // for vtkWeakPointer

#include <string> // for std::string

class vtkNeuralVolumeMapper;
class vtkNeuralVolumeRefinement;
class vtkPVRenderView;
class vtkRenderer;

class NEURALVOLUMERENDERING_EXPORT vtkNeuralVolumeRepresentation
  : public vtkImageVolumeRepresentation
{
public:
  static vtkNeuralVolumeRepresentation* New();
  vtkTypeMacro(vtkNeuralVolumeRepresentation, vtkImageVolumeRepresentation);
  void PrintSelf(ostream& os, vtkIndent indent) override;

  int ProcessViewRequest(
    vtkInformationRequestKey* request, vtkInformation* inInfo, vtkInformation* outInfo) override;
  void SetVisibility(bool visible) override;

  ///@{
  /**
   * Settings of the mapper, see vtkNeuralVolumeMapper.
   */
  void SetSamplesPerVoxel(double samples);
  void SetUnitDistance(double distance);
  void SetJitter(bool jitter);
  void SetImageReduction(int pixels);
  void SetSampling(const char* name);
  void SetInterpolation(const char* name);
  void SetBackend(const char* name);
  void SetDevice(const char* name);
  ///@}

  ///@{
  /**
   * Take the opacities that the model suggests, or those that ParaView starts with.
   */
  void SuggestOpacities();
  void ResetOpacities();
  ///@}

  /**
   * Set whether the client is going to ask for the passes to come. Off on every process, as by
   * default, each render makes the whole picture.
   */
  vtkSetMacro(IsRefined, bool);

  /**
   * Get how much of the picture is drawn on this process, 0 to 1.
   */
  double GetProgress() const;

  /**
   * Get the least progress of all ranks, which all have to call this together.
   */
  double ReduceProgress() const;

  /**
   * Spend a pass on what the next time step needs. Returns the least progress of all ranks, which
   * all have to call this together; 1 where there is nothing to be done.
   */
  double PrepareNext();

  ///@{
  /**
   * Get what was drawn last and how. The client of a server that renders is told by
   * vtkNeuralVolumeRefinement.
   */
  const char* GetStatus() const;
  void SetRemoteStatus(const std::string& status) { this->RemoteStatus = status; }
  ///@}

protected:
  vtkNeuralVolumeRepresentation();
  ~vtkNeuralVolumeRepresentation() override;

  bool AddToView(vtkView* view) override;
  bool RemoveFromView(vtkView* view) override;
  void UpdateMapperParameters() override;

private:
  vtkNeuralVolumeRepresentation(const vtkNeuralVolumeRepresentation&) = delete;
  void operator=(const vtkNeuralVolumeRepresentation&) = delete;

  vtkNeuralVolumeMapper* GetMapper() const;
  void ChoosePass(vtkPVRenderView* view);
  void DrawAfterPeeling(vtkRenderer* renderer);
  void RestorePeeling();
  void ShareStatusAfterwards(vtkPVRenderView* view);
  void ShareStatus();
  void LeaveSharing();

  bool IsRefined = false;
  std::string RemoteStatus;
  vtkNew<vtkNeuralVolumeRefinement> Refinement;
  vtkWeakPointer<vtkRenderer> ChangedRenderer;
  unsigned long RestoringTag = 0;
  vtkWeakPointer<vtkRenderer> SharedRenderer;
  unsigned long SharingTag = 0;
};

#endif
