# What every target of ours is built with; generated code and other people's code links project_settings alone.
option(HONE_WERROR "Warnings are errors" OFF)
set(HONE_SANITIZE "" CACHE STRING "Sanitizers: address,undefined or thread")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEV "-O1 -g1 -fno-omit-frame-pointer")

find_program(CCACHE ccache)
if(CCACHE)
  # What ccache must overlook to keep results of files with precompiled headers.
  set(launcher ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
endif()

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

add_library(project_settings INTERFACE)
target_compile_features(project_settings INTERFACE cxx_std_20)
target_include_directories(project_settings INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
# As hiredis wants it; everybody alike, so that all can read the same precompiled header.
target_compile_definitions(project_settings INTERFACE _FILE_OFFSET_BITS=64)
# Results must not depend on which multiplications the compiler fuses.
target_compile_options(project_settings INTERFACE -ffp-contract=off)
if(HONE_SANITIZE)
  target_compile_options(project_settings INTERFACE -fsanitize=${HONE_SANITIZE} -fno-sanitize-recover=all)
  # GCC 12 sees it in the standard library's own code once checks are woven in.
  target_compile_options(project_settings INTERFACE -Wno-maybe-uninitialized)
  if(HONE_SANITIZE MATCHES undefined)
    # Virtual tables of libraries built without it cannot be checked.
    target_compile_options(project_settings INTERFACE -fno-sanitize=vptr)
  endif()
  target_link_options(project_settings INTERFACE -fsanitize=${HONE_SANITIZE})
  target_compile_definitions(project_settings INTERFACE HONE_SANITIZED)
endif()

add_library(project_warnings INTERFACE)
target_compile_options(project_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-align -Wextra-semi
  $<$<BOOL:${HONE_WERROR}>:-Werror>)

# Most of a file's compile time is these headers. They are compiled once for all libraries, by `owner`, and once for all tests.
option(HONE_PRECOMPILE "Precompile the headers that nearly every file includes" ON)
function(hone_precompile name owner)
  if(NOT HONE_PRECOMPILE)
    return()
  endif()
  if(NOT name STREQUAL owner)
    target_precompile_headers(${name} REUSE_FROM ${owner})
  else()
    target_precompile_headers(${name} PRIVATE <algorithm> <filesystem> <functional> <map> <memory> <optional> <string> <vector>
      <fmt/format.h> <tl/expected.hpp> <proto/wire.pb.h> ${ARGN})
  endif()
endfunction()

# Several files are compiled as one: everything from nothing takes less than half as long, a change of one file longer.
option(HONE_UNITY "Compile several files together" OFF)
function(hone_unity name)
  set_target_properties(${name} PROPERTIES UNITY_BUILD ${HONE_UNITY} UNITY_BUILD_BATCH_SIZE 10)
endfunction()

# hone_library(NAME [SEPARATE] [COLD] [SOURCES ...] [LINK ...]); SEPARATE: never several files as one, for files that say the same names
# of different things, a runtime or a format each. COLD: code that mostly waits for people and sockets; what matters is how soon it is
# built (a fifth sooner, and these libraries are a third of what a first build compiles).
function(hone_library name)
  cmake_parse_arguments(ARG "SEPARATE;COLD" "" "SOURCES;LINK" ${ARGN})
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES})
    target_link_libraries(${name} PUBLIC project_settings ${ARG_LINK} PRIVATE project_warnings)
    if(ARG_COLD)
      target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
    endif()
    if("hone_common" IN_LIST ARG_LINK OR name STREQUAL hone_common)
      hone_precompile(${name} hone_common)
      if(NOT ARG_SEPARATE)
        hone_unity(${name})
      endif()
    endif()
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE project_settings ${ARG_LINK})
  endif()
endfunction()

# hone_program(NAME SOURCES ... LINK ...): installed into bin.
function(hone_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE project_warnings ${ARG_LINK})
  # As the libraries are compiled, or their precompiled header is of no use.
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${name} PRIVATE -fPIC)
  hone_precompile(${name} hone_common)
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${name})
endfunction()

# hone_test(NAME [SEPARATE] [LABELS ...] SOURCES ... LINK ...): one GoogleTest program, one ctest entry.
function(hone_test name)
  cmake_parse_arguments(ARG "SEPARATE" "TIMEOUT" "SOURCES;LINK;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE project_warnings ${ARG_LINK} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE HONE_BIN_DIR="${CMAKE_BINARY_DIR}/bin" HONE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(HONE_SANITIZE)
    math(EXPR ARG_TIMEOUT "4 * ${ARG_TIMEOUT}")
  endif()
  # Tests are the greater part of what is compiled, and their own code is run once: what matters is how soon they are built.
  target_compile_options(${name} PRIVATE $<IF:$<CONFIG:Release>,-O1,-O0>)
  hone_precompile(${name} common_tests <gmock/gmock.h>)
  if(NOT ARG_SEPARATE)
    hone_unity(${name})
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT} COST ${ARG_TIMEOUT}
    ENVIRONMENT "${HONE_TEST_ENVIRONMENT}")
endfunction()
