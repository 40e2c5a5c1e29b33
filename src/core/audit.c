/* Audit lines. They have a file of their own, that no level turns down. */
#include "audit.h"

#include "instance.h"

void cvm_audit(cvm_t *cvm, const char *event, const char *uid, const char *request_id,
    const char *peer, const char *certificate_id, const char *detail)
{
    const struct cvm_log_field fields[] = {{"uid", uid}, {"request_id", request_id}, {"peer", peer},
        {"certificate_id", certificate_id}, {"detail", detail}};
    cvm_log_write(cvm->audit, LOG_INFO, event, fields, sizeof fields / sizeof fields[0]);
}
