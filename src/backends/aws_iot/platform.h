/* The AWS IoT platform inside: each step is a job of one call, or of a few where AWS has no single
 * one. On the loop. */
#ifndef CVM_AWS_IOT_PLATFORM_H
#define CVM_AWS_IOT_PLATFORM_H

#include "aws/job.h"
#include "endpoint.h"
#include "operations.h"

#define IOT_ARN_SIZE 256
/* Errors that are answers. */
#define MISSING "ResourceNotFoundException"
#define STATE   "CertificateStateException"
#define INVALID "InvalidRequestException"
#define EXISTS  "ResourceAlreadyExistsException"
/* What `answers` mostly is: what is asked about is not there; and: or it is revoked, for good. */
extern const char *const CVM_IOT_MISSING[];
extern const char *const CVM_IOT_MISSING_OR_FINAL[];
/* A registration does not wait longer for the turn of a call that it could do without, or of one
 * that comes later. */
#define QUEUE_MS 1000

struct ca;

struct platform {
    struct aws_backend aws;
    const char *policy;
    int32_t is_exclusive;          /* a certificate hangs on one thing */
    int32_t adopts;                /* strangers' things of a device's name */
    char arn_before[IOT_ARN_SIZE]; /* of a certificate, before its id; "" until an answer had one */
    struct iot_quotas quotas;
    struct iot_endpoint endpoint;
    struct ca *ca; /* who signs certificates; NULL: AWS does */
    /* Until then a list may lack a certificate that was made, by the monotonic clock. */
    uint64_t lists_lag_until_ms;
};

/* What the store answered to a step, which has not ended meanwhile. */
typedef void (*iot_told)(struct step *step, const cvm_op_t *op, cvm_answer_t answer);

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
    int32_t takes_all; /* whatever a call comes to is an answer */
    cJSON *things;     /* a list that the step works through: names, ARNs, ids */
    enum iot_operation lists;
    const char *listed_as; /* the list's name in the answer */
    uint32_t pages;
    void (*after_arn)(struct step *step);
    void (*deleted)(struct step *step);
    void (*registered)(struct step *step);
    void (*after_list)(struct step *step);
    iot_told told;
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
/* Asks the store. The step ends without memory. */
void cvm_iot_find_owner(struct step *step, const char *certificate_id, iot_told told);
void cvm_iot_get_rows(struct step *step, const char *device_uid, iot_told told);
void cvm_iot_scan_values(struct step *step, const char *cursor, iot_told told);
void cvm_iot_get_value(struct step *step, const char *name, iot_told told);
/* value NULL: removes it. */
void cvm_iot_put_value(
    struct step *step, const char *name, int64_t version, const char *value, iot_told told);
/* Takes the next text off `things`: the caller's, to be deleted. NULL: there is none any more. */
cJSON *cvm_iot_next(struct step *step);
/* 1 if the last call was refused for that. */
int32_t cvm_iot_refused(const struct step *step, const char *error);
void cvm_iot_end(struct step *step, cvm_answer_t answer, const char *text);
/* A time in milliseconds; 0 if there is none. */
int64_t cvm_iot_time(const cJSON *object, const char *name);
/* A text of the answer; "". */
const char *cvm_iot_text(const cJSON *object, const char *name);

/* Has then(step) called once the certificate's ARN can be told; else the step ends. NOT_FOUND
 * without it. */
void cvm_iot_with_arn(struct step *step, void (*then)(struct step *step));
/* Sets the header that names a principal by its ARN; NULL: the certificate's. */
void cvm_iot_principal(struct step *step, const char *arn);
/* Adds the certificate's ARN to a text. */
void cvm_iot_print_arn(const struct step *step, struct cvm_buffer *to);
/* Learns what ARNs begin with. */
void cvm_iot_learn_arn(struct platform *platform, const char *arn);

/* Answers the certificate that AWS describes, in that state. 0, or -1: the step has ended. */
int32_t cvm_iot_answer_certificate(struct step *step, const cJSON *description, const char *state);

/* certificates.c */
/* Deletes the step's certificate, whatever hangs on it; deleted(step) is called if that worked,
 * else the step ends. */
void cvm_iot_delete(struct step *step, void (*deleted)(struct step *step));
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

/* find.c, lost.c */
void cvm_iot_find_by_key(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);
void cvm_iot_find_lost(void *platform, cvm_op_t *op);
/* device.c */
void cvm_iot_suspend(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);
void cvm_iot_find_certificates(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate);

#endif
