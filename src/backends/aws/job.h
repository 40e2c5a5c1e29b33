/* Operations of a backend that speaks with AWS: each is a job, which makes a few calls, one after
 * the other; and the backend's life around them. On the loop. */
#ifndef CVM_AWS_JOB_H
#define CVM_AWS_JOB_H

#include "client.h"

#define AWS_TEXT_SIZE      300
#define AWS_CLOSE_GRACE_MS 3000

struct aws_job;

/* What a store or a platform begins with. */
struct aws_backend {
    const cvm_host_t *host;
    cvm_context_t *context;
    struct aws_client client;
    int64_t timeout_ms; /* of a job */
    struct aws_job *running;
    cvm_op_t *closing;
    cvm_timer_t *end; /* made when it opens: of what runs when it closes, or of the close itself */
    int32_t is_cutting, is_cut; /* what runs is being cut short; and was */
};

/* What a verb is: by that plugin.h has what it may answer. */
enum aws_verb {
    VERB_READS,
    VERB_WRITES,
    VERB_STEPS, /* a platform's: as one that writes, and never BUSY */
    VERB_ASKS,  /* about the backend itself: OK, or UNAVAILABLE; who opens it also INVALID */
};

/* One operation on its way. Each verb has a struct of its own, which begins with one. */
struct aws_job {
    struct aws_job *next, **link;
    struct aws_backend *backend;
    cvm_op_t *op; /* NULL: it is a part of another job, which is told instead */
    void (*ended)(void *argument, cvm_answer_t answer, const char *text);
    void *argument;
    void (*clear)(struct aws_job *job); /* frees what the verb's own struct holds; may be NULL */
    enum aws_verb verb;
    uint64_t until_ms;
    struct aws_call call;
    int32_t is_write; /* the call changes something */
    int32_t in_doubt; /* one that was sent may have been carried out */
    void (*then)(struct aws_job *job);
    /* 1 if `then` sees the call's error; NULL: none is seen. */
    int32_t (*takes)(const struct aws_job *job);
    /* What an error says of the call, however often it was sent: -1 that it was not carried out, 1
     * that it may have been, 0 nothing. NULL: nothing ever. */
    int32_t (*doubt)(const struct aws_job *job);
    cvm_timer_t *timer;
    int32_t is_asking; /* the host, which will answer whatever happens meanwhile */
};

/* --- The backend ------------------------------------------------------------------------------ */

/* Before the first job. 0, or -1 without memory. */
int32_t cvm_aws_backend_open(struct aws_backend *backend);
/* Completes op when all jobs have ended, or were cut short. */
void cvm_aws_backend_close(struct aws_backend *backend, cvm_op_t *op);

/* --- Jobs ------------------------------------------------------------------------------------- */

/* A job of size bytes, in zeroes behind what is the job's own. Without memory, or when the backend
 * closes, op (if it has one) completes, and NULL is returned. */
void *cvm_aws_job(struct aws_backend *backend, cvm_op_t *op, size_t size, enum aws_verb verb,
    void (*clear)(struct aws_job *job));
/* The body of its next call, empty. */
struct cvm_buffer *cvm_aws_job_body(struct aws_job *job);
/* Makes the call, whose method, path, query, content_type and target are set; then(job) has its
 * answer. Other outcomes end the job. */
void cvm_aws_job_call(struct aws_job *job, int32_t is_write, void (*then)(struct aws_job *job));
/* Milliseconds until it ends; 0 at least. */
int64_t cvm_aws_job_left_ms(const struct aws_job *job);
/* Has then(job) called after a while. 0, or -1 if there is no time left for that: then nothing
 * happens. */
int32_t cvm_aws_job_wait(struct aws_job *job, int64_t ms, void (*then)(struct aws_job *job));
/* Before something is asked of the host (the store, say): the job stays until it is answered, also
 * when all others are cut short. */
void cvm_aws_job_asks(struct aws_job *job);
/* First of all in that answer. 0; or -1 if the job has ended by that, since the backend closes. */
int32_t cvm_aws_job_told(struct aws_job *job);
/* Completes its operation, and frees it. Where a write is in doubt, UNKNOWN takes the place of what
 * says that nothing was done. */
void cvm_aws_job_end(struct aws_job *job, cvm_answer_t answer, const char *text);
/* Ends it for what the last call came to. */
void cvm_aws_job_fail(struct aws_job *job);
void cvm_aws_job_out_of_memory(struct aws_job *job);

#endif
