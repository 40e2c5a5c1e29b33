/* ca/crl.pem: the CRLs of all issuing CAs and of the root, for brokers on this machine. */
#ifndef CVM_LOCAL_CRL_FILE_H
#define CVM_LOCAL_CRL_FILE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "crl.h"

/* As it was found. */
struct crl_file {
    struct crl *crls[MOST_ISSUERS];   /* of each issuer; NULL: it has none that can be used */
    int32_t is_whole;                 /* nothing but CRLs is in it, the root's among them */
    char sha256[CVM_SHA256_HEX_SIZE]; /* of the file; "" if it can't be read */
};

/* Blocks. A file that is missing or broken is one without CRLs. */
void cvm_crl_file_read(const struct ca *ca, const struct ca_issuers *issuers, const char *folder,
    struct crl_file *file);
void cvm_crl_file_clear(struct crl_file *file);
/* The file's text and its SHA-256; freed by the caller. NULL, and "", if it can't be read. */
char *cvm_crl_file_load(const char *folder, size_t *length, char sha256[CVM_SHA256_HEX_SIZE]);
#define LARGEST_CRL_FILE ((size_t)1 << 30) /* ten million entries have 660 MB */

/* Writes the file, once what was made is parsed and verified again, by a temporary file; blocks. Of
 * crls[i], the one of issuer i, NULL is left out. written: as it is then, the caller's. 0, or -1
 * and why. */
int32_t cvm_crl_file_write(const struct ca *ca, const struct ca_issuers *issuers,
    const char *folder, struct crl *const *crls, struct crl_file *written, char *error,
    size_t error_size);

/* One writer at a time, whatever process it is in. Waits for the lock, for 30 s at most; blocks. A
 * descriptor, or -1 and why. */
int cvm_crl_file_lock(const char *folder, atomic_int *must_end, char *error, size_t error_size);
/* -1 is fine. */
void cvm_crl_file_unlock(int lock);

/* Whether ca.crl_command has succeeded with a file of that SHA-256, by whichever process. */
int32_t cvm_crl_file_is_handed_over(const char *folder, const char *sha256);
#define NOT_HANDED_OVER "0000000000000000000000000000000000000000000000000000000000000000"
void cvm_crl_file_set_handed_over(const char *folder, const char *sha256);

#endif
