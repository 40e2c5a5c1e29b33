/* The registration token: proof that the device is who it says it is. */
#ifndef CVM_DEVICE_TOKEN_H
#define CVM_DEVICE_TOKEN_H

#include <stdbool.h>

enum { TOKEN_SIZE = 257 };

struct token_source {
    const char *token_file; /* holds the token itself; or NULL, and then: */
    const char *salt_file;  /* the secret that the token is computed from */
    const char *uid;
    const char *second_uid; /* NULL if the token is made from one id */
    bool hmac;
};

/* Gets the token. 0 or an exit status, reported. The caller cleanses `token`. */
int token_get(const struct token_source *source, char token[TOKEN_SIZE]);

#endif
