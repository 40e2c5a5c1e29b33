/* The operator's verbs on one device: each reads the record, changes a copy and swaps it, again if
 * somebody else was faster. What a device and its certificates look like is in device_view.c. */
#include "device_view.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "base/at_exit.h"
#include "base/clock.h"
#include "call.h"
#include "due.h"
#include "entry.h"
#include "instance.h"
#include "record.h"
#include "registration/inherited.h"
#include "thing.h"
#include "token.h"

#define MOST_ATTEMPTS 8

struct verb;

/* What a verb does to the record. */
struct verb_kind {
    const char *event; /* in the audit */
    /* Changes verb->wanted (a copy of the record; a new one for put) and the certificates. NULL if
     * that is fine. */
    cvm_error_t *(*change)(struct verb *verb);
    int32_t must_exist, with_certificates, removes, reconciles;
    int32_t may_inherit; /* of what another system has registered, its certificates are needed */
};

struct verb {
    cvm_op_t op;
    cvm_t *cvm;
    const struct verb_kind *kind;
    uint32_t attempts;
    char uid[129], token_hash[CVM_TOKEN_HASH_SIZE], reason[25];
    int32_t is_enabled, force, is_unchanged;
    cvm_record_t *device, *wanted;
    cvm_record_t *certificates[CVM_MOST_CERTIFICATES];
    uint32_t inherited; /* of these, the last: another system made them, and the verb writes them
                           down */
    const cvm_record_t *changed[CVM_MOST_CERTIFICATES];
    uint32_t certificate_count, changed_count;
    cvm_change_t change;
    struct cvm_waiter waiter;
};

static void read_device(struct verb *verb);

/* --- Life ------------------------------------------------------------------------------------- */

static void forget_records(struct verb *verb)
{
    cvm_record_free(verb->device);
    cvm_record_free(verb->wanted);
    verb->device = verb->wanted = NULL;
    while (verb->certificate_count)
        cvm_record_free(verb->certificates[--verb->certificate_count]);
    verb->changed_count = verb->inherited = 0;
}

static void finish(struct verb *verb, cvm_error_t *error)
{
    CVM_CALL_OUT(verb->waiter.callback(verb->waiter.user_data, error));
    cvm_error_free(error);
    forget_records(verb);
    cvm_op_clear(&verb->op);
    free(verb);
}

static void reconciled(void *user_data, const cvm_error_t *error)
{
    cvm_error_t *copy = NULL;
    if (error)
        copy = cvm_error_new(REASON_not_carried_out,
            "recorded, but not carried out yet (a server tries again): %s", error->text);
    finish(user_data, copy);
}

/* The record says it; now let the platform do it. */
static void recorded(struct verb *verb)
{
    if (!verb->is_unchanged)
        cvm_audit(verb->cvm, verb->kind->event, verb->uid, NULL, NULL, NULL, verb->reason);
    if (!verb->kind->reconciles || verb->cvm->is_deferred) {
        finish(verb, NULL);
        return;
    }
    cvm_due_device(verb->cvm, verb->uid, reconciled, verb);
}

/* --- Read, change, swap ----------------------------------------------------------------------- */

static void swapped(cvm_op_t *op)
{
    struct verb *verb = CVM_CONTAINER(op, struct verb, op);
    if (op->answer == CVM_ANSWER_CONFLICT && ++verb->attempts < MOST_ATTEMPTS) {
        forget_records(verb);
        read_device(verb);
    } else if (op->answer != CVM_ANSWER_OK) {
        finish(verb, cvm_op_error(op));
    } else {
        recorded(verb);
    }
}

/* What was found by the thing becomes the device's, whatever else the verb changes. 0, or -1
 * without memory. */
static int32_t write_inherited(struct verb *verb)
{
    cvm_record_t *const *inherited = verb->certificates + verb->certificate_count - verb->inherited;
    if (!verb->inherited)
        return 0;
    verb->is_unchanged = 0;
    if (!verb->changed_count) /* else they are changed already */
        for (uint32_t i = 0; i < verb->inherited; i++)
            verb->changed[verb->changed_count++] = inherited[i];
    return *cvm_record_text(verb->wanted, CVM_D_CERTIFICATE_ID)
               ? 0
               : cvm_record_set_text(verb->wanted, CVM_D_CERTIFICATE_ID,
                     cvm_record_text(inherited[0], CVM_C_CERTIFICATE_ID));
}

