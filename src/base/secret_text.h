/* Secrets that users hand in, in files and in the environment: one form of them is taken. */
#ifndef CVM_BASE_SECRET_TEXT_H
#define CVM_BASE_SECRET_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Checks a secret of *length bytes, behind which there is room for one more; one line end of any
 * form at its end is cut off, and a NUL put there. 0, or -1 and what is wrong with it, such as "is
 * empty": never what the secret is. */
int32_t cvm_secret_check(char *bytes, size_t *length, char *why, size_t why_size);

enum cvm_secret_reading { SECRET_IS_READ, SECRET_CANT_BE_READ, SECRET_IS_WRONG };
/* Reads one to the file's end. secret is freed by cvm_secret_free(). why: as above, or the system's
 * reason. */
enum cvm_secret_reading cvm_secret_read(
    FILE *file, char **secret, size_t *length, char *why, size_t why_size);

#endif
