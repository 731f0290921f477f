#include "vtkNeuralVolumeMapper.h"

#include "vtkColorTransferFunction.h"
#include "vtkContourValues.h"
#include "vtkDataSet.h"
#include "vtkFieldData.h"
#include "vtkImageData.h"
#include "vtkLight.h"
#include "vtkLightCollection.h"
#include "vtkMath.h"
#include "vtkMatrix4x4.h"
#include "vtkNeuralVolumeRequest.h"
#include "vtkNew.h"
#include "vtkObjectFactory.h"
#include "vtkOpenGLCamera.h"
#include "vtkOpenGLFramebufferObject.h"
#include "vtkOpenGLQuadHelper.h"
#include "vtkOpenGLRenderWindow.h"
#include "vtkOpenGLShaderCache.h"
#include "vtkOpenGLState.h"
#include "vtkOutputWindow.h"
#include "vtkPiecewiseFunction.h"
#include "vtkPlane.h"
#include "vtkPlaneCollection.h"
#include "vtkRenderer.h"
#include "vtkShaderProgram.h"
#include "vtkStringArray.h"
#include "vtkTextureObject.h"
#include "vtkTimerLog.h"
#include "vtkVolume.h"
#include "vtkVolumeProperty.h"

// VTK 9.4 changed its OpenGL loader.
#if __has_include("vtk_glad.h")
#include "vtk_glad.h"
#else
#include "vtk_glew.h"
#endif

#include <algorithm>

vtkStandardNewMacro(vtkNeuralVolumeMapper);

namespace
{
const char* const MODEL = "amgsrn_model";
const char* const STATE = "amgsrn_state";

const char* const FRAGMENT_SHADER = R"(//VTK::System::Dec
in vec2 texCoord;
uniform sampler2D picture;
//VTK::Output::Dec
void main()
{
  gl_FragData[0] = texture(picture, texCoord);
}
)";

struct Viewport
{
  int Width = 0, Height = 0, Left = 0, Bottom = 0;

  explicit Viewport(vtkRenderer* renderer)
  {
    renderer->GetTiledSizeAndOrigin(&this->Width, &this->Height, &this->Left, &this->Bottom);
  }
  bool IsEmpty() const { return this->Width < 1 || this->Height < 1; }
};

// The depth buffer of whatever is being drawn to, 0 to 1, the bottom row first.
std::vector<float> ReadDepth(vtkOpenGLRenderWindow* window, const Viewport& view)
{
  std::vector<float> depth(static_cast<size_t>(view.Width) * view.Height, 1.0f);
  auto read = [&]() {
    glReadPixels(view.Left, view.Bottom, view.Width, view.Height, GL_DEPTH_COMPONENT, GL_FLOAT,
      depth.data());
  };
  vtkOpenGLState* state = window->GetState();
  GLint source = 0, samples = 0;
  glGetIntegerv(GL_DRAW_FRAMEBUFFER_BINDING, &source);
  glGetIntegerv(GL_SAMPLES, &samples);
  glPixelStorei(GL_PACK_ALIGNMENT, 1);
  state->PushFramebufferBindings();
  if (samples > 1)
  {
    // Several samples per pixel cannot be read, but one of them can be copied.
    const int width = view.Left + view.Width, height = view.Bottom + view.Height;
    vtkNew<vtkOpenGLFramebufferObject> single;
    single->SetContext(window);
    single->PopulateFramebuffer(width, height, true, 1, VTK_UNSIGNED_CHAR, true, 24, 0);
    glBindFramebuffer(GL_READ_FRAMEBUFFER, source);
    glBindFramebuffer(GL_DRAW_FRAMEBUFFER, single->GetFBOIndex());
    glBlitFramebuffer(
      0, 0, width, height, 0, 0, width, height, GL_DEPTH_BUFFER_BIT, GL_NEAREST);
    glBindFramebuffer(GL_READ_FRAMEBUFFER, single->GetFBOIndex());
    read();
  }
  else
  {
    glBindFramebuffer(GL_READ_FRAMEBUFFER, source);
    read();
  }
  state->PopFramebufferBindings();
  return depth;
}

std::vector<double> ToVector(vtkMatrix4x4* matrix)
{
  return std::vector<double>(matrix->GetData(), matrix->GetData() + 16);
}

