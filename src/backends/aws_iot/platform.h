/* The AWS IoT platform inside: each step is a job of one call, or of a few where AWS has no single
 * one. On the loop. */
#ifndef CVM_AWS_IOT_PLATFORM_H
#define CVM_AWS_IOT_PLATFORM_H

#include "aws/job.h"
#include "operations.h"

#define IOT_ARN_SIZE 256

struct platform {
    struct aws_backend aws;
    const char *policy;
    int32_t is_exclusive;          /* a certificate hangs on one thing */
    char arn_before[IOT_ARN_SIZE]; /* of a certificate, before its id; "" until an answer had one */
    struct iot_quotas quotas;
    char endpoint[IOT_ARN_SIZE]; /* "" until it was asked for */
    /* Until then a list may lack a certificate that was made, by the monotonic clock. */
    uint64_t lists_lag_until_ms;
};

/* One step on its way. */
struct step {
    struct aws_job aws;
    struct platform *platform;
    const cvm_record_t *device, *certificate; /* the host's, until it completes */
    char certificate_id[65], thing[129], uid[129];
    struct cvm_buffer path, query, header;
    void (*clear)(struct step *step); /* frees what a longer struct holds; may be NULL */
    void (*then)(struct step *step);
    /* Errors that are answers, ended by NULL; NULL: none. */
    const char *const *answers;
    cJSON *things; /* a list that the step works through: names, ARNs, ids */
    enum iot_operation lists;
    const char *listed_as; /* the list's name in the answer */
    uint32_t pages;
    void (*after_arn)(struct step *step);
    void (*after_list)(struct step *step);
};

/* A step, or an undo; without memory op completes, and NULL is returned. */
struct step *cvm_iot_step(struct platform *platform, cvm_op_t *op, enum aws_verb verb,
    const cvm_record_t *device, const cvm_record_t *certificate);
/* The same, for a longer struct that begins with a step. */
struct step *cvm_iot_step_of_size(struct platform *platform, cvm_op_t *op, enum aws_verb verb,
    const cvm_record_t *device, const cvm_record_t *certificate, size_t size);
/* Sets the path: parts are encoded and joined by slashes. */
void cvm_iot_path(struct step *step, const char *first, const char *second, const char *third);
/* Makes the call. query: encoded and sorted. */
void cvm_iot_call(struct step *step, enum iot_operation operation, const char *query,
    void (*then)(struct step *step));
/* Asks for a list, whose name in the answer that is, page by page; then(step) has all of it in
 * `things`, or the error that it takes. The path is set. */
void cvm_iot_list(
    struct step *step, enum iot_operation operation, const char *name, void (*then)(struct step *));
/* Takes the next text off `things`: the caller's, to be deleted. NULL: there is none any more. */
cJSON *cvm_iot_next(struct step *step);
/* 1 if the last call was refused for that. */
int32_t cvm_iot_refused(const struct step *step, const char *error);
void cvm_iot_end(struct step *step, cvm_answer_t answer, const char *text);
/* A text of the answer; "". */
const char *cvm_iot_text(const cJSON *object, const char *name);

/* Has then(step) called once the certificate's ARN can be told; else the step ends. NOT_FOUND
 * without it. */
void cvm_iot_with_arn(struct step *step, void (*then)(struct step *step));
/* Adds the certificate's ARN to a text. */
void cvm_iot_print_arn(const struct step *step, struct cvm_buffer *to);
/* Learns what ARNs begin with. */
void cvm_iot_learn_arn(struct platform *platform, const char *arn);

/* certificates.c */
void cvm_iot_create_certificate(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);
void cvm_iot_activate(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);
void cvm_iot_deactivate(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);
void cvm_iot_revoke(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);
void cvm_iot_delete_certificate(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);
/* things.c */
void cvm_iot_attach_policy(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);
void cvm_iot_detach_policy(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);
void cvm_iot_create_thing(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);
void cvm_iot_attach_certificate(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);
void cvm_iot_detach_certificate(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);

/* find.c */
void cvm_iot_find_by_key(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);
/* device.c */
void cvm_iot_suspend(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);
void cvm_iot_find_certificates(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);

#endif
