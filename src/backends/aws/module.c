/* The module: what speaks with AWS, under all of its names. */
#include "aws_iot/aws_iot.h"
#include "dynamodb/dynamodb.h"

#ifdef CVM_IS_MODULE
static int32_t plugin_aws(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    return cvm_plugin_dynamodb(host, registry, user_data) ||
                   cvm_plugin_aws_iot(host, registry, user_data)
               ? -1
               : 0;
}

CVM_MODULE(plugin_aws);
#endif
