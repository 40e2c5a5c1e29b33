/* The configuration from a Lambda's environment. */
#ifndef CVM_LAMBDA_CONFIG_H
#define CVM_LAMBDA_CONFIG_H

#include <cvm/cvm.h>

/* Ours (CVM_STORE and so on), and the reference system's variables: device_dynamodb_table, region,
 * iot_root_ca_url, thing_name_format, iot_policy_name. NULL, or why not: freed by the caller. */
cvm_error_t *config_read(cvm_conf_t *conf);

#endif
