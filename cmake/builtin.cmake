# Writes what is compiled in, CVM_BACKENDS, CVM_TRANSPORTS and CVM_FORMATS, as C: the one file that names them.
# A backend NAME exports cvm_plugin_NAME; a transport NAME has a header NAME.h with CVM_NAME_TRANSPORTS; a format NAME is
# CVM_FORMAT_NAME. Further backends of a program's own: as arguments.
function(cvm_write_builtin file)
  set(declarations)
  set(plugins)
  set(offers)
  set(transports)
  set(formats)
  foreach(backend ${CVM_BACKENDS} ${ARGN})
    string(APPEND declarations
      "int32_t cvm_plugin_${backend}(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);\n")
    string(APPEND plugins "    cvm_plugin_${backend},\n")
  endforeach()
  foreach(transport ${CVM_TRANSPORTS})
    string(TOUPPER ${transport} upper)
    string(APPEND declarations "#include \"transports/${transport}/${transport}.h\"\n")
    string(APPEND transports "    CVM_${upper}_TRANSPORTS,\n")
  endforeach()
  foreach(format ${CVM_FORMATS})
    string(TOUPPER ${format} upper)
    string(APPEND formats "    &CVM_FORMAT_${upper},\n")
  endforeach()
  foreach(part ${CVM_BACKENDS} ${CVM_TRANSPORTS})
    foreach(offer ${CVM_OFFERS_${part}})
      string(APPEND offers "    \"${offer}\",\n")
    endforeach()
  endforeach()
  file(CONFIGURE OUTPUT ${file} @ONLY CONTENT [[
/* Made by cmake/builtin.cmake. */
#include "core/builtin.h"

@declarations@
const cvm_plugin_fn CVM_BUILTIN_PLUGINS[] = {
@plugins@    NULL,
};

const char *const CVM_BUILTIN_NAMES[] = {
@offers@    NULL,
};

const struct cvm_transport_ops *const CVM_BUILTIN_TRANSPORTS[] = {
@transports@    NULL,
};

const struct cvm_format *const CVM_BUILTIN_FORMATS[] = {
@formats@    NULL,
};
]])
endfunction()
