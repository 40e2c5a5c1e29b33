/* Where a run connects to: the URL taken apart and resolved, and the TLS settings for it. */
#ifndef CVM_BENCH_TARGET_H
#define CVM_BENCH_TARGET_H

#include "options.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct target {
    char host[256];
    char port[6];
    const char *path; /* within the URL */
    struct sockaddr_storage address;
    socklen_t address_length;
    SSL_CTX *tls; /* NULL: plain HTTP */
    bool name_is_address;
    uint64_t tickets; /* session tickets that servers sent; none is ever used */
};

/* Says on stderr what is wrong; target_free also after a failure. */
bool target_init(struct target *target, const struct options *options);
void target_free(struct target *target);

/* A new client session without a socket, NULL out of memory. Never resumes another. */
SSL *target_new_tls(const struct target *target);

#endif
