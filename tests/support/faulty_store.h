/* The store "faulty:PATH": the file store, whose verbs fail as planned (faults.h): open, ready,
 * get, get_certificates, swap, scan, load, meta_get, meta_swap, remove. */
#ifndef CVM_TESTS_FAULTY_STORE_H
#define CVM_TESTS_FAULTY_STORE_H

#include "cvm/plugin.h"

int32_t plugin_faulty(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);

#endif
