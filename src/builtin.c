/* What is compiled in: the one file that names backends and transports. */
#include "core/builtin.h"

#include "backends/file/file.h"
#include "backends/local/local.h"
#include "transports/http/http.h"

const cvm_plugin_fn CVM_BUILTIN_PLUGINS[] = {cvm_plugin_file, cvm_plugin_local};
const uint32_t CVM_BUILTIN_PLUGIN_COUNT =
    sizeof CVM_BUILTIN_PLUGINS / sizeof CVM_BUILTIN_PLUGINS[0];

const char *const CVM_BUILTIN_NAMES[] = {
    "store file", "platform local", "transport http", "transport ops", NULL};

const struct cvm_transport_ops *const CVM_BUILTIN_TRANSPORTS[] = {
    &CVM_HTTP_TRANSPORT, &CVM_OPS_TRANSPORT};
const uint32_t CVM_BUILTIN_TRANSPORT_COUNT =
    sizeof CVM_BUILTIN_TRANSPORTS / sizeof CVM_BUILTIN_TRANSPORTS[0];
