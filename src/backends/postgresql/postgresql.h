/* The PostgreSQL store, for who links it in. */
#ifndef CVM_POSTGRESQL_POSTGRESQL_H
#define CVM_POSTGRESQL_POSTGRESQL_H

#include "cvm/plugin.h"

/* The store "postgresql://…" (any URI or connection string of libpq's), and "postgres://…". */
int32_t cvm_plugin_postgresql(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);

#endif
