/* Requests over HTTP/1.1, by libcurl on the host's watches and timers. It knows nothing of AWS:
 * signing, retries and what an answer means are client.c's. On the loop. */
#ifndef CVM_AWS_HTTP_H
#define CVM_AWS_HTTP_H

#include "base/buffer.h"
#include "cvm/plugin.h"

struct aws_http;
struct aws_exchange;

struct aws_http_options {
    const char *root_ca; /* path of a PEM file; "": Amazon's roots, which are compiled in */
    const char *proxy;   /* URL; "": none, whatever the environment says */
};

struct aws_http_request {
    const char *method, *url;
    /* Lines "name: value", copied. */
    const char *const *headers;
    uint32_t header_count;
    const char *body; /* stays until it is done; NULL without one */
    size_t length;
    int32_t copies_body; /* it need not stay */
    int64_t timeout_ms;
    size_t largest;    /* bytes of an answer that is taken; 0: as a service's may be */
    int32_t is_plain;  /* http: may be the URL's scheme */
    int32_t is_direct; /* by no proxy: what it asks is this machine's own */
    /* On a connection of its own: on one that was kept libcurl sends a request again by itself if
     * that closes without an answer, and says nothing (evidence: docs/decisions/aws-over-http.md).
     */
    int32_t is_fresh;
};

/* What it came to; valid inside the callback. */
struct aws_http_response {
    const char *failure; /* why there is no answer; NULL: there is one */
    int32_t is_unsent;   /* there is none, and nothing was sent */
    uint32_t sends;      /* how often it was */
    int32_t status;
    char *body; /* ended by NUL; the callback may change it */
    size_t length;
    char error_type[96], request_id[64]; /* headers; "" without */
    int64_t date_ms;                     /* the header, milliseconds since 1970; 0 without */
    uint32_t retry_after_s;
};

typedef void (*aws_http_done)(void *argument, const struct aws_http_response *response);

/* NULL without memory. */
struct aws_http *cvm_aws_http_new(
    const cvm_host_t *host, cvm_context_t *context, const struct aws_http_options *options);
/* Cuts everything short; nobody is told. Before `close` completes. NULL is fine. */
void cvm_aws_http_free(struct aws_http *http);
/* Begins; done is called once, later. NULL without memory. */
struct aws_exchange *cvm_aws_http_send(struct aws_http *http,
    const struct aws_http_request *request, aws_http_done done, void *argument);
/* Ends it; done is not called. */
void cvm_aws_http_cancel(struct aws_exchange *exchange);

#endif
