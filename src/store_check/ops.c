/* Operations: what a store is handed, and whether what it answers is something that it may. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"

#define OK_(answer)  (1u << CVM_ANSWER_##answer)
#define READ_FAILS   (OK_(UNAVAILABLE) | OK_(BUSY) | OK_(BROKEN))
#define WRITE_FAILS  (OK_(UNAVAILABLE) | OK_(BUSY) | OK_(UNKNOWN) | OK_(CONFLICT) | OK_(INVALID))
#define CHANGE_FAILS (WRITE_FAILS | OK_(KEY_IN_USE) | OK_(NOT_FOUND))

/* What each verb may answer beside OK: the table in plugin.h. */
static const struct {
    const char *name;
    uint32_t answers;
} VERBS[VERB_COUNT] = {
    [VERB_OPEN] = {"open", OK_(UNAVAILABLE) | OK_(INVALID) | OK_(CONFLICT)},
    [VERB_READY] = {"ready", OK_(UNAVAILABLE)},
    [VERB_GET] = {"get", READ_FAILS | OK_(NOT_FOUND)},
    [VERB_SWAP] = {"swap", CHANGE_FAILS},
    [VERB_GET_CERTIFICATES] = {"get_certificates", READ_FAILS},
    [VERB_SCAN] = {"scan", READ_FAILS | OK_(INVALID)},
    [VERB_LOAD] = {"load", WRITE_FAILS | OK_(KEY_IN_USE)},
    [VERB_META_GET] = {"meta_get", READ_FAILS | OK_(NOT_FOUND)},
    [VERB_META_PUT] = {"meta_put", WRITE_FAILS},
    [VERB_REMOVE] = {"remove", CHANGE_FAILS},
    [VERB_FIND] = {"find", READ_FAILS | OK_(NOT_FOUND) | OK_(INVALID)},
    [VERB_NOW] = {"now", OK_(UNAVAILABLE)},
    [VERB_CLOSE] = {"close", 0},
};

static const char *const ANSWERS[] = {"OK", "NOT_FOUND", "CONFLICT", "KEY_IN_USE", "UNAVAILABLE",
    "BUSY", "BROKEN", "UNKNOWN", "INVALID"};

static cvm_op_t *all;

const char *ops_answer_name(cvm_answer_t answer)
{
    return (uint32_t)answer < sizeof ANSWERS / sizeof *ANSWERS ? ANSWERS[answer]
                                                               : "one that there is not";
}

const char *ops_verb_name(enum verb verb)
{
    return VERBS[verb].name;
}

cvm_op_t *ops_new(struct store *store, enum verb verb)
{
    cvm_op_t *op = calloc(1, sizeof *op);
    if (!op)
        CHECK_VIOLATION("out of memory");
    op->store = store;
    op->verb = verb;
    op->left_ms = -1;
    op->next = all;
    all = op;
    return op;
}

char *ops_hand_text(const char *text)
{
    char *copy = text ? strdup(text) : NULL;
    if (text && !copy)
        CHECK_VIOLATION("out of memory");
    return copy;
}

cvm_record_t *ops_hand_record(cvm_op_t *op, const cvm_record_t *record)
{
    if (!record)
        return NULL;
    cvm_record_t **more = realloc(op->records, (op->record_count + 1) * sizeof(cvm_record_t *)),
                 *copy = records_copy(record);
    if (!more || !copy)
        CHECK_VIOLATION("out of memory");
    op->records = more;
    records_hand_over(copy, OWNER_TEST);
    return op->records[op->record_count++] = copy;
}

uint32_t ops_under_way(const struct store *store)
{
    uint32_t count = 0;
    for (const cvm_op_t *op = all; op; op = op->next)
        count += op->store == store && !op->is_done;
    return count;
}

/* --- What a store calls ----------------------------------------------------------------------- */

static void ops_check_open(const cvm_op_t *op, const char *function)
{
    if (op->is_complete)
        CHECK_VIOLATION(
            "%s: the store calls %s() after it has completed it", VERBS[op->verb].name, function);
}

int32_t ops_add_record(cvm_op_t *op, cvm_record_t *record)
{
    ops_check_open(op, "op_add_record");
    if (!record)
        return -1;
    cvm_record_t **more = realloc(op->found, (op->count + 1) * sizeof(cvm_record_t *));
    if (!more) {
        records_free(record);
        return -1;
    }
    op->found = more;
    records_hand_over(record, OWNER_HOST);
    op->found[op->count++] = record;
    return 0;
}

int32_t ops_set_text(cvm_op_t *op, cvm_out_t out, const char *value)
{
    ops_check_open(op, "op_set_text");
    if (!value || (uint32_t)out >= CVM_OUT_COUNT)
        return -1;
    if (out == CVM_OUT_CURSOR && strlen(value) >= CVM_CURSOR_SIZE)
        return -1;
    free(op->outs[out]);
    op->outs[out] = strdup(value);
    return op->outs[out] ? 0 : -1;
}

int32_t ops_set_number(cvm_op_t *op, cvm_out_number_t out, int64_t value)
{
    ops_check_open(op, "op_set_number");
    if ((uint32_t)out >= CVM_OUT_NUMBER_COUNT)
        return -1;
    op->numbers[out] = value;
    return 0;
}

int64_t ops_left_ms(const cvm_op_t *op)
{
    return op->left_ms;
}

/* --- Completing ------------------------------------------------------------------------------- */

/* How a scan answers. */
static cvm_record_kind_t ops_scanned_kind(cvm_scan_t what)
{
    switch (what) {
    case CVM_SCAN_DEVICES:
    case CVM_SCAN_UNSUSPENDED:
    case CVM_SCAN_ENDED_LEASES:
        return CVM_RECORD_DEVICE;
    case CVM_SCAN_META:
        return CVM_RECORD_VALUE;
    default:
        return CVM_RECORD_CERTIFICATE;
    }
}

