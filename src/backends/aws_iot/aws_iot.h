/* The AWS IoT platform, for who links it in. */
#ifndef CVM_AWS_IOT_AWS_IOT_H
#define CVM_AWS_IOT_AWS_IOT_H

#include "cvm/plugin.h"

/* The platform "aws-iot". */
int32_t cvm_plugin_aws_iot(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);

#endif
