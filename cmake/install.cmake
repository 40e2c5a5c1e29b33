# What `cmake --install` puts where: the command, the library, its headers, and what others find it by.
list(TRANSFORM CVM_STATIC_LIBRARIES PREPEND "-l" OUTPUT_VARIABLE CVM_PC_LIBRARIES)
list(JOIN CVM_PC_LIBRARIES " " CVM_PC_LIBRARIES)
file(RELATIVE_PATH CVM_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/cvm.pc.in cvm.pc @ONLY)
configure_package_config_file(cmake/cvm-config.cmake.in cvm-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/cvm)
write_basic_package_version_file(cvm-config-version.cmake COMPATIBILITY SameMinorVersion)

install(TARGETS cvm RUNTIME)
if(CVM_EXAMPLES)
  install(TARGETS cvm-device RUNTIME)
endif()
install(TARGETS cvm_shared cvm_static EXPORT cvm LIBRARY ARCHIVE)
install(DIRECTORY include/cvm TYPE INCLUDE)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/cvm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(EXPORT cvm NAMESPACE cvm:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/cvm
  FILE cvm-targets.cmake)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/cvm-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/cvm-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/cvm)

# What a server needs beside the programs (docs/deploy.md), where the units say that it is.
install(PROGRAMS deploy/mosquitto/cvm-mosquitto-reload TYPE BIN)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/cvm
  FILES_MATCHING PATTERN "*.md" PATTERN "openapi.yaml")
install(FILES README.md CHANGELOG.md LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/cvm)
install(DIRECTORY deploy/balancer DESTINATION ${CMAKE_INSTALL_DATADIR}/cvm)
install(CODE "set(SOURCE \"${CMAKE_SOURCE_DIR}\")")
install(SCRIPT cmake/install_deploy.cmake)