#define OPS_EXPECT(is_so, ...)                                                                     \
    do {                                                                                           \
        if (!(is_so))                                                                              \
            CHECK_VIOLATION(__VA_ARGS__);                                                          \
    } while (0)

static void ops_check_records(const cvm_op_t *op, cvm_record_kind_t kind, uint32_t most)
{
    const char *verb = VERBS[op->verb].name;
    OPS_EXPECT(
        op->count <= most, "%s answers %u records where %u were asked for", verb, op->count, most);
    for (uint32_t i = 0; i < op->count; i++)
        OPS_EXPECT(records_kind(op->found[i]) == kind, "%s answers a record of kind %d, not %d",
            verb, records_kind(op->found[i]), kind);
}

static void ops_check_scan(const cvm_op_t *op)
{
    const char *cursor = op->outs[CVM_OUT_CURSOR];
    ops_check_records(op, ops_scanned_kind(op->what), op->limit);
    OPS_EXPECT(!cursor || strcmp(cursor, op->name) != 0,
        "scan answers the cursor that it was asked with, '%s': this has no end", op->name);
    for (uint32_t i = 0; i < op->count && op->what != CVM_SCAN_CERTIFICATES; i++)
        OPS_EXPECT(records_kind(op->found[i]) != CVM_RECORD_CERTIFICATE ||
                       !*records_text(op->found[i], CVM_C_PEM),
            "scan answers a certificate with its PEM");
}

static void ops_check_certificates(const cvm_op_t *op)
{
    ops_check_records(op, CVM_RECORD_CERTIFICATE, op->limit);
    for (uint32_t i = 0; i < op->count; i++)
        OPS_EXPECT(strcmp(records_text(op->found[i], CVM_C_DEVICE_UID), op->name) == 0,
            "get_certificates of '%s' answers one of '%s'", op->name,
            records_text(op->found[i], CVM_C_DEVICE_UID));
}

/* What must come with OK. */
static void ops_check_ok(const cvm_op_t *op)
{
    switch (op->verb) {
    case VERB_GET:
        OPS_EXPECT(op->count == 1, "get answers %u records", op->count);
        ops_check_records(op, CVM_RECORD_DEVICE, 1);
        OPS_EXPECT(strcmp(records_text(op->found[0], CVM_D_DEVICE_UID), op->name) == 0,
            "get of '%s' answers '%s'", op->name, records_text(op->found[0], CVM_D_DEVICE_UID));
        break;
    case VERB_GET_CERTIFICATES:
        ops_check_certificates(op);
        break;
    case VERB_SCAN:
        ops_check_scan(op);
        break;
    case VERB_META_GET:
        OPS_EXPECT(op->outs[CVM_OUT_VALUE] && op->numbers[CVM_OUT_VERSION],
            "meta_get answers no VALUE or no VERSION");
        break;
    case VERB_META_PUT:
        OPS_EXPECT(!op->value || op->numbers[CVM_OUT_VERSION], "meta_put answers no VERSION");
        break;
    case VERB_FIND:
        OPS_EXPECT(op->outs[CVM_OUT_VALUE], "find answers no VALUE");
        break;
    case VERB_NOW:
        OPS_EXPECT(op->numbers[CVM_OUT_NOW_MS] > 0, "now answers no NOW_MS");
        break;
    default:
        break;
    }
}

/* Whoever still reads what it was handed reads nonsense from now on. */
static void ops_take_back(cvm_op_t *op)
{
    char *texts[] = {op->name, op->value};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i])
            memset(texts[i], '?', strlen(texts[i]));
    for (uint32_t i = 0; i < op->record_count; i++) {
        records_hand_over(op->records[i], OWNER_STORE); /* what records_free() takes */
        records_free(op->records[i]);
    }
    free(op->records);
    op->records = NULL;
    op->record_count = 0;
    if (op->rows && op->loading.rows)
        memcpy(op->rows, op->loading.rows, op->loading.count);
    free(op->loading.rows);
    free((void *)op->loading.devices);
    free((void *)op->loading.certificates);
    free((void *)op->change.certificates);
    op->loading = (cvm_loading_t){.size = 0};
    op->change = (cvm_change_t){.size = 0};
}

static void ops_completed(void *argument)
{
    cvm_op_t *op = argument;
    if (op->answer == CVM_ANSWER_OK)
        ops_check_ok(op);
    ops_take_back(op);
    op->is_done = true;
}

void ops_complete(cvm_op_t *op, cvm_answer_t answer, const char *text)
{
    const char *verb = VERBS[op->verb].name;
    OPS_EXPECT(!atomic_exchange(&op->is_complete, 1), "%s: the store completes it twice", verb);
    OPS_EXPECT(answer == CVM_ANSWER_OK ||
                   (answer > 0 && answer < 32 && (VERBS[op->verb].answers & 1u << answer)),
        "%s may not answer %s (%s)", verb, ops_answer_name(answer),
        text ? text : "it says not why");
    OPS_EXPECT(!text || !strpbrk(text, "\r\n"), "%s: its text has more than one line", verb);
    op->answer = answer;
    (void)snprintf(op->text, sizeof op->text, "%s", text ? text : "");
    if (loop_post(NULL, ops_completed, op))
        CHECK_VIOLATION("out of memory");
}

void ops_end(void)
{
    while (all) {
        cvm_op_t *op = all;
        all = op->next;
        for (uint32_t i = 0; i < CVM_OUT_COUNT; i++)
            free(op->outs[i]);
        free(op->found);
        free(op->name);
        free(op->value);
        free(op);
    }
}
