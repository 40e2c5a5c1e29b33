/* The store "faulty:LOCATION": the one that the tests run over (harness.h), whose verbs fail as
 * planned (faults.h): open, ready, get, get_certificates, swap, scan, load, find, meta_get,
 * meta_put, remove, now. "clocked:" is the same with a clock of its own, and "blind:" the same with
 * scans that lag so far behind that they answer nothing. */
#ifndef CVM_TESTS_FAULTY_STORE_H
#define CVM_TESTS_FAULTY_STORE_H

#include "cvm/plugin.h"

/* How far the clock of "clocked:" is ahead of the machine's. */
void faulty_set_clock(int64_t ahead_ms);
/* The store that was made last has a new connection. */
void faulty_reconnect(void);

int32_t plugin_faulty(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);

#endif