static void change(struct verb *verb)
{
    verb->wanted = verb->device ? cvm_record_copy(verb->device) : cvm_record_new(CVM_RECORD_DEVICE);
    cvm_error_t *error = verb->wanted ? verb->kind->change(verb) : cvm_error_out_of_memory();
    if (!error && write_inherited(verb))
        error = cvm_error_out_of_memory();
    if (error) {
        finish(verb, error);
        return;
    }
    /* A row that was never written here may say the same in a form that others read differently. */
    int32_t is_others = verb->device && !cvm_record_number(verb->device, CVM_D_REVISION);
    if (verb->is_unchanged && !is_others) {
        recorded(verb);
        return;
    }
    verb->change = cvm_change_of(verb->device, verb->kind->removes ? NULL : verb->wanted,
        verb->changed, verb->changed_count);
    (verb->kind->removes ? cvm_store_remove : cvm_store_swap)(
        verb->cvm, &verb->op, &verb->change, swapped);
}

static void found_inherited(cvm_op_t *op)
{
    struct verb *verb = CVM_CONTAINER(op, struct verb, op);
    int32_t count = 0;
    if (op->answer != CVM_ANSWER_OK && op->answer != CVM_ANSWER_NOT_FOUND) {
        cvm_error_t *why = cvm_op_error(op);
        finish(verb, cvm_error_new(cvm_op_reason(op),
                         "%s was registered by another system, and it can't be told with which "
                         "certificates: %s",
                         verb->uid, cvm_error_text(why)));
        cvm_error_free(why);
        return;
    }
    if (op->answer == CVM_ANSWER_OK)
        count = cvm_inherit_take(op, verb->device, verb->certificates + verb->certificate_count,
            CVM_MOST_CERTIFICATES - verb->certificate_count);
    if (count < 0) {
        finish(verb, cvm_error_new(REASON_platform_error,
                         "what hangs on %s's thing can't be read, or is too much", verb->uid));
        return;
    }
    verb->inherited = (uint32_t)count;
    verb->certificate_count += verb->inherited;
    change(verb);
}

static void got_certificates(cvm_op_t *op)
{
    struct verb *verb = CVM_CONTAINER(op, struct verb, op);
    if (op->answer != CVM_ANSWER_OK) {
        finish(verb, cvm_op_error(op));
        return;
    }
    if (cvm_lacks_certificates(op)) {
        finish(verb, cvm_error_new(REASON_conflict,
                         "%s has more certificates to revoke than one change takes; let a server "
                         "carry out what is due, and try again",
                         verb->uid));
        return;
    }
    for (uint32_t i = 0; i < op->record_count && i < CVM_MOST_CERTIFICATES; i++)
        verb->certificates[verb->certificate_count++] = cvm_op_take(op, i);
    if (cvm_may_inherit(verb->cvm, verb->device, verb->certificate_count))
        cvm_inherit_ask(verb->cvm, op, verb->device, verb->certificates, verb->certificate_count,
            found_inherited);
    else
        change(verb);
}

static void got_device(cvm_op_t *op)
{
    struct verb *verb = CVM_CONTAINER(op, struct verb, op);
    int32_t exists = op->answer == CVM_ANSWER_OK;
    if (!exists && (op->answer != CVM_ANSWER_NOT_FOUND || verb->kind->must_exist)) {
        finish(verb, cvm_op_error(op));
        return;
    }
    verb->device = cvm_op_take(op, 0);
    if (exists && !verb->device) {
        finish(verb, cvm_error_new(REASON_store_unavailable, "the store answered no record"));
        return;
    }
    int32_t must_look = verb->kind->with_certificates ||
                        (verb->kind->may_inherit && cvm_may_inherit(verb->cvm, verb->device, 0));
    if (!must_look) {
        change(verb);
        return;
    }
    cvm_store_get_certificates(verb->cvm, op, verb->uid, CVM_MOST_CERTIFICATES, got_certificates);
}

static void read_device(struct verb *verb)
{
    cvm_store_get(verb->cvm, &verb->op, verb->uid, got_device);
}

/* A verb that is ready to start; NULL and error. */
static struct verb *verb_new(cvm_t *cvm, const struct verb_kind *kind, const char *uid,
    cvm_done_cb callback, void *user_data, cvm_error_t **error)
{
    struct verb *verb = NULL;
    *error = cvm_check_ready(cvm);
    if (*error)
        return NULL;
    if (!cvm_uid_is_valid(uid))
        *error = cvm_error_new(
            REASON_invalid_request, "device_uid must be 1 to 128 of A-Z a-z 0-9 : _ -");
    else if (!(verb = calloc(1, sizeof *verb)))
        *error = cvm_error_out_of_memory();
    if (!verb)
        return NULL;
    verb->cvm = cvm;
    verb->kind = kind;
    memcpy(verb->uid, uid, strlen(uid) + 1);
    verb->waiter = (struct cvm_waiter){callback, user_data};
    return verb;
}

