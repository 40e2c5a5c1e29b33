/* The DynamoDB store, for who links it in. */
#ifndef CVM_DYNAMODB_DYNAMODB_H
#define CVM_DYNAMODB_DYNAMODB_H

#include "cvm/plugin.h"

/* The store "dynamodb:TABLE". */
int32_t cvm_plugin_dynamodb(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);

#endif
