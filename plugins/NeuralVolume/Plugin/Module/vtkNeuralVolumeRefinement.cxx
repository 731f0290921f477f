#include "vtkNeuralVolumeRefinement.h"

#include "vtkClientServerStream.h"
#include "vtkCollection.h"
#include "vtkCommand.h"
#include "vtkNeuralVolumeLook.h"
#include "vtkNeuralVolumeRepresentation.h"
#include "vtkNew.h"
#include "vtkObjectFactory.h"
#include "vtkPVRenderView.h"
#include "vtkPVSession.h"
#include "vtkRenderWindowInteractor.h"
#include "vtkSMPVRepresentationProxy.h"
#include "vtkSMProperty.h"
#include "vtkSMPropertyHelper.h"
#include "vtkSMProxyManager.h"
#include "vtkSMRenderViewProxy.h"
#include "vtkSMRepresentationProxy.h"
#include "vtkSMSession.h"
#include "vtkSmartPointer.h"

#include <algorithm>

vtkStandardNewMacro(vtkNeuralVolumeRefinement);

namespace
{
// Internal property of the representation's proxy: does the client ask for passes?
const char* const REFINED = "IsRefined";
const char* const STATUS = "Status";

// One of its properties, and what it is called outside.
const char* const PROPERTY = "SamplesPerVoxel";
const char* const EXPOSED_PROPERTY = "NeuralSamplesPerVoxel";

// Between two passes Qt gets time for everything else.
const double PAUSE_SECONDS = 0.01;

// When to look again while the client and the server are busy with each other.
const double BUSY_SECONDS = 0.02;

// Finds the first of a session's proxies that has objects and is as it should be.
template <class Proxy, class Condition>
Proxy* FindProxy(vtkSMSession* session, Condition isWanted)
{
  vtkNew<vtkCollection> all;
  session->GetAllRemoteObjects(all);
  for (int i = 0; i < all->GetNumberOfItems(); ++i)
  {
    auto* proxy = Proxy::SafeDownCast(all->GetItemAsObject(i));
    if (proxy && proxy->GetObjectsCreated() && isWanted(proxy))
    {
      return proxy;
    }
  }
  return nullptr;
}

// Calls a method of a proxy's objects, and returns what the first rank's returns.
vtkClientServerStream Ask(vtkSMProxy* proxy, const char* method, vtkTypeUInt32 where)
{
  vtkClientServerStream stream;
  stream << vtkClientServerStream::Invoke << VTKOBJECT(proxy) << method
         << vtkClientServerStream::End;
  proxy->GetSession()->ExecuteStream(where, stream, true);
  return proxy->GetSession()->GetLastResult(vtkPVSession::RENDER_SERVER_ROOT);
}
}

vtkNeuralVolumeRefinement::~vtkNeuralVolumeRefinement()
{
  this->Detach();
}

void vtkNeuralVolumeRefinement::Attach(
  vtkPVRenderView* view, vtkNeuralVolumeRepresentation* representation)
{
  this->Detach();
  this->View = view;
  this->Representation = representation;
  this->ResetTag =
    view->AddObserver(vtkCommand::ResetCameraEvent, this, &vtkNeuralVolumeRefinement::OnReset);
  this->FindViewProxy(); // may be too early; it is tried again
}

void vtkNeuralVolumeRefinement::Detach()
{
  this->LeaveInteractor();
  if (this->View)
  {
    this->View->RemoveObserver(this->ResetTag);
  }
  if (this->ViewProxy)
  {
    this->ViewProxy->RemoveObserver(this->ViewTag);
  }
  this->ViewProxy = nullptr;
  this->RepresentationProxy = nullptr;
  this->View = nullptr;
  this->IsInteracting = this->IsPending = false;
}