// From the volume's coordinates to OpenGL's clip space, row by row.
std::vector<double> WorldToClip(vtkRenderer* renderer, vtkVolume* volume)
{
  vtkMatrix4x4 *view, *projection, *both; // transposed, as OpenGL wants them
  vtkMatrix3x3* normals;
  vtkOpenGLCamera::SafeDownCast(renderer->GetActiveCamera())
    ->GetKeyMatrices(renderer, view, normals, projection, both);
  vtkNew<vtkMatrix4x4> matrix;
  vtkMatrix4x4::Transpose(both, matrix);
  vtkMatrix4x4::Multiply4x4(matrix, volume->GetMatrix(), matrix);
  return ToVector(matrix);
}

void AddTransferFunction(vtkNeuralVolumeRequest& request, vtkVolumeProperty* property)
{
  vtkColorTransferFunction* color = property->GetRGBTransferFunction(0);
  vtkPiecewiseFunction* opacity = property->GetScalarOpacity(0);
  double range[2], opacityRange[2];
  color->GetRange(range);
  opacity->GetRange(opacityRange);
  const bool logarithmic = color->UsingLogScale() && range[0] > 0;
  if (!logarithmic || opacityRange[0] > 0)
  {
    range[0] = std::min(range[0], opacityRange[0]);
  }
  range[1] = std::max(range[1], opacityRange[1]);

  const int wanted = std::max(color->EstimateMinNumberOfSamples(range[0], range[1]),
    opacity->EstimateMinNumberOfSamples(range[0], range[1]));
  const int size = std::min(std::max(wanted, 256), 4096);
  std::vector<double> colors(3 * size), opacities(size), table;
  color->GetTable(range[0], range[1], size, colors.data());
  opacity->GetTable(range[0], range[1], size, opacities.data(), 1, logarithmic);
  for (int i = 0; i < size; ++i)
  {
    table.insert(table.end(), &colors[3 * i], &colors[3 * i] + 3);
    table.push_back(opacities[i]);
  }
  const bool magnitude = color->GetVectorMode() == vtkScalarsToColors::MAGNITUDE;
  request.Numbers["range"] = { range[0], range[1] };
  request.Numbers["table"] = std::move(table);
  request.Numbers["logarithmic"] = { double(logarithmic) };
  request.Numbers["component"] = { magnitude ? -1.0 : double(color->GetVectorComponent()) };
}

void AddShading(vtkNeuralVolumeRequest& request, vtkVolumeProperty* property)
{
  request.Numbers["shade"] = { double(property->GetShade()) };
  request.Numbers["ambient"] = { property->GetAmbient() };
  request.Numbers["diffuse"] = { property->GetDiffuse() };
  request.Numbers["specular"] = { property->GetSpecular() };
  request.Numbers["specular_power"] = { property->GetSpecularPower() };
}

// Lights that are on, from the volume's coordinates: direction to each, colour times intensity.
void AddLights(vtkNeuralVolumeRequest& request, vtkRenderer* renderer, vtkVolume* volume)
{
  vtkNew<vtkMatrix4x4> fromWorld;
  vtkMatrix4x4::Invert(volume->GetMatrix(), fromWorld);
  std::vector<double>& numbers = request.Numbers["lights"];
  bool isLampAtCamera = false;
  vtkCollectionSimpleIterator position;
  renderer->GetLights()->InitTraversal(position);
  while (vtkLight* light = renderer->GetLights()->GetNextLight(position))
  {
    if (!light->GetSwitch())
    {
      continue;
    }
    double from[4], to[3];
    light->GetTransformedPosition(from);
    light->GetTransformedFocalPoint(to);
    vtkMath::Subtract(from, to, from);
    from[3] = 0.0;
    fromWorld->MultiplyPoint(from, from);
    numbers.insert(numbers.end(), from, from + 3);
    for (int i = 0; i < 3; ++i)
    {
      numbers.push_back(light->GetDiffuseColor()[i] * light->GetIntensity());
    }
    isLampAtCamera = light->LightTypeIsHeadlight() != 0;
  }
  const std::vector<double> white(3, 1.0);
  if (numbers.empty())
  {
    numbers = { 0.0, 0.0, 1.0, 0.0, 0.0, 0.0 }; // a light that is off: all is dark
  }
  else if (isLampAtCamera && numbers.size() == 6 &&
    std::equal(white.begin(), white.end(), numbers.begin() + 3))
  {
    numbers.clear(); // stands for it
  }
}

