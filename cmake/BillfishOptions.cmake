# SPDX-License-Identifier: Apache-2.0
# What every target is compiled with, and where outputs go: build/bin, build/lib, whatever the preset.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 99)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)

find_program(BILLFISH_CCACHE ccache)
if(BILLFISH_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${BILLFISH_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${BILLFISH_CCACHE})
endif()
# ptxas reports registers and spills; the launcher keeps the report beside every object for tests/rules/spills.py.
set(CMAKE_CUDA_FLAGS "${CMAKE_CUDA_FLAGS} -Xptxas=-v")
set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CURRENT_LIST_DIR}/ptxas_log.sh ${BILLFISH_CCACHE})
if(NOT BILLFISH_CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CURRENT_LIST_DIR}/ptxas_log.sh)
endif()

add_library(billfish_options INTERFACE)
target_compile_options(billfish_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wno-missing-field-initializers>)
# Results must not depend on the compiler's choice of fused or reassociated arithmetic.
target_compile_options(billfish_options INTERFACE $<$<COMPILE_LANGUAGE:C,CXX>:-ffp-contract=off>)
if(BILLFISH_FUZZ AND NOT BILLFISH_SANITIZE)
  set(BILLFISH_SANITIZE address,undefined)  # one set of objects serves the fuzzers and the sanitized tests
endif()
if(BILLFISH_SANITIZE)
  target_compile_options(billfish_options INTERFACE
    $<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=${BILLFISH_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1>)
  target_link_options(billfish_options INTERFACE -fsanitize=${BILLFISH_SANITIZE})
endif()
if(BILLFISH_FUZZ)
  target_compile_options(billfish_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=fuzzer-no-link -D_GLIBCXX_ASSERTIONS>)
endif()
