#include "vtkPython.h" // has to be the first

#include "vtkNeuralVolumeRequest.h"
#include "vtkPythonInterpreter.h"
#include "vtkPythonUtil.h"
#include "vtkRenderer.h"
#include "vtkVolume.h"

#include <memory>

namespace
{
const char* const MODULE = "amgsrn_paraview.neural_volume";
const char* const SHADER_MODULE = "amgsrn_paraview.shader_volume";

struct Unreference
{
  void operator()(PyObject* object) const { Py_XDECREF(object); }
};
using Reference = std::unique_ptr<PyObject, Unreference>;

class InterpreterLock
{
public:
  InterpreterLock()
    : State(PyGILState_Ensure())
  {
  }
  ~InterpreterLock() { PyGILState_Release(this->State); }

private:
  PyGILState_STATE State;
};

// Sets an item to a new reference, which may be null after an error.
bool SetItem(PyObject* dictionary, const std::string& name, PyObject* value)
{
  Reference owned(value);
  return owned && PyDict_SetItemString(dictionary, name.c_str(), value) == 0;
}

PyObject* ToTuple(const std::vector<double>& numbers)
{
  PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(numbers.size()));
  for (size_t i = 0; tuple && i < numbers.size(); ++i)
  {
    PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), PyFloat_FromDouble(numbers[i]));
  }
  return tuple;
}

PyObject* ToDictionary(const vtkNeuralVolumeRequest& request)
{
  Reference dictionary(PyDict_New());
  const char* depth = reinterpret_cast<const char*>(request.Depth.data());
  const Py_ssize_t bytes = static_cast<Py_ssize_t>(request.Depth.size() * sizeof(float));
  bool good =
    dictionary && SetItem(dictionary.get(), "depth", PyBytes_FromStringAndSize(depth, bytes));
  for (const auto& item : request.Numbers)
  {
    good = good && SetItem(dictionary.get(), item.first, ToTuple(item.second));
  }
  for (const auto& item : request.Texts)
  {
    // Paths may be anything that the file system admits.
    good = good &&
      SetItem(dictionary.get(), item.first, PyUnicode_DecodeFSDefault(item.second.c_str()));
  }
  return good ? dictionary.release() : nullptr;
}

std::string ToString(PyObject* object)
{
  Reference text(object ? PyObject_Str(object) : nullptr);
  const char* characters = text ? PyUnicode_AsUTF8(text.get()) : nullptr;
  PyErr_Clear();
  return characters ? characters : "";
}

// Returns the pending error as a sentence and clears it.
std::string TakeError()
{
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  Reference owned[] = { Reference(type), Reference(value), Reference(trace) };
  const std::string text = ToString(value);
  if (type && PyErr_GivenExceptionMatches(type, PyExc_ImportError))
  {
    return "The suite's Python code cannot be imported (" + text +
      "); start ParaView through `amgsrn`, or see docs/paraview.md.";
  }
  return text.empty() ? "An unknown error occurred in Python." : text;
}

// Seconds, or None for as long as it takes.
PyObject* ToBudget(double seconds)
{
  return seconds < 0 ? (Py_INCREF(Py_None), Py_None) : PyFloat_FromDouble(seconds);
}

bool Receive(PyObject* answer, vtkNeuralVolumeAnswer& result, const vtkNeuralVolumeReceiver& receiver)
{
  int width = 0, height = 0;
  PyObject *picture = nullptr, *status = nullptr;
  if (!PyArg_ParseTuple(
        answer, "diiOU", &result.Progress, &width, &height, &picture, &status))
  {
    return false;
  }
  result.Status = ToString(status);
  Py_buffer buffer;
  if (PyObject_GetBuffer(picture, &buffer, PyBUF_SIMPLE) != 0)
  {
    return false;
  }
  const Py_ssize_t expected = static_cast<Py_ssize_t>(sizeof(float)) * 4 * width * height;
  const bool good = width > 0 && height > 0 && buffer.len == expected;
  if (good)
  {
    receiver(width, height, static_cast<const float*>(buffer.buf));
  }
  else
  {
    PyErr_SetString(PyExc_ValueError, "The picture has another size than announced.");
  }
  PyBuffer_Release(&buffer);
  return good;
}
}