// Factors by which the volume's coordinates are stretched in the world.
std::vector<double> Scale(vtkVolume* volume)
{
  std::vector<double> scale;
  for (int i = 0; i < 3; ++i)
  {
    double column[3];
    for (int j = 0; j < 3; ++j)
    {
      column[j] = volume->GetMatrix()->GetElement(j, i);
    }
    scale.push_back(vtkMath::Norm(column));
  }
  return scale;
}

void AddIsovalues(vtkNeuralVolumeRequest& request, vtkVolumeProperty* property)
{
  vtkContourValues* contours = property->GetIsoSurfaceValues();
  std::vector<double>& values = request.Numbers["isovalues"];
  for (int i = 0; i < contours->GetNumberOfContours(); ++i)
  {
    values.push_back(contours->GetValue(i));
  }
}

// Planes as a, b, c, d; what satisfies a x + b y + c z + d >= 0 stays, in the world.
void AddClippingPlanes(vtkNeuralVolumeRequest& request, vtkPlaneCollection* planes)
{
  std::vector<double>& numbers = request.Numbers["planes"];
  for (int i = 0; planes && i < planes->GetNumberOfItems(); ++i)
  {
    vtkPlane* plane = vtkPlane::SafeDownCast(planes->GetItemAsObject(i));
    const double* normal = plane->GetNormal();
    const double* origin = plane->GetOrigin();
    numbers.insert(numbers.end(), normal, normal + 3);
    numbers.push_back(-vtkMath::Dot(normal, origin));
  }
}
}

struct vtkNeuralVolumeMapper::Internals
{
  vtkNeuralVolumeRequest Request;
  unsigned long Generation = 0; ///< counts the requests
  bool HasCalled = false;       ///< has Python anything to forget?
  bool HasFailed = false;
  bool HasPicture = false;

  vtkNew<vtkTextureObject> Picture;
  std::unique_ptr<vtkOpenGLQuadHelper> Quad;
};

vtkNeuralVolumeMapper::vtkNeuralVolumeMapper()
  : Internal(new Internals)
{
}

vtkNeuralVolumeMapper::~vtkNeuralVolumeMapper()
{
  if (this->Internal->HasCalled)
  {
    vtkNeuralVolumeRelease(this);
  }
}

void vtkNeuralVolumeMapper::ReleaseGraphicsResources(vtkWindow* window)
{
  this->Internal->HasPicture = false;
  this->Internal->Picture->ReleaseGraphicsResources(window);
  this->Internal->Quad.reset();
  this->Superclass::ReleaseGraphicsResources(window);
}

void vtkNeuralVolumeMapper::SetPass(Passes pass, double seconds)
{
  this->Pass = pass;
  this->Seconds = seconds;
}

double vtkNeuralVolumeMapper::PrepareNext(double seconds)
{
  // A shader's pictures need nothing of the kind, and what is hidden or failed has none.
  return this->Internal->HasPicture ? vtkNeuralVolumePrepare(this, seconds) : 1.0;
}

void vtkNeuralVolumeMapper::ShareStatus()
{
  const std::string status = vtkNeuralVolumeShareStatus(this);
  if (!status.empty() && !this->Status.empty())
  {
    this->Status = status;
  }
}

bool vtkNeuralVolumeMapper::CarriesModel(vtkDataObject* data)
{
  auto* model = data
    ? vtkStringArray::SafeDownCast(data->GetFieldData()->GetAbstractArray(MODEL))
    : nullptr;
  return model && model->GetNumberOfValues() >= 2;
}

void vtkNeuralVolumeMapper::Render(vtkRenderer* renderer, vtkVolume* volume)
{
  vtkDataObject* data = this->GetInputDataObject(0, 0);
  auto* input = vtkDataSet::SafeDownCast(data);
  if (!input || !CarriesModel(input))
  {
    // A model in training is going to come; nothing comes of an empty image.
    if (data && data->GetNumberOfElements(vtkDataObject::POINT) > 0 &&
      !data->GetFieldData()->GetAbstractArray(STATE))
    {
      this->Complain("The data carry no neural model and are shown as an ordinary volume; use the "
                     "output of AMGSRN Reader or of a finished AMGSRN Trainer.");
    }
    this->Progress = 1.0;
    this->Status.clear();
    this->Superclass::Render(renderer, volume);
    return;
  }
  if (renderer->GetSelector() || Viewport(renderer).IsEmpty() || input->GetNumberOfPoints() == 0)
  {
    return;
  }
  const double start = vtkTimerLog::GetUniversalTime();
  const vtkNeuralVolumeRequest request = this->MakeRequest(renderer, volume, input);
  if (!this->DrawByShader(renderer, volume, request))
  {
    if (!this->UpdatePicture(renderer, request))
    {
      this->Superclass::Render(renderer, volume);
      return;
    }
    this->DrawPicture(renderer);
  }
  this->TimeToDraw = vtkTimerLog::GetUniversalTime() - start;
}

