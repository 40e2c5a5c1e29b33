/* The search for a certificate by its key: AWS has no index for it. On the loop. */
#ifndef CVM_AWS_IOT_FIND_H
#define CVM_AWS_IOT_FIND_H

#include "base/hex.h"
#include "platform.h"

#define IOT_MARKER_SIZE 2049 /* AWS's longest has 1024 */

/* Goes through the account's certificates, the newest first, and looks at those that were made in
 * that time and are INACTIVE, as far as one operation may. */
struct find {
    struct step step;
    char key[CVM_SHA256_HEX_SIZE]; /* SHA-256 of the SubjectPublicKeyInfo */
    int64_t since_ms, until_ms;    /* 0: until now */
    /* How far it has come: the page's marker, "" for the first, and the last one of it that was
     * looked at. */
    char marker[IOT_MARKER_SIZE], after[CVM_SHA256_HEX_SIZE];
    char next[IOT_MARKER_SIZE];
    uint32_t pages, looks;
    uint64_t begun_ms;  /* by the monotonic clock */
    int32_t is_awaited; /* a registration waits for it */
    int32_t is_doubted; /* it began when a certificate may just have been made */
    cJSON *page;
    void (*found)(struct find *find, const cJSON *description);
    void (*ended)(struct find *find);   /* there is none, or no other one */
    void (*stopped)(struct find *find); /* it may go on from marker and after */
    void (*noted)(struct step *step);
};

/* The search that the step begins. */
struct find *cvm_iot_find_of(struct step *step);
/* As cvm_iot_step_of_size(). */
struct find *cvm_iot_find_step(struct platform *platform, cvm_op_t *op, enum aws_verb verb,
    const cvm_record_t *device, const cvm_record_t *certificate, size_t size);
/* Begins where marker and after say. */
void cvm_iot_find_begin(struct find *find);
/* Goes on behind one that was found. */
void cvm_iot_find_on(struct find *find);

/* lost.c: has the search go on another time; then(step) once that is noted. */
void cvm_iot_note_lost(struct find *find, void (*then)(struct step *step));

#endif
