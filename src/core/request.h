/* A request as a transport or a caller fills it in. */
#ifndef CVM_CORE_REQUEST_H
#define CVM_CORE_REQUEST_H

#include "cvm/cvm.h"

#define CVM_REQUEST_ID_SIZE 41

/* How the device proves who it is: the transport says so, never a payload. */
enum cvm_proof { PROOF_TOKEN, PROOF_COUNT };

enum cvm_request_field { REQUEST_UID, REQUEST_TOKEN, REQUEST_CSR, REQUEST_FIELD_COUNT };
/* As JSON and errors call them. */
extern const char *const CVM_REQUEST_FIELD_NAMES[REQUEST_FIELD_COUNT];

/* CA certificates that the device has and need not be sent: the first bytes of the SHA-256 of their
 * DER. */
#define CVM_HAVE_SIZE 8
#define CVM_MOST_HAVE 8
struct cvm_have {
    uint8_t ids[CVM_MOST_HAVE][CVM_HAVE_SIZE];
    uint32_t count;
};

struct cvm_request_s {
    char *uid, *token;
    char *csr; /* PEM or DER, and a NUL behind it */
    size_t csr_length;
    enum cvm_proof proof;
    struct cvm_have have;
    char accept[128];
    char peer[64], transport[16], id[CVM_REQUEST_ID_SIZE];
    uint32_t deadline_ms;
};

/* A copy with an id, made if there is none. request may be NULL. NULL without memory. */
cvm_request_t *cvm_request_copy(const cvm_request_t *request);
/* Takes what a payload says: something, and of what is there already nothing else. NULL, or what is
 * wrong with it. */
cvm_error_t *cvm_request_take(
    cvm_request_t *request, enum cvm_request_field field, const void *bytes, size_t length);
/* The form of what is filled in, and of its proof. NULL, or what is wrong with it. */
cvm_error_t *cvm_request_check(const cvm_request_t *request);

#endif