vtkNeuralVolumeAnswer vtkNeuralVolumeRender(const void* token, unsigned long generation,
  bool interactive, double seconds, const vtkNeuralVolumeRequest& request,
  const vtkNeuralVolumeReceiver& receiver)
{
  vtkNeuralVolumeAnswer result;
  vtkPythonInterpreter::Initialize(); // does nothing if it was done before
  InterpreterLock lock;
  Reference module(PyImport_ImportModule(MODULE));
  Reference budget(ToBudget(seconds));
  Reference values(ToDictionary(request));
  Reference answer;
  if (module && budget && values)
  {
    answer.reset(PyObject_CallMethod(module.get(), "render", "nkNOO",
      reinterpret_cast<Py_ssize_t>(token), generation, PyBool_FromLong(interactive), budget.get(),
      values.get()));
  }
  if (!answer || !Receive(answer.get(), result, receiver))
  {
    result.Error = TakeError();
  }
  return result;
}

vtkNeuralVolumeAnswer vtkNeuralVolumeShade(const void* token, vtkRenderer* renderer,
  vtkVolume* volume, double seconds, const vtkNeuralVolumeRequest& request)
{
  vtkNeuralVolumeAnswer result;
  vtkPythonInterpreter::Initialize();
  InterpreterLock lock;
  Reference module(PyImport_ImportModule(SHADER_MODULE)); // and VTK's, so that these are known
  Reference budget(ToBudget(seconds));
  Reference values(ToDictionary(request));
  Reference drawnIn(vtkPythonUtil::GetObjectFromPointer(renderer));
  Reference drawn(vtkPythonUtil::GetObjectFromPointer(volume));
  Reference answer;
  if (module && budget && values && drawnIn && drawn)
  {
    answer.reset(PyObject_CallMethod(module.get(), "shade", "nOOOO",
      reinterpret_cast<Py_ssize_t>(token), drawnIn.get(), drawn.get(), budget.get(), values.get()));
  }
  PyObject* status = nullptr;
  if (answer && answer.get() != Py_None)
  {
    result.IsDrawn = PyArg_ParseTuple(answer.get(), "dU", &result.Progress, &status) != 0;
    result.Status = ToString(status);
  }
  PyErr_Clear(); // whoever makes the picture instead meets the same error
  return result;
}

double vtkNeuralVolumePrepare(const void* token, double seconds)
{
  InterpreterLock lock;
  Reference module(PyImport_ImportModule(MODULE));
  Reference answer(module ? PyObject_CallMethod(module.get(), "prepare", "nd",
                              reinterpret_cast<Py_ssize_t>(token), seconds)
                          : nullptr);
  const double done = answer ? PyFloat_AsDouble(answer.get()) : 1.0;
  PyErr_Clear();
  return done;
}

std::string vtkNeuralVolumeShareStatus(const void* token)
{
  vtkPythonInterpreter::Initialize();
  InterpreterLock lock;
  Reference module(PyImport_ImportModule(MODULE));
  Reference answer(module ? PyObject_CallMethod(module.get(), "shared_status", "n",
                              reinterpret_cast<Py_ssize_t>(token))
                          : nullptr);
  const std::string status = ToString(answer.get());
  PyErr_Clear(); // each has its own status then
  return status;
}

std::string vtkNeuralVolumeFindPython()
{
  vtkPythonInterpreter::Initialize();
  InterpreterLock lock;
  // Importing the first lets the second one be found.
  for (const char* name : { "amgsrn_paraview", "amgsrn_core" })
  {
    if (!Reference(PyImport_ImportModule(name)))
    {
      return TakeError();
    }
  }
  return "";
}

void vtkNeuralVolumeRelease(const void* token)
{
  if (!Py_IsInitialized())
  {
    return;
  }
  InterpreterLock lock;
  // What was never imported has nothing to forget.
  if (PyObject* module = PyDict_GetItemString(PyImport_GetModuleDict(), MODULE))
  {
    Reference answer(
      PyObject_CallMethod(module, "release", "n", reinterpret_cast<Py_ssize_t>(token)));
  }
  PyErr_Clear();
}
