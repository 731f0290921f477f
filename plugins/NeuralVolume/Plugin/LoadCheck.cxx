#include "Module/vtkNeuralVolumeRequest.h"

#include "vtkObject.h"
#include "vtkPVPlugin.h"

// ParaView from 6.1 on asks a plugin by this name whether it may be loaded; others do not ask, and the
// same sentence comes when something is drawn.
C_EXPORT bool C_DECL pv_plugin_on_load_check()
{
  const std::string missing = vtkNeuralVolumeFindPython();
  if (!missing.empty())
  {
    vtkGenericWarningMacro(<< "Neural Volume is not loaded: " << missing);
  }
  return missing.empty();
}