static cvm_error_t *verb_start(cvm_t *cvm, const char *function, const struct verb_kind *kind,
    const char *uid, cvm_done_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, function, uid && callback);
    struct verb *verb = error ? NULL : verb_new(cvm, kind, uid, callback, user_data, &error);
    if (verb)
        read_device(verb);
    return error;
}

/* --- The verbs -------------------------------------------------------------------------------- */

static cvm_error_t *when_set(int32_t failed)
{
    return failed ? cvm_error_out_of_memory() : NULL;
}

static cvm_error_t *change_put(struct verb *verb)
{
    if (verb->device)
        return cvm_error_new(REASON_device_exists, "%s exists already", verb->uid);
    return when_set(cvm_record_set_text(verb->wanted, CVM_D_DEVICE_UID, verb->uid) ||
                    cvm_record_set_text(verb->wanted, CVM_D_DEVICE_TOKEN, verb->token_hash) ||
                    cvm_record_set_number(verb->wanted, CVM_D_IS_ENABLED, verb->is_enabled));
}

/* A change is to be carried out even if the opposite was the last that is known to be: that one may
 * be on its way to the platform still. 0, or -1. */
static int32_t change_enabled(struct verb *verb, int32_t is_enabled)
{
    int32_t is_changed = cvm_record_number(verb->device, CVM_D_IS_ENABLED) != is_enabled;
    int32_t has_certificate =
        *cvm_record_text(verb->device, CVM_D_CERTIFICATE_ID) || verb->inherited;
    return cvm_record_set_number(verb->wanted, CVM_D_IS_ENABLED, is_enabled) ||
                   (is_changed && has_certificate &&
                       cvm_record_set_number(verb->wanted, CVM_D_IS_SUSPENDED, is_enabled))
               ? -1
               : 0;
}

/* Enabling what is enabled changes nothing, but still waits for the platform to have done it. */
static cvm_error_t *set_enabled(struct verb *verb, int32_t is_enabled)
{
    verb->is_unchanged = cvm_record_number(verb->device, CVM_D_IS_ENABLED) == is_enabled;
    return when_set(change_enabled(verb, is_enabled));
}

static cvm_error_t *change_enable(struct verb *verb)
{
    return set_enabled(verb, 1);
}

static cvm_error_t *change_disable(struct verb *verb)
{
    return set_enabled(verb, 0);
}

/* The record keeps the certificate's id, so that the next registration retires it. */
static cvm_error_t *change_reset(struct verb *verb)
{
    verb->is_unchanged = !cvm_record_number(verb->device, CVM_D_IS_REGISTERED) &&
                         !cvm_record_number(verb->device, CVM_D_IS_REVOKED);
    return when_set(cvm_record_set_number(verb->wanted, CVM_D_IS_REGISTERED, 0) ||
                    cvm_record_set_number(verb->wanted, CVM_D_IS_REVOKED, 0) ||
                    cvm_record_set_number(verb->wanted, CVM_D_FIRST_ISSUED_AT, 0) ||
                    cvm_record_set_number(verb->wanted, CVM_D_LAST_ISSUED_AT, 0) ||
                    cvm_record_set_number(verb->wanted, CVM_D_REISSUE_COUNT, 0));
}

/* All certificates that are not revoked retire now; the reconciler carries that out. */
static cvm_error_t *retire_all(struct verb *verb, const char *reason)
{
    for (uint32_t i = 0; i < verb->certificate_count; i++) {
        cvm_record_t *certificate = verb->certificates[i];
        if (cvm_record_is_state(certificate, "revoked"))
            continue;
        if (cvm_record_set_state(certificate, "retiring", reason, CVM_AT_ONCE))
            return cvm_error_out_of_memory();
        verb->changed[verb->changed_count++] = certificate;
    }
    return NULL;
}

static cvm_error_t *change_revoke(struct verb *verb)
{
    cvm_error_t *error = retire_all(verb, verb->reason);
    verb->is_unchanged = !error && !verb->changed_count &&
                         cvm_record_number(verb->device, CVM_D_IS_REVOKED) &&
                         !cvm_record_number(verb->device, CVM_D_IS_ENABLED);
    /* What is revoked need not be suspended too. */
    if (!error &&
        (change_enabled(verb, 0) || cvm_record_set_number(verb->wanted, CVM_D_IS_SUSPENDED, 1) ||
            cvm_record_set_number(verb->wanted, CVM_D_IS_REVOKED, 1)))
        error = cvm_error_out_of_memory();
    return error;
}

static cvm_error_t *change_remove(struct verb *verb)
{
    cvm_error_t *error = retire_all(verb, "cessationOfOperation");
    int32_t is_in_use = cvm_record_number(verb->device, CVM_D_IS_REGISTERED) || verb->changed_count;
    if (!error && is_in_use && !verb->force)
        error = cvm_error_new(REASON_device_registered,
            "%s has a certificate, which removing it revokes: use force", verb->uid);
    return error;
}

