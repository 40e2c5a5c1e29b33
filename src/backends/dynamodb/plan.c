/* What a change writes: one transaction, each action under the condition that what it stands on is
 * still so. */
#include <string.h>

#include "certificate.h"
#include "device.h"
#include "key.h"
#include "plan.h"

/* --- Actions ---------------------------------------------------------------------------------- */

struct cvm_buffer *cvm_plan_begin_action(
    struct change *change, const char *verb, enum subject subject)
{
    struct cvm_buffer *body = &change->job.aws.call.body;
    cvm_buffer_format(body, "%s{\"%s\":", change->action_count ? "," : "", verb);
    if (change->action_count < MOST_ACTIONS)
        change->subjects[change->action_count] = subject;
    change->action_count++;
    cvm_dynamo_expression_clear(&change->expression);
    return body;
}

void cvm_plan_end_action(struct change *change)
{
    struct cvm_buffer *body = &change->job.aws.call.body;
    cvm_dynamo_print_expression(body, &change->expression, 0);
    cvm_buffer_text(body, "}");
}

void cvm_plan_print_target(
    struct change *change, struct cvm_buffer *body, const char *pk, const char *sk)
{
    cvm_dynamo_print_target(body, change->job.store->tables[sk ? OURS : MAKERS], pk, sk);
}

static void print_new_row(struct change *change, struct cvm_buffer *body)
{
    cvm_dynamo_print_table(body, change->job.store->tables[MAKERS]);
    cvm_buffer_text(body, ",\"Item\":");
    cvm_dynamo_print_row(body, cvm_plan_host(change), change->wanted->wanted, change->revision);
    cvm_dynamo_and_missing(&change->expression, "device_uid");
}

/* The maker's row, whatever is done with it. */
static void fill_row(struct change *change, struct cvm_buffer *body)
{
    const cvm_change_t *wanted = change->wanted;
    if (!wanted->as_read) {
        print_new_row(change, body);
        return;
    }
    cvm_plan_print_target(change, body, change->uid, NULL);
    cvm_dynamo_row_is(&change->expression, cvm_plan_host(change), wanted->as_read);
    if (wanted->wanted)
        cvm_dynamo_row_becomes(&change->expression, cvm_plan_host(change), wanted->as_read,
            wanted->wanted, change->revision,
            cvm_dynamo_flag_type(cvm_dynamo_find(&change->job.look, MAKERS, change->uid, NULL)));
}

static void write_row(struct change *change)
{
    struct cvm_buffer *body = cvm_plan_begin_action(change,
        !change->wanted->as_read ? "Put"
        : change->wanted->wanted ? "Update"
                                 : "Delete",
        OF_ROW);
    fill_row(change, body);
    cvm_plan_end_action(change);
}

/* Does the change touch `current`? */
static int32_t current_changes(const struct change *change, const struct currency *current)
{
    const char *was = cvm_dynamo_text(cvm_plan_state(change, change->uid), "current");
    return !current->is_unknown && (!change->has_looked || strcmp(was, current->id) != 0);
}

/* The state's `current`, on the condition that it is as it was; or, where nobody has looked, that
 * no other one is. */
static void write_current(struct change *change, const struct currency *current)
{
    struct expression *expression = &change->expression;
    cvm_dynamo_set_text(expression, "current", current->id);
    if (change->has_looked) {
        cvm_dynamo_and_text(
            expression, "current", cvm_dynamo_text(cvm_plan_state(change, change->uid), "current"));
        return;
    }
    uint32_t at = cvm_dynamo_name(expression, "current");
    cvm_dynamo_and(expression, "(attribute_not_exists(#) OR #=:)", at, at,
        cvm_dynamo_value_text(expression, current->taken));
}

/* The certificates that are new, as far as anybody knows. */
static uint32_t new_members(const struct change *change, const char *ids[DYNAMO_MOST_CHANGED])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++)
        if (change->is_written[i] && cvm_plan_is_new(change, i))
            ids[count++] = cvm_plan_certificate_text(change, i, CVM_C_CERTIFICATE_ID);
    return count;
}

