/* The store "told:PATH": the file store, whose verbs fail as told (told.h): ready, get, swap,
 * get_certificates and scan. */
#ifndef CVM_TESTS_TOLD_STORE_H
#define CVM_TESTS_TOLD_STORE_H

#include "cvm/plugin.h"

int32_t cvm_plugin_told(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);

#endif
