# Makes find_package(ParaView) work with paraview-dev of Debian 13 (5.13) and later (6.1); elsewhere
# without effect.
#
# There the exported Python extension targets name .../vtkmodules/vtkCommonCore.so, but the packaging
# renamed the files to vtkCommonCore.cpython-313-*.so, so CMake's generated check of the imported
# files stops. A plugin links to none of them. CMake (3.28 or later) skips the check of a target
# whose _cmake_import_check_xcframework_for_<target> is set.
if(ParaView_DIR)
  set(folders "${ParaView_DIR}")
else()
  file(GLOB folders "/usr/lib/*/cmake/paraview-*")
endif()
foreach(folder IN LISTS folders)
  file(GLOB files "${folder}/*Python*-targets.cmake" "${folder}/vtk/*Python*-targets.cmake")
  foreach(file IN LISTS files)
    file(STRINGS "${file}" lines REGEX "^add_library\\([^ ]+ MODULE IMPORTED\\)")
    foreach(line IN LISTS lines)
      string(REGEX REPLACE "^add_library\\(([^ ]+) .*" "\\1" target "${line}")
      set("_cmake_import_check_xcframework_for_${target}" "/")
    endforeach()
  endforeach()
endforeach()
