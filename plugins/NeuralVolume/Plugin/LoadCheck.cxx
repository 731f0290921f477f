#include "Module/vtkNeuralVolumeRequest.h"

#include "vtkObject.h"
#include "vtkPVPlugin.h"
#include "vtkProcessModule.h"

// ParaView 6.1 asks a plugin by this name whether it may be loaded; earlier ones do not ask, and the
// same sentence comes when something is drawn. Clients and servers load it in any case, for the other
// side may draw: ParaView aborts where one side alone knows the representation.
C_EXPORT bool C_DECL pv_plugin_on_load_check()
{
  const std::string missing = vtkNeuralVolumeFindPython();
  const bool isAlone = vtkProcessModule::GetProcessType() == vtkProcessModule::PROCESS_BATCH;
  if (!missing.empty())
  {
    vtkGenericWarningMacro(
      << "Neural Volume " << (isAlone ? "is not loaded: " : "cannot draw here: ") << missing);
  }
  return missing.empty() || !isAlone;
}
