/* What is compiled into the tests' programs: our backends, the tests' own, and no transports. */
#include "core/builtin.h"

#include "backends/file/file.h"
#include "backends/local/local.h"
#include "support/fake_platform.h"
#include "support/faulty_store.h"

const cvm_plugin_fn CVM_BUILTIN_PLUGINS[] = {
    cvm_plugin_file, cvm_plugin_local, plugin_faulty, plugin_fake};
const uint32_t CVM_BUILTIN_PLUGIN_COUNT =
    sizeof CVM_BUILTIN_PLUGINS / sizeof CVM_BUILTIN_PLUGINS[0];

const struct cvm_transport_ops *const CVM_BUILTIN_TRANSPORTS[] = {NULL};
const uint32_t CVM_BUILTIN_TRANSPORT_COUNT = 0;
