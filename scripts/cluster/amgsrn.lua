-- A module file (Lmod) for an environment that pip made: put it into a folder of MODULEPATH as
-- amgsrn/VERSION.lua, and name the environment and the site's ParaView below.
help([[
Adaptive multi-grid scene representation networks for ParaView.
amgsrn --help, amgsrn pvbatch script.py, amgsrn doctor
]])
whatis("Name: AMGSRN for ParaView")

local environment = "/opt/amgsrn" -- made by: python3 -m venv, pip install amgsrn-*.whl[train,cluster]
local paraview = "" -- folder of a ParaView whose Python has the environment's version; "" for the PATH's

prepend_path("PATH", pathJoin(environment, "bin"))
if paraview ~= "" then
  setenv("PARAVIEW_HOME", paraview)
end
