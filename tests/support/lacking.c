/* Tables that are not whole. Nothing of them but create() is ever called, which fails. */
#include "support/lacking.h"

#include "support/test.h"

static cvm_store_ops_t store;
static cvm_platform_ops_t platform;
static size_t store_size = sizeof store, store_member;
static size_t platform_size = sizeof platform, platform_member;

void lacking_store(size_t size, size_t member)
{
    store_size = size;
    store_member = member;
}

void lacking_platform(size_t size, size_t member)
{
    platform_size = size;
    platform_member = member;
}

static cvm_answer_t create(const cvm_host_t *host, cvm_context_t *context, void *user_data,
    const char *location, void **self, char *error, size_t error_size)
{
    (void)user_data;
    (void)host;
    (void)context;
    (void)location;
    (void)self;
    (void)snprintf(error, error_size, "the table is whole");
    return CVM_ANSWER_INVALID;
}

static void take_out(void *table, size_t member)
{
    if (member)
        memset((char *)table + member, 0, sizeof(void (*)(void)));
}

int32_t plugin_lacking(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    memset(&store, 1, sizeof store); /* no function is there, but no member is NULL */
    memset(&platform, 1, sizeof platform);
    store.size = (uint32_t)store_size;
    store.create = create;
    platform.size = (uint32_t)platform_size;
    store.flags = platform.flags = 0;
    platform.create = create;
    take_out(&store, store_member);
    take_out(&platform, platform_member);
    return host->add_store(registry, "lacking", &store, user_data, NULL, 0) ||
           host->add_platform(registry, "lacking", &platform, user_data, NULL, 0);
}
