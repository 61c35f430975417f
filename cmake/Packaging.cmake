# `cpack --config build/release/CPackConfig.cmake -G DEB` makes hone, hone-coordinator and hone-worker (ops/test_packages proves them).
set(CPACK_PACKAGE_NAME hone)
set(CPACK_PACKAGE_VENDOR "hone")
set(CPACK_PACKAGE_CONTACT "The hone developers <hone@localhost>")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY ${PROJECT_DESCRIPTION})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL hone hone-coordinator hone-worker libhone libhone-dev)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_GENERATOR DEB)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
# The runtimes are large; dpkg of Debian 12 reads it, and it is packed and unpacked sooner than gzip.
set(CPACK_DEBIAN_COMPRESSION_TYPE zstd)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# The runtimes are beside the programs, not in packages of their own.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${ONNXRUNTIME_ROOT}/lib ${openvino_root}/libs)
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS OFF)

set(CPACK_COMPONENT_HONE_DESCRIPTION "command that finds the best deployable form of a model
 The client: submits searches, watches them, compares candidates, and runs a search on this machine alone with the programs of hone-coordinator and hone-worker.")
set(CPACK_COMPONENT_HONE-COORDINATOR_DESCRIPTION "service that shards searches over a fleet of machines
 Keeps jobs and results durably, hands out work, and tells of both.")
set(CPACK_COMPONENT_HONE-WORKER_DESCRIPTION "service that converts, quantizes and measures models
 Does the work of a coordinator on this machine, each piece confined in a process of its own. Carries ONNX Runtime and OpenVINO.")
set(CPACK_COMPONENT_LIBHONE_DESCRIPTION "library that submits and watches searches
 For C++ programs.")
set(CPACK_COMPONENT_LIBHONE-DEV_DESCRIPTION "headers and CMake package of libhone
 For C++ programs.")
foreach(component HONE HONE-COORDINATOR HONE-WORKER LIBHONE LIBHONE-DEV)
  string(TOLOWER ${component} name)
  set(CPACK_DEBIAN_${component}_PACKAGE_NAME ${name})
  set(CPACK_DEBIAN_${component}_FILE_NAME DEB-DEFAULT)
  install(FILES ${CMAKE_SOURCE_DIR}/packaging/debian/copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${name} COMPONENT ${name} EXCLUDE_FROM_ALL)
endforeach()
set(CPACK_DEBIAN_HONE_PACKAGE_SUGGESTS "hone-coordinator, hone-worker")
set(CPACK_DEBIAN_LIBHONE_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBHONE-DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_LIBHONE-DEV_PACKAGE_DEPENDS "libhone (= ${PROJECT_VERSION})")
foreach(service HONE-COORDINATOR HONE-WORKER)
  string(TOLOWER ${service} name)
  set(CPACK_DEBIAN_${service}_PACKAGE_DEPENDS "passwd")
  # Control files have the bare names.
  set(control ${CMAKE_BINARY_DIR}/packaging/${name})
  foreach(script postinst prerm postrm)
    configure_file(${CMAKE_SOURCE_DIR}/packaging/debian/${name}.${script} ${control}/${script} COPYONLY)
    list(APPEND CPACK_DEBIAN_${service}_PACKAGE_CONTROL_EXTRA ${control}/${script})
  endforeach()
  set(CPACK_DEBIAN_${service}_PACKAGE_CONTROL_STRICT_PERMISSION ON)
endforeach()
include(CPack)