static cvm_error_t *change_nothing(struct verb *verb)
{
    verb->is_unchanged = 1;
    return NULL;
}

static const struct verb_kind PUT = {"device_added", change_put, 0, 0, 0, 0, 0};
static const struct verb_kind ENABLE = {"device_enabled", change_enable, 1, 0, 0, 1, 1};
static const struct verb_kind DISABLE = {"device_disabled", change_disable, 1, 0, 0, 1, 1};
static const struct verb_kind RESET = {"device_reset", change_reset, 1, 0, 0, 0, 1};
static const struct verb_kind REVOKE = {"device_revoked", change_revoke, 1, 1, 0, 1, 1};
static const struct verb_kind RECONCILE = {"", change_nothing, 0, 0, 0, 1, 0};
static const struct verb_kind REMOVE = {"device_removed", change_remove, 1, 1, 1, 1, 1};

cvm_error_t *cvm_device_put(cvm_t *cvm, const char *uid, const char *token, int32_t is_enabled,
    cvm_done_cb callback, void *user_data)
{
    char name[CVM_THING_NAME_SIZE];
    cvm_error_t *error = cvm_entry(cvm, __func__, uid && token && callback);
    if (!error && !cvm_token_is_valid(token))
        error = cvm_error_new(REASON_invalid_request,
            "device_token must be 1 to 256 printable ASCII characters without \":\"");
    if (!error)
        error = cvm_thing_name(cvm, uid, name);
    if (error)
        return error;
    struct verb *verb = verb_new(cvm, &PUT, uid, callback, user_data, &error);
    if (!verb)
        return error;
    verb->is_enabled = is_enabled != 0;
    if (cvm_token_hash(token, verb->token_hash)) {
        free(verb);
        return cvm_error_out_of_memory();
    }
    read_device(verb);
    return NULL;
}

cvm_error_t *cvm_set_deferred(cvm_t *cvm, int32_t is_deferred)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, 1);
    if (!error)
        cvm->is_deferred = is_deferred;
    return error;
}

cvm_error_t *cvm_device_reconcile(
    cvm_t *cvm, const char *uid, cvm_done_cb callback, void *user_data)
{
    return verb_start(cvm, __func__, &RECONCILE, uid, callback, user_data);
}

cvm_error_t *cvm_device_enable(cvm_t *cvm, const char *uid, cvm_done_cb callback, void *user_data)
{
    return verb_start(cvm, __func__, &ENABLE, uid, callback, user_data);
}

cvm_error_t *cvm_device_disable(cvm_t *cvm, const char *uid, cvm_done_cb callback, void *user_data)
{
    return verb_start(cvm, __func__, &DISABLE, uid, callback, user_data);
}

cvm_error_t *cvm_device_reset(cvm_t *cvm, const char *uid, cvm_done_cb callback, void *user_data)
{
    return verb_start(cvm, __func__, &RESET, uid, callback, user_data);
}

/* RFC 5280 §5.3.1, but for those that a CRL of ours never says: certificateHold is `disable`,
 * removeFromCRL is for delta CRLs. */
static int32_t is_reason(const char *name)
{
    static const char *const REASONS[] = {"unspecified", "keyCompromise", "cACompromise",
        "affiliationChanged", "superseded", "cessationOfOperation", "privilegeWithdrawn",
        "aACompromise"};
    for (size_t i = 0; i < sizeof REASONS / sizeof REASONS[0]; i++)
        if (strcmp(name, REASONS[i]) == 0)
            return 1;
    return 0;
}

cvm_error_t *cvm_device_revoke(
    cvm_t *cvm, const char *uid, const char *reason, cvm_done_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, uid && callback);
    if (error)
        return error;
    if (!reason)
        reason = "unspecified";
    if (!is_reason(reason))
        return cvm_error_new(REASON_invalid_request,
            "'%.40s' is no reason; take unspecified, keyCompromise, affiliationChanged, "
            "superseded, "
            "cessationOfOperation or privilegeWithdrawn",
            reason);
    struct verb *verb = verb_new(cvm, &REVOKE, uid, callback, user_data, &error);
    if (!verb)
        return error;
    memcpy(verb->reason, reason, strlen(reason) + 1);
    read_device(verb);
    return NULL;
}

cvm_error_t *cvm_device_remove(
    cvm_t *cvm, const char *uid, int32_t force, cvm_done_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, uid && callback);
    struct verb *verb = error ? NULL : verb_new(cvm, &REMOVE, uid, callback, user_data, &error);
    if (!verb)
        return error;
    verb->force = force;
    read_device(verb);
    return NULL;
}
