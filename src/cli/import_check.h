/* What makes a line's fields a row: the rules for uids, tokens and flags, and the token's hash. */
#ifndef CVM_CLI_IMPORT_CHECK_H
#define CVM_CLI_IMPORT_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "cvm/cvm.h"
#include "import_row.h"

struct evp_md_st;
struct evp_md_ctx_st;

struct import_check {
    const cvm_t *cvm;
    const char *secret; /* tokens are computed from it; NULL: they stand in the file */
    size_t secret_length;
    int32_t is_hmac, allows_weak_tokens;
    struct evp_md_st *sha256;
    struct evp_md_ctx_st *context;
    char complaint[200];
};

/* The fields up to allows_weak_tokens are the caller's. 0, or -1 without memory. */
int32_t import_check_begin(struct import_check *check);
void import_check_end(struct import_check *check);
/* Makes a row of a line's fields; its uid stays theirs. NULL, or what is wrong. */
const char *import_check_row(
    struct import_check *check, const struct import_fields *fields, struct import_row *row);

#endif
