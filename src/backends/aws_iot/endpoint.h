/* What devices connect to, and whom they trust there. On the loop. */
#ifndef CVM_AWS_IOT_ENDPOINT_H
#define CVM_AWS_IOT_ENDPOINT_H

#include "aws/job.h"

#define IOT_ADDRESS_SIZE 256

struct platform;
struct step;

/* A platform's part. */
struct iot_endpoint {
    const char *root_url, *shipped_root; /* of the root CA; that, if it is one of Amazon's */
    char address[IOT_ADDRESS_SIZE];      /* "" until it is known */
    char *root_ca;                       /* PEM; NULL while it is one of Amazon's */
    int64_t fresh_until_ms;              /* by the monotonic clock */
    int32_t is_asked;                    /* somebody does */
    int32_t is_doubted;                  /* what the store has does not count */
};

/* 0, or -1 and why. */
int32_t cvm_iot_endpoint_init(struct platform *platform, char *error, size_t error_size);
/* A step that can ask; as cvm_iot_step(). */
struct step *cvm_iot_asking_step(struct platform *platform, cvm_op_t *op, enum aws_verb verb,
    const cvm_record_t *device, const cvm_record_t *certificate);
/* Has then(step) called once both are known; else the step, which can ask, ends. */
void cvm_iot_with_endpoint(struct step *step, void (*then)(struct step *step));
/* PEM; NULL while it is not known. */
const char *cvm_iot_root_ca(const struct platform *platform);
/* The next one asks AWS anew. */
void cvm_iot_forget_endpoint(struct platform *platform);
void cvm_iot_endpoint_clear(struct platform *platform);

#endif
