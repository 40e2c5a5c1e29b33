# Run by `cmake --install`: the units name the folders of the prefix that they are installed under.
# Knows SOURCE, and DESTDIR from the environment.
set(prefix "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}")

function(install_unit from to)
  file(READ "${SOURCE}/deploy/systemd/${from}" text)
  string(REPLACE "/usr/local/" "${CMAKE_INSTALL_PREFIX}/" text "${text}")
  file(WRITE "${prefix}/${to}" "${text}")
  message(STATUS "Installing: ${prefix}/${to}")
endfunction()

foreach(unit cvm.service cvm-mosquitto-reload.service cvm-mosquitto-reload.path
    cvm-mosquitto-reload.timer)
  install_unit(${unit} lib/systemd/system/${unit})
endforeach()
install_unit(cvm.sysusers lib/sysusers.d/cvm.conf)
# Debian's broker is given another configuration by who wants that, not by an installation.
install_unit(mosquitto.service.d/cvm.conf share/cvm/mosquitto.service.d/cvm.conf)
# And what is secret is where its operator wants it.
install_unit(cvm.service.d/credentials.conf share/cvm/cvm.service.d/credentials.conf)
