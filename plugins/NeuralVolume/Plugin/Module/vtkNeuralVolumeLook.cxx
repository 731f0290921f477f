#include "vtkNeuralVolumeLook.h"

#include "vtkBoundingBox.h"
#include "vtkCallbackCommand.h"
#include "vtkCamera.h"
#include "vtkCollection.h"
#include "vtkCommand.h"
#include "vtkDataObject.h"
#include "vtkMath.h"
#include "vtkNew.h"
#include "vtkPVArrayInformation.h"
#include "vtkPVDataInformation.h"
#include "vtkRenderer.h"
#include "vtkSMArrayListDomain.h"
#include "vtkSMPVRepresentationProxy.h"
#include "vtkSMProperty.h"
#include "vtkSMPropertyHelper.h"
#include "vtkSMProxyManager.h"
#include "vtkSMRenderViewProxy.h"
#include "vtkSMSession.h"
#include "vtkSMSessionProxyManager.h"
#include "vtkSMSourceProxy.h"
#include "vtkSMTransferFunctionManager.h"
#include "vtkSMTransferFunctionProxy.h"
#include "vtkVolumeMapper.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace
{
// Field arrays of the plugin's data sets, see plugins/amgsrn_paraview/datasets.py.
const char* const SCALE = "amgsrn_scale";
const char* const UNIT_DISTANCE = "amgsrn_unit_distance";
const std::string LOOK = "amgsrn_look:";
const std::string OUTLINE = "amgsrn_outline:";

// What is visible leaves this part of a picture's edges free.
const double MARGIN = 0.05;

// Of a proxy that shows image data: what the plugin exposes of its representation.
const char* const EXPOSED_UNIT_DISTANCE = "NeuralUnitDistance";
const char* const EXPOSED_BLEND_MODE = "NeuralBlendMode";
const char* const OWN_PROPERTY = "UnitDistance";

// Of the trainer: a line that tells how far it is.
const char* const PROGRESS = "Progress";

// Of a control point: value, opacity, midpoint and sharpness.
const unsigned int NUMBERS = 4;

vtkPVArrayInformation* FieldArray(vtkSMProxy* display, const std::string& name)
{
  vtkSMPropertyHelper input(display, "Input", true);
  auto* source = vtkSMSourceProxy::SafeDownCast(input.GetAsProxy());
  vtkPVDataInformation* data =
    source ? source->GetDataInformation(input.GetOutputPort()) : nullptr;
  return data ? data->GetArrayInformation(name.c_str(), vtkDataObject::FIELD) : nullptr;
}

// A client knows the range of each component only: of a single tuple that is its value.
std::vector<double> Values(vtkPVArrayInformation* array)
{
  std::vector<double> values;
  for (int i = 0; array && i < array->GetNumberOfComponents(); ++i)
  {
    values.push_back(array->GetComponentRange(i)[0]);
  }
  return values;
}

std::string ColourArray(vtkSMProxy* display)
{
  const char* name = vtkSMPropertyHelper(display, "ColorArrayName").GetInputArrayNameToProcess();
  return name ? name : "";
}

// Sets the control points: pairs of a value and an opacity.
void SetPoints(vtkSMProxy* function, const std::vector<double>& pairs)
{
  std::vector<double> points;
  for (size_t i = 0; i + 1 < pairs.size(); i += 2)
  {
    points.insert(points.end(), { pairs[i], pairs[i + 1], 0.5, 0.0 });
  }
  vtkSMPropertyHelper helper(function, "Points");
  helper.SetNumberOfElements(static_cast<unsigned int>(points.size()));
  helper.Set(points.data(), static_cast<unsigned int>(points.size()));
  function->UpdateVTKObjects();
}

void SetColourRange(vtkSMProxy* table, const std::vector<double>& look)
{
  if (table && look[0] < look[look.size() - 2])
  {
    vtkSMTransferFunctionProxy::RescaleTransferFunction(table, look[0], look[look.size() - 2]);
  }
}

// The function of an array is shared by all displays: what has more points than two somebody made.
bool IsUntouched(vtkSMProxy* function)
{
  return vtkSMPropertyHelper(function, "Points").GetNumberOfElements() <= 2 * NUMBERS;
}

bool IsSuggested(vtkSMProxy* function, const std::vector<double>& look)
{
  vtkSMPropertyHelper points(function, "Points");
  const unsigned int count = static_cast<unsigned int>(look.size() / 2);
  bool equal = look.size() >= 4 && points.GetNumberOfElements() == NUMBERS * count;
  const double tolerance = equal ? 1e-6 * (look[look.size() - 2] - look[0]) : 0.0;
  for (unsigned int i = 0; equal && i < count; ++i)
  {
    equal = std::abs(points.GetAsDouble(NUMBERS * i) - look[2 * i]) <= tolerance &&
      points.GetAsDouble(NUMBERS * i + 1) == look[2 * i + 1];
  }
  return equal;
}

void ShowAtFirst(vtkSMPVRepresentationProxy* display)
{
  const std::vector<double> scale = Values(FieldArray(display, SCALE));
  if (scale.size() != 3)
  {
    return;
  }
  vtkSMPropertyHelper own(display, "Scale", true);
  if (std::all_of(scale.begin(), scale.end(), [](double s) { return s > 0.0; }) &&
    own.GetAsDouble(0) == 1.0 && own.GetAsDouble(1) == 1.0 && own.GetAsDouble(2) == 1.0)
  {
    own.Set(scale.data(), 3);
  }
  vtkNeuralVolumeLook::ChooseArray(display);
  // Of all arrays, for somebody may choose another one to colour by.
  auto* arrays = display->GetProperty("ColorArrayName")->FindDomain<vtkSMArrayListDomain>();
  vtkSMSessionProxyManager* manager = display->GetSessionProxyManager();
  vtkNew<vtkSMTransferFunctionManager> functions;
  for (unsigned int i = 0; arrays && i < arrays->GetNumberOfStrings(); ++i)
  {
    const char* array = arrays->GetString(i);
    const std::vector<double> look = Values(FieldArray(display, LOOK + array));
    vtkSMProxy* opacity =
      look.size() < 4 ? nullptr : functions->GetOpacityTransferFunction(array, manager);
    if (opacity && IsUntouched(opacity))
    {
      SetColourRange(functions->GetColorTransferFunction(array, manager), look);
      SetPoints(opacity, look);
    }
  }
  const std::vector<double> unit = Values(FieldArray(display, UNIT_DISTANCE));
  if (unit.size() == 1 && unit[0] > 0.0)
  {
    vtkSMPropertyHelper(display, EXPOSED_UNIT_DISTANCE).Set(unit[0]);
    vtkSMPropertyHelper(display, "ScalarOpacityUnitDistance", true).Set(unit[0]);
  }
  display->UpdateVTKObjects();
}

bool IsAlone(vtkSMProxy* view, vtkSMProxy* display)
{
  vtkSMPropertyHelper shown(view, "Representations");
  for (unsigned int i = 0; i < shown.GetNumberOfElements(); ++i)
  {
    auto* other = vtkSMPVRepresentationProxy::SafeDownCast(shown.GetAsProxy(i));
    if (other && other != display && vtkSMPropertyHelper(other, "Visibility").GetAsInt())
    {
      return false;
    }
  }
  return true;
}

// Moves a camera along its direction until the points, triples in the world, just fit.
void Fit(vtkCamera* camera, double aspect, const std::vector<double>& points)
{
  double forward[3], right[3], up[3], middle[3];
  camera->GetDirectionOfProjection(forward);
  camera->OrthogonalizeViewUp();
  camera->GetViewUp(up);
  vtkMath::Cross(forward, up, right);
  vtkBoundingBox box;
  for (size_t i = 0; i < points.size(); i += 3)
  {
    box.AddPoint(points[i], points[i + 1], points[i + 2]);
  }
  box.GetCenter(middle);
  const double tangent = std::tan(0.5 * vtkMath::RadiansFromDegrees(camera->GetViewAngle()));
  double half = 0.0, distance = 0.0;
  for (size_t i = 0; i < points.size(); i += 3)
  {
    const double offset[3] = { points[i] - middle[0], points[i + 1] - middle[1],
      points[i + 2] - middle[2] };
    const double across =
      std::max(std::abs(vtkMath::Dot(offset, up)), std::abs(vtkMath::Dot(offset, right)) / aspect) /
      (1.0 - MARGIN);
    half = std::max(half, across);
    distance = std::max(distance, across / tangent - vtkMath::Dot(offset, forward));
  }
  if (half > 0.0 && distance > 0.0)
  {
    camera->SetFocalPoint(middle);
    camera->SetPosition(middle[0] - distance * forward[0], middle[1] - distance * forward[1],
      middle[2] - distance * forward[2]);
    camera->SetParallelScale(half);
  }
}

// Finds the displays of a session that have the plugin's properties.
std::vector<vtkSMPVRepresentationProxy*> Displays(vtkSMSession* session)
{
  std::vector<vtkSMPVRepresentationProxy*> found;
  vtkNew<vtkCollection> all;
  session->GetAllRemoteObjects(all);
  for (int i = 0; i < all->GetNumberOfItems(); ++i)
  {
    auto* display = vtkSMPVRepresentationProxy::SafeDownCast(all->GetItemAsObject(i));
    if (display && display->GetObjectsCreated() && display->GetProperty(EXPOSED_UNIT_DISTANCE))
    {
      found.push_back(display);
    }
  }
  return found;
}

// Gives a scalar bar the name and the unit of the array whose colours it shows.
void NameUnit(vtkSMProxy* bar)
{
  vtkSMProxy* table = vtkSMPropertyHelper(bar, "LookupTable", true).GetAsProxy();
  for (vtkSMPVRepresentationProxy* display : Displays(bar->GetSession()))
  {
    const std::string array = ColourArray(display);
    vtkPVArrayInformation* look = FieldArray(display, LOOK + array);
    if (!look || !table ||
      vtkSMPropertyHelper(display, "LookupTable", true).GetAsProxy() != table)
    {
      continue;
    }
    const char* unit = look->GetComponentName(0);
    if (unit && *unit && std::string(unit) != "1")
    {
      const std::string title = array + " (" + unit + ")";
      vtkSMPropertyHelper(bar, "Title", true).Set(title.c_str());
      vtkSMPropertyHelper(bar, "ComponentTitle", true).Set("");
      bar->UpdateVTKObjects();
    }
    return;
  }
}

void OnRegister(vtkObject*, unsigned long, void*, void* data)
{
  auto* about = static_cast<vtkSMProxyManager::RegisteredProxyInformation*>(data);
  if (!about || about->Type != vtkSMProxyManager::RegisteredProxyInformation::PROXY ||
    !about->GroupName || !about->Proxy || !about->Proxy->GetSession())
  {
    return;
  }
  // What a state file says is what its author wanted.
  vtkSMSessionProxyManager* manager = about->Proxy->GetSessionProxyManager();
  if (!manager || manager->GetInLoadXMLState())
  {
    return;
  }
  const std::string group = about->GroupName;
  auto* display = vtkSMPVRepresentationProxy::SafeDownCast(about->Proxy);
  if (group == "representations" && display && display->GetProperty(EXPOSED_UNIT_DISTANCE))
  {
    ShowAtFirst(display);
  }
  else if (group == "scalar_bars")
  {
    NameUnit(about->Proxy);
  }
}
}

