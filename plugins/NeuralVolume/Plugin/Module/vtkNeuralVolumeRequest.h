/**
 * Everything that a picture depends on, and the call of the Python module that makes it.
 *
 * Names and values are those that amgsrn_paraview.neural_volume documents; nothing here knows their
 * meaning.
 */
#ifndef vtkNeuralVolumeRequest_h
#define vtkNeuralVolumeRequest_h

#include <functional> // for std::function
#include <map>        // for std::map
#include <string>     // for std::string
#include <vector>     // for std::vector

class vtkRenderer;
class vtkVolume;

struct vtkNeuralVolumeRequest
{
  std::map<std::string, std::vector<double>> Numbers;
  std::map<std::string, std::string> Texts;
  std::vector<float> Depth;

  bool operator==(const vtkNeuralVolumeRequest& other) const
  {
    return this->Numbers == other.Numbers && this->Texts == other.Texts &&
      this->Depth == other.Depth;
  }
};

struct vtkNeuralVolumeAnswer
{
  bool IsDrawn = false; ///< by a shader, in the renderer itself
  std::string Error;    ///< why there is no picture; empty if there is one
  double Progress = 1;  ///< how much of it is done, 0 to 1
  std::string Status;   ///< what was done and how
};

/**
 * Receives the picture: width, height, and premultiplied red, green, blue and opacity, the bottom
 * row first.
 */
using vtkNeuralVolumeReceiver = std::function<void(int, int, const float*)>;

/**
 * Have Python work on a picture.
 *
 * `token` tells callers apart and `generation` their pictures. With `seconds` below 0 the whole
 * picture is made, else as much as fits. The receiver is called before this returns, unless there
 * was an error.
 */
vtkNeuralVolumeAnswer vtkNeuralVolumeRender(const void* token, unsigned long generation,
  bool interactive, double seconds, const vtkNeuralVolumeRequest& request,
  const vtkNeuralVolumeReceiver& receiver);

/**
 * Have Python draw the network by a shader of OpenGL, in the midst of a renderer's frame.
 *
 * As above, but that the request needs no depth. Where the answer says that nothing was drawn, another
 * backend is to be used; what is to be told about that stands in the status of its pictures.
 */
vtkNeuralVolumeAnswer vtkNeuralVolumeShade(const void* token, vtkRenderer* renderer,
  vtkVolume* volume, double seconds, const vtkNeuralVolumeRequest& request);

/**
 * Have Python decode what a finished picture needs of the next time step, for so many seconds.
 * Returns how much is done, 0 to 1; it is 1 where nothing can be.
 */
double vtkNeuralVolumePrepare(const void* token, double seconds);

/**
 * Return what was drawn last and how, on the first rank for all of them; empty where nothing was.
 * All ranks have to call this together.
 */
std::string vtkNeuralVolumeShareStatus(const void* token);

/**
 * Return why Python cannot make pictures, empty where the suite's code is found.
 */
std::string vtkNeuralVolumeFindPython();

/**
 * Let Python forget all about a caller.
 */
void vtkNeuralVolumeRelease(const void* token);

#endif
