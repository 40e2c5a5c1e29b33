/*
 * The platform "world:FOLDER": it has effects outside the store, which outlive the program, and its
 * steps fail as told (told.h). FOLDER/certificates has a file for each certificate, named by its
 * id, with one line: UID STATE POLICY SUSPENDED THING.
 */
#ifndef CVM_TESTS_WORLD_PLATFORM_H
#define CVM_TESTS_WORLD_PLATFORM_H

#include "cvm/plugin.h"

int32_t cvm_plugin_world(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);

#endif
