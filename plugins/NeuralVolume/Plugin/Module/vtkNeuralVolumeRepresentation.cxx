#include "vtkNeuralVolumeRepresentation.h"

#include "vtkCommand.h"
#include "vtkCommunicator.h"
#include "vtkImageData.h"
#include "vtkMultiProcessController.h"
#include "vtkNeuralVolumeLook.h"
#include "vtkNeuralVolumeMapper.h"
#include "vtkNeuralVolumeRefinement.h"
#include "vtkObjectFactory.h"
#include "vtkPVLODVolume.h"
#include "vtkPVRenderView.h"
#include "vtkRenderWindow.h"
#include "vtkRenderer.h"

vtkStandardNewMacro(vtkNeuralVolumeRepresentation);

namespace
{
// Of the frame time that the window wishes for, what a picture may take; the rest is transport.
const double SHARE_OF_FRAME = 0.3;

// vtkPVRenderView wishes for 5 frames a second during interaction and for 0.002 otherwise.
const double INTERACTIVE_RATE = 0.5;

// A pass of refinement; with all that comes on top of it the window stays responsive.
const double PASS_SECONDS = 0.11;

double LeastOfRanks(double own)
{
  double least = own;
  auto* controller = vtkMultiProcessController::GetGlobalController();
  if (controller && controller->GetNumberOfProcesses() > 1)
  {
    controller->AllReduce(&own, &least, 1, vtkCommunicator::MIN_OP);
  }
  return least;
}

// The method that tells of a screenshot is protected, but may be named through a derived class.
struct ScreenshotAccess : vtkPVView
{
  static bool IsCapturing(vtkPVView* view)
  {
    return (view->*(&ScreenshotAccess::GetInCaptureScreenshot))();
  }
};
}

vtkNeuralVolumeRepresentation::vtkNeuralVolumeRepresentation()
{
  this->VolumeMapper.TakeReference(vtkNeuralVolumeMapper::New());
  vtkNeuralVolumeLook::Watch();
}

vtkNeuralVolumeRepresentation::~vtkNeuralVolumeRepresentation()
{
  this->Refinement->Detach();
  this->RestorePeeling();
  this->LeaveSharing();
}

vtkNeuralVolumeMapper* vtkNeuralVolumeRepresentation::GetMapper() const
{
  return vtkNeuralVolumeMapper::SafeDownCast(this->VolumeMapper);
}

void vtkNeuralVolumeRepresentation::SetSamplesPerVoxel(double samples)
{
  this->GetMapper()->SetSamplesPerVoxel(samples);
}

void vtkNeuralVolumeRepresentation::SetUnitDistance(double distance)
{
  this->GetMapper()->SetUnitDistance(distance);
}

void vtkNeuralVolumeRepresentation::SetJitter(bool jitter)
{
  this->GetMapper()->SetJitter(jitter);
}

void vtkNeuralVolumeRepresentation::SuggestOpacities()
{
  this->Refinement->SetOpacities(true);
}

void vtkNeuralVolumeRepresentation::ResetOpacities()
{
  this->Refinement->SetOpacities(false);
}

void vtkNeuralVolumeRepresentation::SetImageReduction(int pixels)
{
  this->GetMapper()->SetImageReduction(pixels);
}

void vtkNeuralVolumeRepresentation::SetSampling(const char* name)
{
  this->GetMapper()->SetSampling(name);
}

void vtkNeuralVolumeRepresentation::SetInterpolation(const char* name)
{
  this->GetMapper()->SetInterpolation(name);
}

void vtkNeuralVolumeRepresentation::SetBackend(const char* name)
{
  this->GetMapper()->SetBackend(name);
}

void vtkNeuralVolumeRepresentation::SetDevice(const char* name)
{
  this->GetMapper()->SetDevice(name);
}

double vtkNeuralVolumeRepresentation::GetProgress() const
{
  return this->GetMapper()->GetProgress();
}

double vtkNeuralVolumeRepresentation::ReduceProgress() const
{
  return LeastOfRanks(this->GetProgress());
}

double vtkNeuralVolumeRepresentation::PrepareNext()
{
  const bool isShown = this->GetVisibility() && this->GetProgress() >= 1.0;
  return LeastOfRanks(isShown ? this->GetMapper()->PrepareNext(PASS_SECONDS) : 1.0);
}

const char* vtkNeuralVolumeRepresentation::GetStatus() const
{
  const std::string& own = this->GetMapper()->GetStatus();
  return own.empty() ? this->RemoteStatus.c_str() : own.c_str();
}

bool vtkNeuralVolumeRepresentation::AddToView(vtkView* view)
{
  if (!this->Superclass::AddToView(view))
  {
    return false;
  }
  if (auto* renderView = vtkPVRenderView::SafeDownCast(view))
  {
    this->Refinement->Attach(renderView, this);
  }
  return true;
}

bool vtkNeuralVolumeRepresentation::RemoveFromView(vtkView* view)
{
  this->Refinement->Detach();
  this->RestorePeeling();
  return this->Superclass::RemoveFromView(view);
}

void vtkNeuralVolumeRepresentation::SetVisibility(bool visible)
{
  this->Superclass::SetVisibility(visible);
  if (!visible)
  {
    this->RestorePeeling();
  }
}

