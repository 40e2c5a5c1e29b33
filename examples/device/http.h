/* One HTTPS request to the registration server. */
#ifndef CVM_DEVICE_HTTP_H
#define CVM_DEVICE_HTTP_H

#include "pem.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <time.h>

enum { HTTP_BODY_MAX = 65536 };

struct http_request {
    const char *url;
    const char *body;     /* JSON */
    const cert_stack *ca; /* the only ones trusted */
    time_t now;
    long timeout_s;
    int stop_fd;
};

struct http_answer {
    CURLcode result;
    char error[CURL_ERROR_SIZE];
    bool too_large;
    long status;
    long retry_after_s; /* 0: not said */
    size_t length;
    char body[HTTP_BODY_MAX + 1]; /* ends with NUL; may hold a private key: cleanse it */
};

/* POSTs and waits for the whole answer. What went wrong stands in answer->result. */
void http_post(const struct http_request *request, struct http_answer *answer);

#endif
