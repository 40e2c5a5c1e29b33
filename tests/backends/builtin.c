/* What is compiled into the command that fails as told: everything, and the tests' backends. */
#include "core/builtin.h"

#include "backends/file/file.h"
#include "backends/local/local.h"
#include "told_store.h"
#include "transports/http/http.h"
#include "world_platform.h"

const cvm_plugin_fn CVM_BUILTIN_PLUGINS[] = {
    cvm_plugin_file, cvm_plugin_local, plugin_told, plugin_world};
const uint32_t CVM_BUILTIN_PLUGIN_COUNT =
    sizeof CVM_BUILTIN_PLUGINS / sizeof CVM_BUILTIN_PLUGINS[0];

const char *const CVM_BUILTIN_NAMES[] = {NULL};
const struct cvm_transport_ops *const CVM_BUILTIN_TRANSPORTS[] = {
    &CVM_HTTP_TRANSPORT, &CVM_OPS_TRANSPORT};
const uint32_t CVM_BUILTIN_TRANSPORT_COUNT =
    sizeof CVM_BUILTIN_TRANSPORTS / sizeof CVM_BUILTIN_TRANSPORTS[0];
