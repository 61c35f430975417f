# `cmake --install` gives a tree that runs from anywhere: the runtimes lie in lib/hone, found by RPATH. Components are Debian packages (Packaging.cmake).
file(GLOB onnxruntime_files ${ONNXRUNTIME_ROOT}/lib/libonnxruntime.so* ${ONNXRUNTIME_ROOT}/lib/libonnxruntime_providers_shared.so)
get_filename_component(openvino_root ${OpenVINO_DIR} DIRECTORY)
file(GLOB openvino_files ${openvino_root}/libs/*.so* ${openvino_root}/libs/cache.json)
install(FILES ${onnxruntime_files} ${openvino_files} DESTINATION ${CMAKE_INSTALL_LIBDIR}/hone COMPONENT hone-worker)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/recipes DESTINATION ${CMAKE_INSTALL_DATADIR}/hone COMPONENT hone)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/docs DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT hone)
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE ${CMAKE_SOURCE_DIR}/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT hone)
set_target_properties(hone hone-coordinator hone-worker PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}/hone")

foreach(service hone-coordinator hone-worker)
  install(FILES ${CMAKE_SOURCE_DIR}/ops/systemd/${service}.service DESTINATION lib/systemd/system COMPONENT ${service})
  install(FILES ${CMAKE_SOURCE_DIR}/packaging/man/${service}.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8 COMPONENT ${service})
endforeach()
# Manual pages and completions come from the program's own tables.
install(CODE "set(hone_program \"${CMAKE_BINARY_DIR}/bin/hone\")
set(man_folder \"${CMAKE_INSTALL_MANDIR}\")
set(share_folder \"${CMAKE_INSTALL_DATADIR}\")" COMPONENT hone)
install(SCRIPT ${CMAKE_SOURCE_DIR}/packaging/install_pages.cmake COMPONENT hone)