bool vtkNeuralVolumeRefinement::FindViewProxy()
{
  // Servers have no proxy manager.
  if (!this->ViewProxy && this->View && vtkSMProxyManager::IsInitialized())
  {
    vtkSMSession* session = vtkSMProxyManager::GetProxyManager()->GetActiveSession();
    if (session)
    {
      this->ViewProxy = FindProxy<vtkSMRenderViewProxy>(session,
        [&](vtkSMProxy* proxy) { return proxy->GetClientSideObject() == this->View; });
    }
    if (this->ViewProxy)
    {
      this->ViewTag = this->ViewProxy->AddObserver(
        vtkCommand::StartEvent, this, &vtkNeuralVolumeRefinement::OnRenderStart);
    }
  }
  return this->ViewProxy != nullptr;
}

bool vtkNeuralVolumeRefinement::FindRepresentationProxy()
{
  if (!this->RepresentationProxy && this->ViewProxy)
  {
    this->RepresentationProxy =
      FindProxy<vtkSMRepresentationProxy>(this->ViewProxy->GetSession(),
        [&](vtkSMProxy* proxy) { return proxy->GetClientSideObject() == this->Representation; });
  }
  return this->RepresentationProxy != nullptr;
}

void vtkNeuralVolumeRefinement::ChooseArray()
{
  // The proxy in the view, of which the representation's is a hidden part, shows its properties.
  vtkSMProperty* property = this->RepresentationProxy->GetProperty(PROPERTY);
  auto* display = FindProxy<vtkSMPVRepresentationProxy>(this->ViewProxy->GetSession(),
    [&](vtkSMProxy* proxy) { return proxy->GetProperty(EXPOSED_PROPERTY) == property; });
  this->HasChosenArray = display != nullptr;
  this->Display = display;
  if (display)
  {
    vtkNeuralVolumeLook::ChooseArray(display);
  }
}

void vtkNeuralVolumeRefinement::SetOpacities(bool suggested)
{
  if (this->FindViewProxy() && this->FindRepresentationProxy())
  {
    vtkNeuralVolumeLook::SetOpacities(this->RepresentationProxy, suggested);
  }
}

bool vtkNeuralVolumeRefinement::FindInteractor()
{
  vtkRenderWindowInteractor* interactor = this->View ? this->View->GetInteractor() : nullptr;
  // Scripts have an interactor as well, but nothing that runs its event loop.
  if (interactor && !interactor->IsA("QVTKInteractor"))
  {
    interactor = nullptr;
  }
  if (interactor != this->Interactor.GetPointer())
  {
    this->LeaveInteractor();
    this->Interactor = interactor;
    const unsigned long events[] = { vtkCommand::StartInteractionEvent,
      vtkCommand::EndInteractionEvent, vtkCommand::TimerEvent };
    for (int i = 0; interactor && i < 3; ++i)
    {
      this->InteractorTags[i] =
        interactor->AddObserver(events[i], this, &vtkNeuralVolumeRefinement::OnInteraction);
    }
  }
  return interactor != nullptr;
}

void vtkNeuralVolumeRefinement::LeaveInteractor()
{
  this->CancelTimer();
  if (this->Interactor)
  {
    for (unsigned long tag : this->InteractorTags)
    {
      this->Interactor->RemoveObserver(tag);
    }
  }
  this->Interactor = nullptr;
}

void vtkNeuralVolumeRefinement::StartTimer(double seconds)
{
  if (this->TimerId == -1)
  {
    this->TimerId = this->Interactor->CreateOneShotTimer(
      std::max(1ul, static_cast<unsigned long>(1000 * seconds)));
  }
}

void vtkNeuralVolumeRefinement::CancelTimer()
{
  if (this->TimerId != -1 && this->Interactor)
  {
    this->Interactor->DestroyTimer(this->TimerId);
  }
  this->TimerId = -1;
}

// ParaView has moved the camera to where it shows the whole box.
void vtkNeuralVolumeRefinement::OnReset()
{
  if (this->FindViewProxy() && this->FindRepresentationProxy())
  {
    if (!this->HasChosenArray)
    {
      this->ChooseArray();
    }
    if (auto* display = vtkSMPVRepresentationProxy::SafeDownCast(this->Display))
    {
      vtkNeuralVolumeLook::Frame(this->ViewProxy, display);
    }
  }
}