// Returns all that a picture depends on but the depth.
vtkNeuralVolumeRequest vtkNeuralVolumeMapper::MakeRequest(
  vtkRenderer* renderer, vtkVolume* volume, vtkDataSet* input)
{
  const Viewport view(renderer);
  vtkNeuralVolumeRequest request;
  auto& numbers = request.Numbers;
  numbers["size"] = { double(view.Width), double(view.Height) };
  numbers["world_to_clip"] = WorldToClip(renderer, volume);
  numbers["scale"] = Scale(volume);
  numbers["bounds"].assign(input->GetBounds(), input->GetBounds() + 6);
  if (auto* image = vtkImageData::SafeDownCast(input))
  {
    numbers["index_to_world"] = ToVector(image->GetIndexToPhysicalMatrix());
    numbers["extent"].assign(image->GetExtent(), image->GetExtent() + 6);
  }
  if (this->GetCropping())
  {
    const double* planes = this->GetCroppingRegionPlanes();
    numbers["cropping"].assign(planes, planes + 6);
  }
  AddClippingPlanes(request, this->GetClippingPlanes());
  AddTransferFunction(request, volume->GetProperty());
  AddShading(request, volume->GetProperty());
  if (volume->GetProperty()->GetShade())
  {
    AddLights(request, renderer, volume);
  }
  AddIsovalues(request, volume->GetProperty());
  numbers["blend_mode"] = { double(this->GetBlendMode()) };
  numbers["samples_per_voxel"] = { this->SamplesPerVoxel };
  numbers["unit_distance"] = { this->UnitDistance };
  numbers["jitter"] = { double(this->Jitter) };
  numbers["image_reduction"] = { double(this->ImageReduction) };
  auto* model = vtkStringArray::SafeDownCast(input->GetFieldData()->GetAbstractArray(MODEL));
  request.Texts["path"] = model->GetValue(0);
  request.Texts["checksum"] = model->GetValue(1);
  request.Texts["step"] = model->GetNumberOfValues() > 2 ? model->GetValue(2) : "";
  request.Texts["array"] = this->ArrayName ? this->ArrayName : "";
  const char* sampling = this->Pass == WHOLE ? "exact" : "cached";
  request.Texts["sampling"] = this->Sampling == "auto" ? sampling : this->Sampling;
  request.Texts["interpolation"] = this->Interpolation;
  request.Texts["backend"] = this->Backend;
  request.Texts["device"] = this->Device;
  return request;
}

// Returns whether a shader has drawn the model; else Python makes the picture.
bool vtkNeuralVolumeMapper::DrawByShader(
  vtkRenderer* renderer, vtkVolume* volume, const vtkNeuralVolumeRequest& request)
{
  if (this->Backend != "opengl" && this->Backend != "auto")
  {
    return false;
  }
  renderer->GetRenderWindow()->MakeCurrent();
  this->Internal->HasCalled = true;
  const vtkNeuralVolumeAnswer answer = vtkNeuralVolumeShade(
    this, renderer, volume, this->Pass == WHOLE ? -1.0 : this->Seconds, request);
  if (answer.IsDrawn)
  {
    this->Internal->HasPicture = false;
    this->LastPass = this->Pass;
    this->Progress = answer.Progress;
    this->Status = answer.Status;
    this->Complaint.clear();
  }
  return answer.IsDrawn;
}