int vtkNeuralVolumeRepresentation::ProcessViewRequest(
  vtkInformationRequestKey* request, vtkInformation* inInfo, vtkInformation* outInfo)
{
  if (!this->Superclass::ProcessViewRequest(request, inInfo, outInfo))
  {
    return 0;
  }
  if (request == vtkPVView::REQUEST_UPDATE())
  {
    // The superclass gives the box of the data, wherever the volume's scale and place put it.
    this->Actor->ComputeMatrix();
    vtkPVRenderView::SetGeometryBounds(inInfo, this, this->DataBounds, this->Actor->GetMatrix());
  }
  auto* view = vtkPVRenderView::SafeDownCast(this->GetView());
  if (view && request == vtkPVView::REQUEST_RENDER())
  {
    this->ChoosePass(view);
    this->ShareStatusAfterwards(view);
    if (vtkNeuralVolumeMapper::CarriesModel(this->Cache))
    {
      this->DrawAfterPeeling(view->GetRenderer());
    }
  }
  return 1;
}

void vtkNeuralVolumeRepresentation::ChoosePass(vtkPVRenderView* view)
{
  auto* mapper = this->GetMapper();
  const double rate = view->GetRenderWindow()->GetDesiredUpdateRate();
  if (ScreenshotAccess::IsCapturing(view))
  {
    mapper->SetPass(vtkNeuralVolumeMapper::WHOLE, 0.0);
  }
  else if (rate >= INTERACTIVE_RATE)
  {
    mapper->SetPass(vtkNeuralVolumeMapper::INTERACTIVE, SHARE_OF_FRAME / rate);
  }
  else if (this->IsRefined)
  {
    mapper->SetPass(vtkNeuralVolumeMapper::REFINING, PASS_SECONDS);
    this->Refinement->RequestPass();
  }
  else
  {
    mapper->SetPass(vtkNeuralVolumeMapper::WHOLE, 0.0);
  }
}

// Depth peeling draws volumes once per layer, into a frame buffer without depth, and expects its
// own code in the mapper's shader. A picture has no layers: while one is shown volumes are drawn
// after the translucent geometry instead. The renderer gets its setting back when it has drawn.
void vtkNeuralVolumeRepresentation::DrawAfterPeeling(vtkRenderer* renderer)
{
  if (!renderer->GetUseDepthPeelingForVolumes())
  {
    return;
  }
  this->RestorePeeling();
  renderer->SetUseDepthPeelingForVolumes(false);
  this->ChangedRenderer = renderer;
  this->RestoringTag = renderer->AddObserver(
    vtkCommand::EndEvent, this, &vtkNeuralVolumeRepresentation::RestorePeeling);
}

void vtkNeuralVolumeRepresentation::RestorePeeling()
{
  if (this->ChangedRenderer)
  {
    this->ChangedRenderer->SetUseDepthPeelingForVolumes(true);
    this->ChangedRenderer->RemoveObserver(this->RestoringTag);
    this->ChangedRenderer = nullptr;
  }
}

// When all ranks have drawn their parts, the first one learns what the others did.
void vtkNeuralVolumeRepresentation::ShareStatusAfterwards(vtkPVRenderView* view)
{
  this->LeaveSharing();
  auto* controller = vtkMultiProcessController::GetGlobalController();
  if (controller && controller->GetNumberOfProcesses() > 1 &&
    view->GetUseDistributedRenderingForRender() &&
    this->GetMapper()->GetPass() != vtkNeuralVolumeMapper::INTERACTIVE)
  {
    this->SharedRenderer = view->GetRenderer();
    this->SharingTag = this->SharedRenderer->AddObserver(
      vtkCommand::EndEvent, this, &vtkNeuralVolumeRepresentation::ShareStatus);
  }
}

void vtkNeuralVolumeRepresentation::ShareStatus()
{
  this->LeaveSharing();
  this->GetMapper()->ShareStatus();
}

void vtkNeuralVolumeRepresentation::LeaveSharing()
{
  if (this->SharedRenderer)
  {
    this->SharedRenderer->RemoveObserver(this->SharingTag);
    this->SharedRenderer = nullptr;
  }
}

void vtkNeuralVolumeRepresentation::UpdateMapperParameters()
{
  this->Superclass::UpdateMapperParameters();
  auto* image = vtkImageData::SafeDownCast(this->Cache);
  if (!image || !this->VolumeMapper->GetCropping())
  {
    return;
  }
  // The superclass scales the bounds of this rank's piece; the box is that of all pieces.
  double low[3], high[3], planes[6];
  image->TransformIndexToPhysicalPoint(
    this->WholeExtent[0], this->WholeExtent[2], this->WholeExtent[4], low);
  image->TransformIndexToPhysicalPoint(
    this->WholeExtent[1], this->WholeExtent[3], this->WholeExtent[5], high);
  for (int i = 0; i < 3; ++i)
  {
    planes[2 * i] = this->CroppingOrigin[i] + this->CroppingScale[i] * std::min(low[i], high[i]);
    planes[2 * i + 1] = this->CroppingOrigin[i] + this->CroppingScale[i] * std::max(low[i], high[i]);
  }
  this->VolumeMapper->SetCroppingRegionPlanes(planes);
}

void vtkNeuralVolumeRepresentation::PrintSelf(ostream& os, vtkIndent indent)
{
  this->Superclass::PrintSelf(os, indent);
  os << indent << "IsRefined: " << this->IsRefined << "\n";
  os << indent << "Status: " << this->GetStatus() << "\n";
}
