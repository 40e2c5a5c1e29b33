/* The module, under all of its names. */
#include "aws.h"
#include "aws_iot/aws_iot.h"
#include "dynamodb/dynamodb.h"

int32_t cvm_plugin_aws(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    int32_t failed = cvm_plugin_dynamodb(host, registry, user_data);
    return failed ? failed : cvm_plugin_aws_iot(host, registry, user_data);
}

#ifdef CVM_IS_MODULE
CVM_MODULE(cvm_plugin_aws);
#endif