// Returns whether there is a picture to be drawn.
bool vtkNeuralVolumeMapper::UpdatePicture(vtkRenderer* renderer, vtkNeuralVolumeRequest request)
{
  auto* window = vtkOpenGLRenderWindow::SafeDownCast(renderer->GetRenderWindow());
  const Viewport view(renderer);
  window->MakeCurrent();
  request.Depth = ReadDepth(window, view);
  if (std::all_of(request.Depth.begin(), request.Depth.end(), [](float z) { return z >= 1.0f; }))
  {
    request.Depth = std::vector<float>(); // nothing hides the volume, so nothing has to be kept
  }
  auto& internal = *this->Internal;
  if (internal.Generation == 0 || !(request == internal.Request))
  {
    internal.Request = std::move(request);
    ++internal.Generation;
    internal.HasCalled = true;
    internal.HasFailed = internal.HasPicture = false;
  }
  if (internal.HasFailed)
  {
    return false;
  }
  // ParaView renders once more when an interaction ends; that is no time for a long pass.
  const bool isFollowUp = this->Pass == REFINING && this->LastPass == INTERACTIVE;
  this->LastPass = this->Pass;
  if (internal.HasPicture && (isFollowUp || this->Progress >= 1.0))
  {
    return true;
  }

  const vtkNeuralVolumeAnswer answer = vtkNeuralVolumeRender(this, internal.Generation,
    this->Pass == INTERACTIVE, this->Pass == WHOLE ? -1.0 : this->Seconds, internal.Request,
    [&](int width, int height, const float* rgba) {
      vtkTextureObject* picture = internal.Picture;
      const int filter =
        width == view.Width ? vtkTextureObject::Nearest : vtkTextureObject::Linear;
      picture->SetContext(window);
      picture->SetMinificationFilter(filter);
      picture->SetMagnificationFilter(filter);
      picture->SetWrapS(vtkTextureObject::ClampToEdge);
      picture->SetWrapT(vtkTextureObject::ClampToEdge);
      picture->Create2DFromRaw(width, height, 4, VTK_FLOAT, const_cast<float*>(rgba));
    });
  this->Progress = answer.Progress;
  this->Status = answer.Status;
  internal.HasPicture = answer.Error.empty();
  internal.HasFailed = !internal.HasPicture;
  if (internal.HasFailed)
  {
    this->Complain(answer.Error);
    return false;
  }
  this->Complaint.clear();
  return true;
}

void vtkNeuralVolumeMapper::DrawPicture(vtkRenderer* renderer)
{
  auto& internal = *this->Internal;
  auto* window = vtkOpenGLRenderWindow::SafeDownCast(renderer->GetRenderWindow());
  vtkOpenGLState* state = window->GetState();
  if (internal.Quad)
  {
    window->GetShaderCache()->ReadyShaderProgram(internal.Quad->Program);
  }
  else
  {
    internal.Quad.reset(new vtkOpenGLQuadHelper(window, nullptr, FRAGMENT_SHADER, ""));
  }
  vtkOpenGLState::ScopedglViewport viewport(state);
  vtkOpenGLState::ScopedglEnableDisable blending(state, GL_BLEND);
  vtkOpenGLState::ScopedglEnableDisable testing(state, GL_DEPTH_TEST);
  vtkOpenGLState::ScopedglDepthMask mask(state);
  vtkOpenGLState::ScopedglBlendFuncSeparate function(state);
  const Viewport view(renderer);
  state->vtkglViewport(view.Left, view.Bottom, view.Width, view.Height);
  state->vtkglEnable(GL_BLEND);
  state->vtkglBlendFuncSeparate(GL_ONE, GL_ONE_MINUS_SRC_ALPHA, GL_ONE, GL_ONE_MINUS_SRC_ALPHA);
  // The rays ended at the opaque depth.
  state->vtkglDisable(GL_DEPTH_TEST);
  state->vtkglDepthMask(GL_FALSE);
  internal.Picture->Activate();
  internal.Quad->Program->SetUniformi("picture", internal.Picture->GetTextureUnit());
  internal.Quad->Render();
  internal.Picture->Deactivate();
}

// Shows a sentence in ParaView's messages, once until something else happens.
void vtkNeuralVolumeMapper::Complain(const std::string& sentence)
{
  if (this->Complaint != sentence)
  {
    this->Complaint = sentence;
    vtkOutputWindowDisplayErrorText(("ERROR: Neural Volume: " + sentence + "\n").c_str());
  }
}

void vtkNeuralVolumeMapper::PrintSelf(ostream& os, vtkIndent indent)
{
  this->Superclass::PrintSelf(os, indent);
  os << indent << "SamplesPerVoxel: " << this->SamplesPerVoxel << "\n";
  os << indent << "UnitDistance: " << this->UnitDistance << "\n";
  os << indent << "Jitter: " << this->Jitter << "\n";
  os << indent << "ImageReduction: " << this->ImageReduction << "\n";
  os << indent << "Sampling: " << this->Sampling << "\n";
  os << indent << "Interpolation: " << this->Interpolation << "\n";
  os << indent << "Backend: " << this->Backend << "\n";
  os << indent << "Device: " << this->Device << "\n";
  os << indent << "Status: " << this->Status << "\n";
}
