/* All that speaks with AWS, as one plugin: the store `dynamodb` and the platform `aws-iot`. */
#ifndef CVM_AWS_AWS_H
#define CVM_AWS_AWS_H

#include "cvm/plugin.h"

int32_t cvm_plugin_aws(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);

#endif
