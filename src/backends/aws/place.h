/* Where AWS is: region and endpoints, as properties, environment and profile say. */
#ifndef CVM_AWS_PLACE_H
#define CVM_AWS_PLACE_H

#include "cvm/plugin.h"

#define AWS_REGION_SIZE   40
#define AWS_HOST_SIZE     290
#define AWS_ENDPOINT_SIZE 300

struct aws_place {
    char region[AWS_REGION_SIZE];
    char url[AWS_ENDPOINT_SIZE]; /* of the service, without a slash at its end */
    char host[AWS_HOST_SIZE];    /* as the header has it */
    int32_t is_plain;            /* http: somebody has set it so */
};

/* Finds a service's endpoint ("dynamodb", "iot", "sts"). 0, or -1 and why. */
int32_t cvm_aws_place_find(const cvm_host_t *host, cvm_context_t *context, const char *service,
    struct aws_place *place, char *error, size_t error_size);

#endif
