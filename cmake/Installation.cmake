# `cmake --install` gives a tree that runs from anywhere: the runtimes lie in lib/hone, found by RPATH.
file(GLOB onnxruntime_files ${ONNXRUNTIME_ROOT}/lib/libonnxruntime.so* ${ONNXRUNTIME_ROOT}/lib/libonnxruntime_providers_shared.so)
get_filename_component(openvino_root ${OpenVINO_DIR} DIRECTORY)
file(GLOB openvino_files ${openvino_root}/libs/*.so* ${openvino_root}/libs/cache.json)
install(FILES ${onnxruntime_files} ${openvino_files} DESTINATION ${CMAKE_INSTALL_LIBDIR}/hone)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/recipes DESTINATION ${CMAKE_INSTALL_DATADIR}/hone)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/docs DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE ${CMAKE_SOURCE_DIR}/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
set_target_properties(hone hone-coordinator hone-worker PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}/hone")
