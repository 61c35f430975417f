# Where every dependency comes from. ops/setup puts the ones that Debian lacks under HONE_DEPS.
set(default_deps "$ENV{HONE_DEPS}")
if(NOT default_deps AND NOT "$ENV{XDG_CACHE_HOME}" STREQUAL "")
  set(default_deps "$ENV{XDG_CACHE_HOME}/hone/deps")
elseif(NOT default_deps)
  set(default_deps "$ENV{HOME}/.cache/hone/deps")
endif()
set(HONE_DEPS "${default_deps}" CACHE PATH "What ops/setup downloaded and built")

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(spdlog REQUIRED)
find_package(fmt REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
pkg_check_modules(zmq REQUIRED IMPORTED_TARGET libzmq)
pkg_check_modules(hiredis REQUIRED IMPORTED_TARGET hiredis)
pkg_check_modules(hwy REQUIRED IMPORTED_TARGET libhwy)
pkg_check_modules(libzip REQUIRED IMPORTED_TARGET libzip)
pkg_check_modules(libevent REQUIRED IMPORTED_TARGET libevent libevent_openssl)
find_package(ZLIB REQUIRED)

# OpenVINO: OpenVINO_DIR from the environment or the command line, else the wheel.
if(NOT OpenVINO_DIR AND "$ENV{OpenVINO_DIR}" STREQUAL "")
  file(GLOB openvino_wheels ${HONE_DEPS}/openvino-*/openvino/cmake)
  if(openvino_wheels)
    list(SORT openvino_wheels COMPARE NATURAL ORDER DESCENDING)
    list(GET openvino_wheels 0 OpenVINO_DIR)
  endif()
endif()
find_package(OpenVINO COMPONENTS Runtime)
if(NOT OpenVINO_FOUND)
  message(FATAL_ERROR "OpenVINO was not found. Run ops/setup, or set OpenVINO_DIR to the folder that holds OpenVINOConfig.cmake.")
endif()

# ONNX Runtime: ONNXRUNTIME_ROOT (include/ and lib/), else the wheel with its headers.
set(ONNXRUNTIME_ROOT "$ENV{ONNXRUNTIME_ROOT}" CACHE PATH "An ONNX Runtime release: include/ and lib/")
if(NOT ONNXRUNTIME_ROOT)
  file(GLOB onnxruntime_trees ${HONE_DEPS}/onnxruntime-*)
  if(onnxruntime_trees)
    list(SORT onnxruntime_trees COMPARE NATURAL ORDER DESCENDING)
    list(GET onnxruntime_trees 0 ONNXRUNTIME_ROOT)
  endif()
endif()
find_library(ONNXRUNTIME_LIBRARY NAMES onnxruntime PATHS ${ONNXRUNTIME_ROOT}/lib NO_DEFAULT_PATH)
find_path(ONNXRUNTIME_INCLUDE onnxruntime_cxx_api.h PATHS ${ONNXRUNTIME_ROOT}/include ${ONNXRUNTIME_ROOT}/include/onnxruntime NO_DEFAULT_PATH)
if(NOT ONNXRUNTIME_LIBRARY OR NOT ONNXRUNTIME_INCLUDE)
  message(FATAL_ERROR "ONNX Runtime was not found in '${ONNXRUNTIME_ROOT}'. Run ops/setup, or set ONNXRUNTIME_ROOT to an official release.")
endif()
add_library(onnxruntime SHARED IMPORTED)
set_target_properties(onnxruntime PROPERTIES IMPORTED_LOCATION ${ONNXRUNTIME_LIBRARY})
target_include_directories(onnxruntime SYSTEM INTERFACE ${ONNXRUNTIME_INCLUDE})

# onnx: built by ops/setup.
set(ONNX_ROOT "$ENV{ONNX_ROOT}" CACHE PATH "The installed onnx C++ library")
if(NOT ONNX_ROOT)
  file(GLOB onnx_trees ${HONE_DEPS}/onnx-[0-9]*)
  if(onnx_trees)
    list(SORT onnx_trees COMPARE NATURAL ORDER DESCENDING)
    list(GET onnx_trees 0 ONNX_ROOT)
  endif()
endif()
find_package(ONNX CONFIG PATHS ${ONNX_ROOT} NO_DEFAULT_PATH)
if(NOT ONNX_FOUND)
  message(FATAL_ERROR "The onnx C++ library was not found in '${ONNX_ROOT}'. Run ops/setup.")
endif()

# What tests are told about the machine's models and peers.
set(HONE_TEST_ENVIRONMENT "HONE_MODELS=${HONE_DEPS}/models;HONE_PEERS=${HONE_DEPS}/peers")
if(HONE_SANITIZE)
  # allocator_may_return_null: OpenVINO's TensorFlow frontend asks malloc for absurd sizes, and copes. Our own `new` still may not.
  list(APPEND HONE_TEST_ENVIRONMENT
    "ASAN_OPTIONS=detect_leaks=1:alloc_dealloc_mismatch=0:abort_on_error=0:exitcode=99:allocator_may_return_null=1"
    "UBSAN_OPTIONS=print_stacktrace=1"
    # oneTBB opens a helper library in a way that AddressSanitizer refuses, unless told.
    "TBB_ENABLE_SANITIZERS=1"
    "LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/cmake/sanitizers/lsan.supp:print_suppressions=0"
    # Mutexes that a runtime locks inline, unseen, look as if they had never been locked when it waits or ends.
    "TSAN_OPTIONS=report_mutex_bugs=0:suppressions=${CMAKE_SOURCE_DIR}/cmake/sanitizers/tsan.supp:exitcode=98:die_after_fork=0:history_size=4:allocator_may_return_null=1")
endif()
