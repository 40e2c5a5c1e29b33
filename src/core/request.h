/* A request as a transport or a caller fills it in. */
#ifndef CVM_CORE_REQUEST_H
#define CVM_CORE_REQUEST_H

#include "cvm/cvm.h"

#define CVM_REQUEST_ID_SIZE 41

struct cvm_request_s {
    char *uid, *token, *csr;
    char peer[64], transport[16], id[CVM_REQUEST_ID_SIZE];
    uint32_t deadline_ms;
};

/* A copy with an id, made if there is none. request may be NULL. NULL without memory. */
cvm_request_t *cvm_request_copy(const cvm_request_t *request);
/* Fills uid, token and CSR from a JSON payload. NULL, or what is wrong with it. */
cvm_error_t *cvm_request_read(cvm_request_t *request, const char *bytes, size_t length);
/* The form of what is filled in. NULL, or what is wrong with it. */
cvm_error_t *cvm_request_check(const cvm_request_t *request);

#endif
