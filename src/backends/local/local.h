/* The local platform: a CA in a folder. For builtin.c, and for what only the command does. */
#ifndef CVM_LOCAL_LOCAL_H
#define CVM_LOCAL_LOCAL_H

#include <stdio.h>

#include "base/listed.h"
#include "cvm/plugin.h"

/* Makes the platform known as "local". */
int32_t cvm_plugin_local(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);

/* Makes a root and an issuing CA: DIR/root.pem, issuing.pem, chain.pem, crl.pem, root.crl.pem,
 * issuing.key, and the root's key at root_key (encrypted if passphrase is not NULL). crl_url: where
 * the root's CRL will be, or NULL. DIR must exist. 0, or -1 and why. */
int32_t cvm_local_init(const char *folder, const char *root_key, const char *passphrase,
    const char *crl_url, char *error, size_t error_size);

/* What `cvm ca rotate` does. */
struct cvm_local_rotation {
    const char *root_key, *passphrase; /* a path; NULL: it is not encrypted */
    /* Received: */
    char key_id[41], before[41]; /* of the next issuing CA, and of who signs until then; "": nobody,
                                    the next one does already */
    char certificate[4096];      /* the next one's, a path */
};

/* Makes the next issuing CA beside the one that signs, or finds the one of a rotation that did not
 * end. 0, or -1 and why. */
int32_t cvm_local_rotate_begin(
    const char *folder, struct cvm_local_rotation *rotation, char *error, size_t error_size);
/* From now on it signs; the one before stays beside it. 0, or -1 and why. */
int32_t cvm_local_rotate_end(
    const char *folder, const struct cvm_local_rotation *rotation, char *error, size_t error_size);

/* Prints the CA's certificates and its CRL. 0, or -1 and why. */
int32_t cvm_local_show(const char *folder, int32_t json, FILE *out, char *error, size_t error_size);
/* The number of the CRL in the folder's crl.pem; 0 if it is missing or broken. */
int64_t cvm_local_crl_number(const char *folder);

/* 1 if it is an http: or https: URL of at most that many bytes, without blanks. */
int32_t cvm_local_is_url(const char *url, size_t most);

/* The path of a file of the instance whose CA's folder that is: "mosquitto/server.pem". */
void cvm_local_path(const char *ca_folder, const char *name, char *path, size_t size);

/* What a server certificate is for: DNS names or addresses. */
struct cvm_local_server {
    const char *const *names;
    uint32_t name_count;
    const char *certificate, *key; /* paths */
    int64_t group;                 /* who may read the key beside its owner, or -1 */
};

/* 1 if a certificate can be made for it: a DNS name or an address. */
int32_t cvm_local_is_server_name(const char *name);
/* Makes a server's key (unless the file is there) and its certificate with chain, signed by the
 * issuing CA in folder. 0, or -1 and why. */
int32_t cvm_local_server(
    const char *folder, const struct cvm_local_server *server, char *error, size_t error_size);
/* 1 if cvm_local_renew_server() would renew that certificate without being told to. */
int32_t cvm_local_server_is_due(const char *folder, const char *certificate);
/* Renews a server certificate of this CA, for the same names and key: now, or if it is not valid or
 * has less than a third of its time left. 1 if it did, 0 if there was nothing to do (also for a
 * foreign one), -1 and why. */
int32_t cvm_local_renew_server(const char *folder, const char *certificate, const char *key,
    int32_t now, char *error, size_t error_size);

/* Tells each certificate that crl.pem lists; none if there is no such file. 0, or -1 and why. */
int32_t cvm_local_crl_listed(const char *folder,
    int32_t (*listed)(void *argument, const struct cvm_listed *entry), void *argument, char *error,
    size_t error_size);

#endif
