# What `cmake --install` puts where: the command, the library, its headers, and what others find it by.
set(CVM_PC_REQUIRES "libuv sqlite3 libcjson libssl libcrypto")
file(RELATIVE_PATH CVM_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/cvm.pc.in cvm.pc @ONLY)
configure_package_config_file(cmake/cvm-config.cmake.in cvm-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/cvm)
write_basic_package_version_file(cvm-config-version.cmake COMPATIBILITY SameMajorVersion)

install(TARGETS cvm RUNTIME)
install(TARGETS cvm_shared EXPORT cvm LIBRARY ARCHIVE)
install(TARGETS cvm_static ARCHIVE)
install(DIRECTORY include/cvm TYPE INCLUDE)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/cvm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(EXPORT cvm NAMESPACE cvm:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/cvm
  FILE cvm-targets.cmake)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/cvm-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/cvm-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/cvm)