/* An update of nothing would be refused. */
static void write_state(struct change *change, const struct currency *current)
{
    const cvm_change_t *wanted = change->wanted;
    int32_t is_device = wanted->as_read || wanted->wanted;
    char pk[DYNAMO_KEY_SIZE];
    const char *ids[DYNAMO_MOST_CHANGED];
    uint32_t count = new_members(change, ids);
    int32_t is_nothing = !count && !current_changes(change, current);
    int32_t is_none =
        !cvm_plan_has_state(change, wanted->as_read) && !cvm_plan_has_state(change, wanted->wanted);
    /* The maker's row says by its revision that nobody of ours has written since; one without says
     * nothing, and of one that is new the state may be there still. */
    int32_t is_told = is_none && cvm_plan_device_number(change, wanted->as_read, CVM_D_REVISION);
    if (is_nothing && (!is_device || is_told))
        return;
    struct cvm_buffer *body = cvm_plan_begin_action(
        change, is_none && is_nothing ? "ConditionCheck" : "Update", OF_STATE);
    cvm_plan_print_target(change, body, cvm_dynamo_key(pk, "U#", change->uid), "S");
    if (is_device)
        cvm_dynamo_state_is(&change->expression, cvm_plan_host(change), wanted->as_read);
    if (is_device && !is_none)
        cvm_dynamo_state_becomes(
            &change->expression, cvm_plan_host(change), wanted->wanted, change->revision);
    if (current_changes(change, current))
        write_current(change, current);
    cvm_dynamo_add_members(&change->expression, "certificates", ids, count);
    cvm_plan_end_action(change);
}

/* The row is as it was when it was looked at; or, where nobody has looked, as the change takes for
 * granted. */
static void certificate_is_as_known(struct change *change, uint32_t i)
{
    struct expression *expression = &change->expression;
    if (!cvm_plan_is_new(change, i)) {
        cvm_dynamo_and_text(expression, "device_uid", change->uid);
        cvm_dynamo_and_text(expression, "state", cvm_plan_was(change, i));
    } else if (change->has_looked || !cvm_plan_certificate_is(change, i, "current")) {
        cvm_dynamo_and_missing(expression, "device_uid");
    } else {
        uint32_t uid = cvm_dynamo_name(expression, "device_uid");
        cvm_dynamo_and(expression, "(attribute_not_exists(#) OR #=: AND #<>:)", uid, uid,
            cvm_dynamo_value_text(expression, change->uid), cvm_dynamo_name(expression, "state"),
            cvm_dynamo_value_text(expression, "revoked"));
    }
}

static void write_certificate(struct change *change, uint32_t i)
{
    char pk[DYNAMO_KEY_SIZE];
    struct cvm_buffer *body = cvm_plan_begin_action(change, "Update", OF_LOOKED);
    cvm_plan_print_target(change, body,
        cvm_dynamo_key(pk, "C#", cvm_plan_certificate_text(change, i, CVM_C_CERTIFICATE_ID)), "C");
    certificate_is_as_known(change, i);
    cvm_dynamo_certificate_becomes(&change->expression, cvm_plan_host(change),
        change->wanted->certificates[i], cvm_plan_keeps_reason(change, i));
    cvm_dynamo_set_number_once(
        &change->expression, "issued_at", cvm_dynamo_now_us(change->job.store));
    cvm_plan_end_action(change);
}

/* --- The plan --------------------------------------------------------------------------------- */

static void print_transaction(struct change *change, const struct currency *current)
{
    const cvm_change_t *wanted = change->wanted;
    struct cvm_buffer *body = cvm_dynamo_body(&change->job);
    cvm_buffer_format(body, "{\"ClientRequestToken\":\"%s\",\"TransactItems\":[", change->token);
    change->action_count = 0;
    if (wanted->as_read || wanted->wanted)
        write_row(change);
    write_state(change, current);
    for (uint32_t i = 0; i < wanted->certificate_count; i++)
        if (change->is_written[i])
            write_certificate(change, i);
    cvm_plan_write_keys(change);
    cvm_plan_write_hints(change);
    cvm_buffer_text(body, "]}");
}

cvm_answer_t cvm_dynamo_plan(struct change *change)
{
    int32_t is_device = change->wanted->as_read || change->wanted->wanted;
    cvm_plan_choose(change);
    struct currency current = cvm_plan_currency(change);
    if (!is_device && !change->written)
        return CVM_ANSWER_NOT_FOUND;
    if (current.is_second)
        return CVM_ANSWER_CONFLICT;
    if (cvm_plan_key_is_taken(change))
        return CVM_ANSWER_KEY_IN_USE;
    print_transaction(change, &current);
    return change->action_count <= MOST_ACTIONS ? CVM_ANSWER_OK : CVM_ANSWER_INVALID;
}