// Tells the representation, wherever it renders, whether the passes to come are asked for.
void vtkNeuralVolumeRefinement::OnRenderStart()
{
  this->CancelTimer(); // this render starts another one
  if (this->FindRepresentationProxy())
  {
    if (!this->HasChosenArray)
    {
      this->ChooseArray();
    }
    const int wanted = this->FindInteractor();
    if (wanted && this->Display)
    {
      vtkNeuralVolumeLook::RefreshTraining(this->Display);
    }
    vtkSMPropertyHelper refined(this->RepresentationProxy, REFINED);
    if (refined.GetAsInt() != wanted)
    {
      refined.Set(wanted);
      this->RepresentationProxy->UpdateVTKObjects();
    }
  }
}

void vtkNeuralVolumeRefinement::RequestPass()
{
  if (this->FindViewProxy() && this->FindInteractor())
  {
    this->IsPending = true;
    if (!this->IsInteracting)
    {
      this->StartTimer(PAUSE_SECONDS);
    }
  }
}

void vtkNeuralVolumeRefinement::OnInteraction(vtkObject*, unsigned long event, void* data)
{
  if (event == vtkCommand::StartInteractionEvent)
  {
    this->IsInteracting = true;
    this->CancelTimer();
  }
  else if (event == vtkCommand::EndInteractionEvent)
  {
    this->IsInteracting = false;
    if (this->IsPending && this->ViewProxy)
    {
      // ParaView renders by itself, perhaps after a delay, if anything moved.
      vtkSMPropertyHelper delay(this->ViewProxy, "NonInteractiveRenderDelay", true);
      this->StartTimer(delay.GetAsDouble() + BUSY_SECONDS);
    }
  }
  else if (data && this->TimerId != -1 && *static_cast<int*>(data) == this->TimerId)
  {
    this->TimerId = -1; // the interactor destroys it
    this->OnTimer();
  }
}

void vtkNeuralVolumeRefinement::OnTimer()
{
  if (!this->ViewProxy || this->IsInteracting)
  {
    return;
  }
  if (this->ViewProxy->GetSession()->GetPendingProgress())
  {
    this->StartTimer(BUSY_SECONDS);
    return;
  }
  const bool isComplete = this->GetProgress() >= 1.0;
  this->IsPending = !isComplete || this->PrepareNext() < 1.0;
  if (this->RepresentationProxy)
  {
    this->RepresentationProxy->UpdatePropertyInformation(
      this->RepresentationProxy->GetProperty(STATUS));
  }
  if (isComplete && this->IsPending)
  {
    this->StartTimer(PAUSE_SECONDS);
  }
  else if (this->IsPending)
  {
    // The render may run anything, even delete this.
    vtkSmartPointer<vtkNeuralVolumeRefinement> guard(this);
    vtkSmartPointer<vtkSMRenderViewProxy> view(this->ViewProxy.GetPointer());
    view->StillRender(); // which requests the next pass
  }
}

// Is the picture made by a server?
bool vtkNeuralVolumeRefinement::IsElsewhere()
{
  return this->View->GetUseDistributedRenderingForRender() && this->FindRepresentationProxy() &&
    this->ViewProxy->GetSession()->IsA("vtkSMSessionClient");
}

// Returns how much of the picture is done where it is made, and brings the status along.
double vtkNeuralVolumeRefinement::GetProgress()
{
  if (!this->IsElsewhere())
  {
    return this->Representation->GetProgress();
  }
  std::string status;
  Ask(this->RepresentationProxy, "GetStatus", vtkPVSession::RENDER_SERVER_ROOT)
    .GetArgument(0, 0, &status);
  this->Representation->SetRemoteStatus(status);
  double progress = 1.0;
  Ask(this->RepresentationProxy, "ReduceProgress", vtkPVSession::RENDER_SERVER)
    .GetArgument(0, 0, &progress);
  return progress;
}

// Spends a pass on the next time step where the picture is made, and returns how much is done.
double vtkNeuralVolumeRefinement::PrepareNext()
{
  if (!this->IsElsewhere())
  {
    return this->Representation->PrepareNext();
  }
  double progress = 1.0;
  Ask(this->RepresentationProxy, "PrepareNext", vtkPVSession::RENDER_SERVER)
    .GetArgument(0, 0, &progress);
  return progress;
}
