/* Whom AWS's endpoints are trusted by: nobody else's, not the system's bundle, which takes 25 ms to
 * read. */
#ifndef CVM_AWS_ROOTS_H
#define CVM_AWS_ROOTS_H

/* Five certificates, PEM; then NULL. */
extern const char *const CVM_AWS_ROOTS[];

#endif
