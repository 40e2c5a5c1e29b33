/* What a platform has published for everybody who asks: CRLs and certificates, under a path. Held
 * in memory, and handed out by transports. */
#ifndef CVM_CORE_DOCUMENTS_H
#define CVM_CORE_DOCUMENTS_H

#include <stddef.h>
#include <stdint.h>

#include "cvm/cvm.h"

struct cvm_documents;

/* One that is read: it does not change, and lives until it is let go. */
struct cvm_document {
    const char *media_type;
    const void *bytes;
    size_t length;
};

/* NULL without memory. */
struct cvm_documents *cvm_documents_new(void);
void cvm_documents_free(struct cvm_documents *documents);

/* Any thread. In the place of the one at that path; bytes, which are copied, NULL: no more of it.
 * 0, or -1: no memory, or too many. */
int32_t cvm_documents_put(struct cvm_documents *documents, const char *path, const char *media_type,
    const void *bytes, size_t length);
/* Any thread. NULL if there is none at that path. */
const struct cvm_document *cvm_documents_get(struct cvm_documents *documents, const char *path);
/* Any thread. NULL is fine. */
void cvm_documents_let_go(struct cvm_documents *documents, const struct cvm_document *document);

/* The instance's, for transports. */
struct cvm_documents *cvm_documents_of(cvm_t *cvm);

#endif
