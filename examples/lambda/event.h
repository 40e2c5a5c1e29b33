/* What an event is: who sent it by which way, and the form that its answer has. */
#ifndef CVM_LAMBDA_EVENT_H
#define CVM_LAMBDA_EVENT_H

#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

enum event_kind {
    EVENT_DIRECT, /* the event is the payload, and the answer's body is the answer */
    EVENT_REST,   /* API Gateway, REST API with proxy integration */
    EVENT_HTTP,   /* API Gateway, HTTP API, and a function's URL: payload format 2.0 */
    EVENT_ALB,    /* a load balancer's target */
};

struct event {
    cJSON *tree; /* NULL if it is no JSON */
    enum event_kind kind;
    int32_t has_multiple;            /* ALB: headers have lists of values */
    const char *method;              /* NULL: there is none */
    const char *media_type, *accept; /* NULL: none */
    char peer[64];                   /* "" : not known */
    char *payload;                   /* the registration; NULL: it can't be had */
    size_t length;
};

/* What a device is answered over HTTP. */
struct answer {
    int32_t status;
    uint32_t retry_after_s;
    const char *media_type, *allow; /* allow: NULL, or the methods that would do */
    const char *body;
};

/* Reads it; text is ended by NUL. is_direct: the event is the payload, whatever it looks like.
 * Always to be cleared. */
void event_read(struct event *event, const char *text, size_t length, int32_t is_direct);
void event_clear(struct event *event);
/* 1 for {"cvm": "reconcile"}, a schedule's. is_full: with "full": true, all devices are gone
 * through. */
int32_t event_is_pass(const struct event *event, int32_t *is_full);
/* The answer in the event's form: freed by cJSON_free(), may hold a private key. NULL without
 * memory. */
char *event_answer(const struct event *event, const struct answer *answer);

#endif
