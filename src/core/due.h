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
    int32_t leads_to_next; /* what it leaves is due too, as the next kind */
    /* Is it due by then? */
    int32_t (*is_due)(const cvm_record_t *record, int64_t before_ms);
    void (*run)(struct due *due);
    void (*report)(const struct due *due);
};

/* In the order of a pass. */
enum { DUE_LEASE, DUE_RETIREMENT, DUE_SUSPENSION, DUE_KIND_COUNT };
extern const struct cvm_due_kind CVM_DUE_KINDS[DUE_KIND_COUNT];

/* The name of what a record is about: a certificate's id or a device's uid. */
const char *cvm_due_name(const struct cvm_due_kind *kind, const cvm_record_t *record);

/* Called once when it is carried out, or not: error says why, and is borrowed like what it is
 * about. May be called before cvm_due_carry_out() returns. */
typedef void (*cvm_due_done)(void *argument, const char *name, const cvm_error_t *error);

/* Carries out what a record says; takes the record. */
void cvm_due_carry_out(cvm_t *cvm, const struct cvm_due_kind *kind, cvm_record_t *record,
    cvm_due_done done, void *argument);

/* Suspensions of one device run one after the other, or the last to reach the platform could be one
 * that was overtaken. 1 if one runs. */
int32_t cvm_due_is_running(cvm_t *cvm, const struct cvm_due_kind *kind, const char *name);
/* The same; and then function(argument) is called when it has ended. */
int32_t cvm_due_wait(cvm_t *cvm, const struct cvm_due_kind *kind, const char *name,
    void (*function)(void *argument), void *argument);

/* device_due.c: carries out what is due of one device, from its own records and not by a scan. The
 * callback may run before this returns. */
void cvm_due_device(cvm_t *cvm, const char *uid, cvm_done_cb callback, void *user_data);

#endif