void vtkNeuralVolumeLook::Watch()
{
  static vtkSMProxyManager* watched = nullptr;
  if (!vtkSMProxyManager::IsInitialized())
  {
    return; // servers have no proxy manager
  }
  vtkSMProxyManager* manager = vtkSMProxyManager::GetProxyManager();
  if (manager != watched)
  {
    vtkNew<vtkCallbackCommand> command;
    command->SetCallback(OnRegister);
    manager->AddObserver(vtkCommand::RegisterEvent, command);
    watched = manager;
  }
}

void vtkNeuralVolumeLook::ChooseArray(vtkSMPVRepresentationProxy* display)
{
  if (display->GetUsingScalarColoring())
  {
    return;
  }
  auto* arrays = display->GetProperty("ColorArrayName")->FindDomain<vtkSMArrayListDomain>();
  for (unsigned int i = 0; arrays && i < arrays->GetNumberOfStrings(); ++i)
  {
    if (arrays->GetFieldAssociation(i) == vtkDataObject::POINT)
    {
      display->SetScalarColoring(arrays->GetString(i), vtkDataObject::POINT);
      display->RescaleTransferFunctionToDataRange(true);
      return;
    }
  }
}

void vtkNeuralVolumeLook::Frame(vtkSMRenderViewProxy* view, vtkSMPVRepresentationProxy* display)
{
  const std::string array = ColourArray(display);
  std::vector<double> points = Values(FieldArray(display, OUTLINE + array));
  vtkSMProxy* opacity = vtkSMPropertyHelper(display, "ScalarOpacityFunction", true).GetAsProxy();
  if (points.empty() || points.size() % 3 != 0 || !opacity ||
    !IsSuggested(opacity, Values(FieldArray(display, LOOK + array))) ||
    vtkSMPropertyHelper(display, EXPOSED_BLEND_MODE).GetAsInt() != vtkVolumeMapper::COMPOSITE_BLEND ||
    !IsAlone(view, display))
  {
    return;
  }
  vtkSMPropertyHelper scale(display, "Scale", true);
  for (size_t i = 0; i < points.size(); ++i)
  {
    points[i] *= scale.GetAsDouble(static_cast<unsigned int>(i % 3));
  }
  vtkRenderer* renderer = view->GetRenderer();
  Fit(view->GetActiveCamera(), renderer->GetTiledAspectRatio(), points);
  renderer->ResetCameraClippingRange();
  view->SynchronizeCameraProperties();
}

