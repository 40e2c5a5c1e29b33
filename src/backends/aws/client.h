/* Calls of one service of AWS's: signed, tried again while that is safe and there is time, and what
 * the answer means. On the loop. */
#ifndef CVM_AWS_CLIENT_H
#define CVM_AWS_CLIENT_H

#include <cjson/cJSON.h>

#include "credentials.h"
#include "http.h"
#include "pace.h"
#include "place.h"

/* What a call came to. */
enum aws_outcome {
    AWS_OK,      /* `answer` is what it answered; NULL if that has no body */
    AWS_ERROR,   /* the service refuses: `error` names why */
    AWS_UNSENT,  /* it fails for now, and nothing was done */
    AWS_UNKNOWN, /* it may have been done */
    AWS_BROKEN,  /* what was answered can't be understood; it may have been done */
};

struct aws_client {
    const cvm_host_t *host;
    cvm_context_t *context;
    struct aws_http *http;
    struct aws_credentials *credentials; /* another client's too, perhaps */
    struct aws_signer signer;
    struct aws_place place;
    const char *service;     /* as requests are signed for */
    int64_t clock_offset_ms; /* how far AWS's clock is ahead of ours */
    /* AWS's clock is ahead of our monotonic one by something between these, as the Dates of its
     * answers say, which are whole seconds; both 0: nothing is known. */
    int64_t ahead_least_ms, ahead_most_ms;
    int32_t retry_tokens; /* what tries may still cost that are not first ones */
    struct aws_call *running;
};

/* One call. Its caller's memory, until it is done or cancelled. */
struct aws_call {
    struct aws_call *next, **link;
    struct aws_client *client;
    const char *method, *path, *query; /* encoded; the query sorted, "" without one */
    const char *target;                /* x-amz-target; NULL without */
    const char *header;                /* a further line, whose name is in lower case; NULL */
    int32_t takes_empty;               /* an answer without a body is one */
    const char *content_type;
    struct cvm_buffer body;
    uint64_t until_ms;     /* by the monotonic clock: it has ended by then */
    int32_t is_unsafe;     /* must not be sent twice */
    struct aws_pace *pace; /* each try waits for its slot; NULL */
    void (*done)(struct aws_call *call);
    /* What it came to: */
    enum aws_outcome outcome;
    cJSON *answer;
    int32_t status;
    char error[64]; /* such as "ResourceNotFoundException" */
    char text[240]; /* one line for people */
    uint32_t retry_after_s;
    /* The way: */
    struct aws_waiter waiter;
    struct aws_exchange *exchange;
    cvm_timer_t *timer;
    uint32_t tries;
    uint64_t sent_ms;     /* the last one was, by the monotonic clock */
    int32_t in_doubt;     /* one that was sent got no answer */
    uint32_t keys_number; /* of the keys that it was signed with */
    int32_t is_corrected; /* the clock was, or the keys were looked for anew */
};

/* Finds the service ("dynamodb", "iot"). host and context stay. 0, or -1 and why, with nothing left
 * behind. */
int32_t cvm_aws_client_init(struct aws_client *client, const cvm_host_t *host,
    cvm_context_t *context, const char *service, const char *signed_for, char *error,
    size_t error_size);
/* Before the first call, on the loop. 0, or -1 without memory. */
int32_t cvm_aws_client_open(struct aws_client *client);
/* No call runs any more: those that do are cancelled, and nobody is told. Before `close` completes.
 */
void cvm_aws_client_close(struct aws_client *client);

/* Begins; done is called once, perhaps at once. The caller has set what is above, and does nothing
 * after it. */
void cvm_aws_call(struct aws_call *call);
/* Ends it; done is not called. One that does not run is fine. */
void cvm_aws_call_cancel(struct aws_call *call);
/* Frees what it has come to and its body: it can be begun anew. */
void cvm_aws_call_clear(struct aws_call *call);

/* AWS's clock: milliseconds since 1970; 0 if no answer has told it yet. */
int64_t cvm_aws_now_ms(const struct aws_client *client);
/* Milliseconds to wait before try number `tries`, at random (full jitter). */
int64_t cvm_aws_backoff_ms(uint32_t tries);
/* 1 if the error says that the service has too much to do. */
int32_t cvm_aws_is_throttling(const char *error);

#endif
