/* A module, in several forms: KIND is 0 for one that fits, and else for one that doesn't. */
#include <stdio.h>
#include <string.h>

#include "cvm/plugin.h"

enum { FITS, OLDER, NEWER, SHORT, UNWILLING, EXPORTS_NOTHING };

static cvm_answer_t create(const cvm_host_t *host, cvm_context_t *context, void *user_data,
    const char *location, void **store, char *error, size_t error_size)
{
    (void)user_data;
    (void)store;
    (void)snprintf(error, error_size, "the module's store, '%s', modular.word = %s", location,
        host->property(context, "modular.word"));
    return CVM_ANSWER_INVALID;
}

static void nothing(void)
{
}

static cvm_store_ops_t table;

static int32_t plugin(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    static const cvm_property_row_t ROW = {
        sizeof ROW, 0, "modular.word", CVM_TYPE_TEXT, "none", NULL, "A word."};
    void (*const function)(void) = nothing;
    (void)user_data;
    if (KIND == UNWILLING)
        return host->add_store(registry, "No Name", &table, NULL, NULL, 0);
    for (size_t at = offsetof(cvm_store_ops_t, create); at < sizeof table; at += sizeof function)
        memcpy((char *)&table + at, &function, sizeof function);
    table.size = sizeof table;
    table.flags = CVM_LOCATION_IS_PATH;
    table.device_fields = CVM_DEVICE_FIELD_COUNT;
    table.certificate_fields = CVM_CERTIFICATE_FIELD_COUNT;
    table.create = create;
    return host->add_store(registry, "modular", &table, NULL, NULL, 0) ||
           host->add_property(registry, &ROW, NULL, 0);
}

#if KIND == 0
CVM_MODULE(plugin);
#elif KIND == 5
cvm_plugin_fn cvm_no_module;
cvm_plugin_fn cvm_no_module = plugin;
#else
extern __attribute__((visibility("default"))) const cvm_module_t cvm_module;
const cvm_module_t cvm_module = {KIND == SHORT ? 8 : sizeof cvm_module,
    KIND == OLDER   ? CVM_PLUGIN_VERSION - 1
    : KIND == NEWER ? CVM_PLUGIN_VERSION + 1
                    : CVM_PLUGIN_VERSION,
    plugin};
#endif