void vtkNeuralVolumeLook::RefreshTraining(vtkSMProxy* display)
{
  vtkSMProxy* source = vtkSMPropertyHelper(display, "Input", true).GetAsProxy();
  if (source && source->GetProperty(PROGRESS) && source->GetProperty(PROGRESS)->GetInformationOnly())
  {
    source->UpdatePropertyInformation();
  }
}

void vtkNeuralVolumeLook::SetOpacities(vtkSMProxy* representation, bool suggested)
{
  vtkSMProperty* own = representation->GetProperty(OWN_PROPERTY);
  for (vtkSMPVRepresentationProxy* display : Displays(representation->GetSession()))
  {
    vtkSMProxy* opacity = vtkSMPropertyHelper(display, "ScalarOpacityFunction", true).GetAsProxy();
    if (display->GetProperty(EXPOSED_UNIT_DISTANCE) != own || !opacity)
    {
      continue;
    }
    const std::vector<double> look = Values(FieldArray(display, LOOK + ColourArray(display)));
    double range[2];
    if (suggested && look.size() >= 4)
    {
      SetColourRange(vtkSMPropertyHelper(display, "LookupTable", true).GetAsProxy(), look);
      SetPoints(opacity, look);
    }
    else if (!suggested && vtkSMTransferFunctionProxy::GetRange(opacity, range))
    {
      SetPoints(opacity, { range[0], 0.0, range[1], 1.0 });
    }
  }
}
