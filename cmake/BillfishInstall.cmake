# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` puts where: headers, libraries, the tool, a CMake package and a pkg-config file; and build/include, so that
# a build folder can be used like an installed one. tests/install builds programs against both.
#
# SONAME rule: libbillfish.so.MAJOR. While MAJOR is 0 the ABI may still change with MINOR, so the CMake package accepts the same
# MAJOR.MINOR only; from 1.0 on any version of the same MAJOR is compatible with programs built against an earlier one.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

file(CREATE_LINK ${PROJECT_SOURCE_DIR}/include ${PROJECT_BINARY_DIR}/include SYMBOLIC)

set_target_properties(billfish PROPERTIES EXPORT_NAME billfish)
set_target_properties(billfish_static PROPERTIES EXPORT_NAME static)
add_library(billfish::billfish ALIAS billfish)
add_library(billfish::static ALIAS billfish_static)

install(TARGETS billfish billfish_static EXPORT billfish_targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
foreach(target billfish_marlin billfish_tool)
  if(TARGET ${target})
    install(TARGETS ${target}
      RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
      LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  endif()
endforeach()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/billfish DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
# What the tool looks for beside itself: shapes by name, and a GPU's figures where there is none.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/bench/shapes ${PROJECT_SOURCE_DIR}/bench/devices
  DESTINATION ${CMAKE_INSTALL_DATADIR}/billfish/bench
  FILES_MATCHING PATTERN "*.txt" PATTERN "*.json")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/billfish)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/billfish)
install(EXPORT billfish_targets NAMESPACE billfish:: FILE billfish-targets.cmake DESTINATION ${package_folder})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/billfish-config.cmake.in ${PROJECT_BINARY_DIR}/cmake/billfish-config.cmake
  INSTALL_DESTINATION ${package_folder})
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(compatibility SameMinorVersion)
else()
  set(compatibility SameMajorVersion)
endif()
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cmake/billfish-config-version.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY ${compatibility})
install(FILES ${PROJECT_BINARY_DIR}/cmake/billfish-config.cmake ${PROJECT_BINARY_DIR}/cmake/billfish-config-version.cmake
  DESTINATION ${package_folder})

# Found relative to the file itself, so that an installed tree can be moved.
file(RELATIVE_PATH BILLFISH_PREFIX_FROM_PC ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" BILLFISH_PREFIX_FROM_PC "${BILLFISH_PREFIX_FROM_PC}")
set(BILLFISH_PC_PRIVATE "-lstdc++ -lm -pthread")
if(BILLFISH_CUDA)
  string(APPEND BILLFISH_PC_PRIVATE " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -ldl -lrt")
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/billfish.pc.in ${PROJECT_BINARY_DIR}/cmake/billfish.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/cmake/billfish.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
