/* The Lambda runtime API: one event at a time. While the next one is waited for, the process may be
 * frozen. Sources: AWS Lambda's "Using the Lambda runtime API". */
#ifndef CVM_LAMBDA_RUNTIME_H
#define CVM_LAMBDA_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include <curl/curl.h>

struct runtime {
    CURL *easy;
    char url[300]; /* of the API, without what comes behind its version */
};

/* Text of any length. */
struct text {
    char *bytes; /* ended by NUL; NULL while there is none */
    size_t length, size;
};

struct invocation {
    struct text event;
    char id[128], trace_id[300];
    int64_t deadline_ms; /* since 1970 */
};

/* api: AWS_LAMBDA_RUNTIME_API's value, HOST:PORT. Before anybody else uses libcurl, whose memory is
 * wiped from then on. 0, or -1. */
int32_t runtime_init(struct runtime *runtime, const char *api);
void runtime_clear(struct runtime *runtime);
/* Waits for the next event. 0, or -1: there will be none. */
int32_t runtime_next(struct runtime *runtime, struct invocation *invocation);
void invocation_clear(struct invocation *invocation);
/* Answers the event, whose instance may be frozen from then on. 0, or -1. */
int32_t runtime_respond(
    struct runtime *runtime, const struct invocation *invocation, const char *body, size_t length);
/* Where no answer can be handed over. */
void runtime_failed(struct runtime *runtime, const struct invocation *invocation, const char *why);
/* Since 1970. */
int64_t runtime_now_ms(void);
/* Why there can be no instance. */
void runtime_init_failed(struct runtime *runtime, const char *why);

#endif
