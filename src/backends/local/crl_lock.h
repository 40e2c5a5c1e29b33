/* ca/.crl.lock: one writer of crl.pem at a time, whatever process it is in; and a count of the CRLs
 * that were begun and done, so that who waits for his turn sees whether another one's CRL already
 * tells what he wants to be told. */
#ifndef CVM_LOCAL_CRL_LOCK_H
#define CVM_LOCAL_CRL_LOCK_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct crl_lock {
    int fd;          /* -1: not held */
    uint64_t ticket; /* how many CRLs were begun when the wait began */
};

/* Waits for the lock, for 30 s at most; blocks. 0, or -1 and why. */
int32_t cvm_crl_lock_take(struct crl_lock *lock, const char *folder, atomic_int *must_end,
    char *error, size_t error_size);
/* 1 if a CRL is on disk that was begun after cvm_crl_lock_take() was called: it tells of all that
 * was durable by then. */
int32_t cvm_crl_lock_is_served(const struct crl_lock *lock);
/* Right before the store is scanned. */
void cvm_crl_lock_begin(const struct crl_lock *lock);
/* Once the CRL is on disk. */
void cvm_crl_lock_done(const struct crl_lock *lock);
void cvm_crl_lock_let_go(struct crl_lock *lock);

#endif
