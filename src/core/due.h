/* What the records say is due: certificates to retire, suspensions to put into effect, leases that
 * their owners left behind. */
#ifndef CVM_CORE_DUE_H
#define CVM_CORE_DUE_H

#include "cvm/cvm.h"
#include "cvm/plugin.h"

struct due;

struct cvm_due_kind {
    cvm_scan_t scan;    /* finds them */
    int32_t is_outside; /* only for a platform with effects outside the store */
    int32_t is_device;  /* else a certificate */
    int64_t grace_ms;
    void (*run)(struct due *due);
    void (*report)(const struct due *due);
};

#define CVM_DUE_KIND_COUNT 3
/* In the order of a pass. */
extern const struct cvm_due_kind CVM_DUE_KINDS[CVM_DUE_KIND_COUNT];

/* Called once when it is carried out, or not: error says why, and is borrowed like uid ("" if it is
 * not known). May be called before cvm_due_carry_out() returns. */
typedef void (*cvm_due_done)(void *argument, const char *uid, const cvm_error_t *error);

/* Carries out what a record that was scanned says; takes the record. */
void cvm_due_carry_out(cvm_t *cvm, const struct cvm_due_kind *kind, cvm_record_t *record,
    cvm_due_done done, void *argument);

#endif
