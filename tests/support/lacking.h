/* The store and the platform "lacking:", whose tables lack what a test says. */
#ifndef CVM_TESTS_LACKING_H
#define CVM_TESTS_LACKING_H

#include "cvm/plugin.h"

/* How many bytes the tables have, and the offset of the member that is NULL; 0: none. */
void lacking_store(size_t size, size_t member);
void lacking_platform(size_t size, size_t member);

int32_t plugin_lacking(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);

#endif
