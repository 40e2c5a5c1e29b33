/* A look into a store by who is no instance: enters as every user does, and takes the schema as it
 * is.
 */
#ifndef CVM_FILE_VISIT_H
#define CVM_FILE_VISIT_H

#include "anchor.h"
#include "db.h"
#include "lock.h"

struct visit {
    char *path; /* resolved */
    struct lock lock;
    struct anchor *anchor;
    int is_anchored;
    struct db db;
};

enum visit_mode { VISIT_LOCKED /* without opening the database */, VISIT_READ, VISIT_WRITE };

/* Enters. OK, or why not; cvm_visit_end() in any case. */
cvm_answer_t cvm_visit(
    struct visit *visit, const char *path, enum visit_mode mode, char *error, size_t error_size);
void cvm_visit_end(struct visit *visit);

#endif
