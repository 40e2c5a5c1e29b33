/* What is compiled into the tests' programs: our backends and transports, and the tests' own
 * backends. */
#include "core/builtin.h"

#include "backends/file/file.h"
#include "backends/local/local.h"
#include "support/fake_platform.h"
#include "support/faulty_store.h"
#include "support/lacking.h"
#include "transports/http/http.h"

const cvm_plugin_fn CVM_BUILTIN_PLUGINS[] = {
    cvm_plugin_file, cvm_plugin_local, plugin_faulty, plugin_fake, plugin_lacking};
const uint32_t CVM_BUILTIN_PLUGIN_COUNT =
    sizeof CVM_BUILTIN_PLUGINS / sizeof CVM_BUILTIN_PLUGINS[0];

const char *const CVM_BUILTIN_NAMES[] = {NULL};
const struct cvm_transport_ops *const CVM_BUILTIN_TRANSPORTS[] = {
    &CVM_HTTP_TRANSPORT, &CVM_OPS_TRANSPORT};
const uint32_t CVM_BUILTIN_TRANSPORT_COUNT =
    sizeof CVM_BUILTIN_TRANSPORTS / sizeof CVM_BUILTIN_TRANSPORTS[0];
