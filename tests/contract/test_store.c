/*
 * What every store must do, as one suite: each test runs for each store of the table below. A store
 * is spoken to through an instance's table of verbs, as the core does.
 */
#include "support/calls.h"
#include "support/harness.h"
#include "support/postgresql.h"

#define DAY_MS INT64_C(86400000)
#define NOW    INT64_C(1800000000000)

/* A store under test: its settings, of a store that is empty before each test. */
static const struct setting FILE_STORE[] = {{"store", "file"}, {NULL, NULL}};
static const struct setting WRAPPED[] = {{"store", "faulty"}, {NULL, NULL}};

static const struct setting *file_settings(int is_new)
{
    (void)is_new;
    return FILE_STORE;
}

static const struct setting *wrapped_settings(int is_new)
{
    (void)is_new;
    return WRAPPED;
}

static const struct store_under_test {
    const char *name;
    const struct setting *(*settings)(int is_new);
} STORES[] = {
    {"file", file_settings},
    {"file, behind a wrapper", wrapped_settings},
    {"postgresql", postgresql_settings},
    {"postgresql, behind pgbouncer", postgresql_pooled_settings},
};

static const struct store_under_test *current_store;

static cvm_t *start_store(void)
{
    return instance_start(current_store->settings(0));
}

/* --- Records ---------------------------------------------------------------------------------- */

static cvm_record_t *device(const char *uid)
{
    cvm_record_t *record = host->record_new(CVM_RECORD_DEVICE);
    assert_false(!record || host->set_text(record, CVM_D_DEVICE_UID, uid) ||
                 host->set_text(record, CVM_D_DEVICE_TOKEN, "token") ||
                 host->set_number(record, CVM_D_IS_ENABLED, 1));
    return record;
}

static cvm_record_t *certificate(const char *id, const char *uid, const char *state)
{
    cvm_record_t *record = host->record_new(CVM_RECORD_CERTIFICATE);
    assert_false(!record || host->set_text(record, CVM_C_CERTIFICATE_ID, id) ||
                 host->set_text(record, CVM_C_DEVICE_UID, uid) ||
                 host->set_text(record, CVM_C_STATE, state) ||
                 host->set_text(record, CVM_C_PEM, "PEM") ||
                 host->set_number(record, CVM_C_NOT_AFTER, NOW + DAY_MS));
    return record;
}

static void insert(cvm_t *cvm, const char *uid)
{
    cvm_record_t *record = device(uid);
    assert_int_equal(swap(cvm, NULL, record, NULL, 0), CVM_ANSWER_OK);
    host->record_free(record);
}

/* Writes one certificate alone. */
static void write_certificate(cvm_t *cvm, cvm_record_t *record)
{
    const cvm_record_t *one = record;
    assert_int_equal(swap(cvm, NULL, NULL, &one, 1), CVM_ANSWER_OK);
    host->record_free(record);
}

static const char *state_of(cvm_t *cvm, const char *uid, uint32_t i)
{
    static char state[16];
    struct call call = {.is_done = 0};
    get_certificates(cvm, uid, MOST_FOUND, &call);
    (void)snprintf(state, sizeof state, "%s",
        i < call.count ? host->text(call.found[i], CVM_C_STATE) : "none");
    forget(&call);
    return state;
}

#define ROW(id, name, kind, longest) {CVM_FIELD_##kind, longest},
static const struct {
    cvm_field_kind_t kind;
    uint32_t longest;
} DEVICE_FIELDS[] = {CVM_DEVICE_FIELDS(ROW)}, CERTIFICATE_FIELDS[] = {CVM_CERTIFICATE_FIELDS(ROW)};

/* --- Reading and writing ---------------------------------------------------------------------- */

static void an_unknown_device_is_not_found(void)
{
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    assert_int_equal(get(cvm, "NOBODY", &call), CVM_ANSWER_NOT_FOUND);
    assert_int_equal(get(cvm, "", &call), CVM_ANSWER_NOT_FOUND);
    assert_int_equal(get(cvm, "'; DROP TABLE devices; --", &call), CVM_ANSWER_NOT_FOUND);
    forget(&call);
    instance_end(cvm);
}

/* Every field comes back as it was written, also after the store was closed. */
static void every_field_is_kept(void)
{
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    cvm_record_t *written = host->record_new(CVM_RECORD_DEVICE);
    cvm_record_t *row = host->record_new(CVM_RECORD_CERTIFICATE);
    char text[8193];
    for (uint32_t i = 0; i < LENGTH(DEVICE_FIELDS); i++) {
        memset(text, 'a' + (int)i, sizeof text);
        text[DEVICE_FIELDS[i].longest] = 0;
        assert_int_equal(DEVICE_FIELDS[i].kind == CVM_FIELD_TEXT
                             ? host->set_text(written, i, text)
                             : host->set_number(written, i, INT64_MAX - i),
            0);
    }
    for (uint32_t i = 0; i < LENGTH(CERTIFICATE_FIELDS); i++) {
        memset(text, 'b' + (int)i, sizeof text);
        text[CERTIFICATE_FIELDS[i].longest] = 0;
        assert_int_equal(CERTIFICATE_FIELDS[i].kind == CVM_FIELD_TEXT
                             ? host->set_text(row, i, text)
                             : host->set_number(row, i, INT64_MIN + i),
            0);
    }
    char *uid = strdup(host->text(written, CVM_D_DEVICE_UID));
    assert_int_equal(host->set_text(row, CVM_C_DEVICE_UID, uid), 0);
    const cvm_record_t *rows[] = {row};
    assert_int_equal(swap(cvm, NULL, written, rows, 1), CVM_ANSWER_OK);
    instance_end(cvm);
    cvm = start_store();
    assert_int_equal(get(cvm, uid, &call), CVM_ANSWER_OK);
    for (uint32_t i = 0; i < CVM_D_REVISION; i++) {
        assert_string_equal(host->text(call.found[0], i), host->text(written, i));
        assert_true(host->number(call.found[0], i) == host->number(written, i));
    }
    assert_true(host->number(call.found[0], CVM_D_REVISION) > 0); /* the store's own */
    get_certificates(cvm, uid, 10, &call);
    assert_int_equal(call.count, 1);
    for (uint32_t i = 0; i < CVM_CERTIFICATE_FIELD_COUNT; i++) {
        assert_string_equal(host->text(call.found[0], i), host->text(row, i));
        assert_true(host->number(call.found[0], i) == host->number(row, i));
    }
    forget(&call);
    host->record_free(written);
    host->record_free(row);
    free(uid);
    instance_end(cvm);
}

static void the_second_insert_conflicts(void)
{
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    cvm_record_t *other = device("D");
    assert_int_equal(host->set_text(other, CVM_D_DEVICE_TOKEN, "other"), 0);
    insert(cvm, "D");
    assert_int_equal(swap(cvm, NULL, other, NULL, 0), CVM_ANSWER_CONFLICT);
    assert_int_equal(get(cvm, "D", &call), CVM_ANSWER_OK);
    assert_string_equal(host->text(call.found[0], CVM_D_DEVICE_TOKEN), "token");
    host->record_free(other);
    forget(&call);
    instance_end(cvm);
}

static void a_swap_wants_the_record_as_it_was_read(void)
{
    struct call call = {.is_done = 0}, now = {.is_done = 0};
    cvm_t *cvm = start_store();
    insert(cvm, "D");
    assert_int_equal(get(cvm, "D", &call), CVM_ANSWER_OK);
    cvm_record_t *wanted = host->record_copy(call.found[0]);
    cvm_record_t *row = certificate("C1", "D", "current");
    const cvm_record_t *rows[] = {row};
    assert_int_equal(host->set_text(wanted, CVM_D_THING_NAME, "one"), 0);
    assert_int_equal(swap(cvm, call.found[0], wanted, NULL, 0), CVM_ANSWER_OK);
    assert_int_equal(host->set_text(wanted, CVM_D_THING_NAME, "two"), 0);
    assert_int_equal(swap(cvm, call.found[0], wanted, rows, 1), CVM_ANSWER_CONFLICT);
    assert_int_equal(get(cvm, "D", &now), CVM_ANSWER_OK);
    assert_string_equal(host->text(now.found[0], CVM_D_THING_NAME), "one");
    assert_int_equal(host->number(now.found[0], CVM_D_REVISION),
        host->number(call.found[0], CVM_D_REVISION) + 1);
    assert_string_equal(state_of(cvm, "D", 0), "none"); /* nothing of a change that conflicts */
    assert_int_equal(swap(cvm, now.found[0], wanted, rows, 1), CVM_ANSWER_OK);
    assert_string_equal(state_of(cvm, "D", 0), "current");
    host->record_free(wanted);
    host->record_free(row);
    forget(&call);
    forget(&now);
    instance_end(cvm);
}

static void a_swap_of_a_device_that_is_gone_conflicts(void)
{
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    insert(cvm, "D");
    assert_int_equal(get(cvm, "D", &call), CVM_ANSWER_OK);
    assert_int_equal(remove_device(cvm, call.found[0], NULL, 0), CVM_ANSWER_OK);
    cvm_record_t *wanted = host->record_copy(call.found[0]);
    assert_int_equal(swap(cvm, call.found[0], wanted, NULL, 0), CVM_ANSWER_CONFLICT);
    assert_int_equal(remove_device(cvm, call.found[0], NULL, 0), CVM_ANSWER_CONFLICT);
    assert_int_equal(get(cvm, "D", &call), CVM_ANSWER_NOT_FOUND);
    host->record_free(wanted);
    forget(&call);
    instance_end(cvm);
}

static cvm_answer_t set_key(cvm_t *cvm, const char *uid, const char *key, const char *row_id)
{
    struct call call = {.is_done = 0};
    assert_int_equal(get(cvm, uid, &call), CVM_ANSWER_OK);
    cvm_record_t *wanted = host->record_copy(call.found[0]),
                 *row = certificate(row_id, uid, "pending");
    const cvm_record_t *rows[] = {row};
    assert_int_equal(host->set_text(wanted, CVM_D_PUBLIC_KEY_SHA256, key), 0);
    cvm_answer_t answer = swap(cvm, call.found[0], wanted, rows, 1);
    host->record_free(wanted);
    host->record_free(row);
    forget(&call);
    return answer;
}

static void a_public_key_belongs_to_one_device(void)
{
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    insert(cvm, "D1");
    insert(cvm, "D2");
    assert_int_equal(set_key(cvm, "D1", "key", "C1"), CVM_ANSWER_OK);
    assert_int_equal(set_key(cvm, "D2", "key", "C2"), CVM_ANSWER_KEY_IN_USE);
    assert_string_equal(state_of(cvm, "D2", 0), "none");
    assert_int_equal(set_key(cvm, "D1", "key", "C3"), CVM_ANSWER_OK); /* its own */
    assert_int_equal(set_key(cvm, "D2", "", "C4"), CVM_ANSWER_OK);    /* no key is no key */
    insert(cvm, "D3");
    assert_int_equal(get(cvm, "D1", &call), CVM_ANSWER_OK);
    assert_int_equal(remove_device(cvm, call.found[0], NULL, 0), CVM_ANSWER_OK);
    assert_int_equal(set_key(cvm, "D2", "key", "C5"), CVM_ANSWER_OK);
    forget(&call);
    instance_end(cvm);
}

/* --- Certificates ----------------------------------------------------------------------------- */

static cvm_record_t *certificate_of_key(
    const char *id, const char *uid, const char *state, const char *key)
{
    cvm_record_t *record = certificate(id, uid, state);
    assert_int_equal(host->set_text(record, CVM_C_PUBLIC_KEY_SHA256, key), 0);
    return record;
}

static cvm_answer_t issue(
    cvm_t *cvm, const char *uid, const char *key, cvm_record_t *before, const char *id)
{
    return give_key(cvm, uid, key, before, certificate_of_key(id, uid, "current", key));
}

/* The devices A and B; A's key was k1, whose certificate retires, and is k2. */
static cvm_t *start_with_a_retiring_key(void)
{
    cvm_t *cvm = start_store();
    insert(cvm, "A");
    insert(cvm, "B");
    assert_int_equal(issue(cvm, "A", "k1", NULL, "C1"), CVM_ANSWER_OK);
    assert_int_equal(issue(cvm, "A", "k2", certificate_of_key("C1", "A", "retiring", "k1"), "C2"),
        CVM_ANSWER_OK);
    return cvm;
}

static void revoke_row(cvm_t *cvm, cvm_record_t *row, const char *reason, int64_t not_after_ms)
{
    const cvm_record_t *one = row;
    assert_int_equal(host->set_text(row, CVM_C_REASON, reason), 0);
    assert_int_equal(host->set_number(row, CVM_C_NOT_AFTER, not_after_ms), 0);
    assert_int_equal(swap(cvm, NULL, NULL, &one, 1), CVM_ANSWER_OK);
    host->record_free(row);
}

static void a_key_is_its_devices_until_its_certificate_has_retired(void)
{
    cvm_t *cvm = start_with_a_retiring_key();
    assert_int_equal(issue(cvm, "B", "k1", NULL, "C3"), CVM_ANSWER_KEY_IN_USE);
    assert_string_equal(state_of(cvm, "B", 0), "none");
    revoke_row(cvm, certificate_of_key("C1", "A", "revoked", "k1"), "superseded", NOW + DAY_MS);
    assert_int_equal(issue(cvm, "B", "k1", NULL, "C3"), CVM_ANSWER_OK);
    assert_int_equal(issue(cvm, "A", "k1", certificate_of_key("C2", "A", "retiring", "k2"), "C4"),
        CVM_ANSWER_KEY_IN_USE);
    assert_string_equal(state_of(cvm, "A", 0), "current"); /* nothing of it */
    instance_end(cvm);
}

static void a_retiring_key_is_free_once_its_device_is_gone(void)
{
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_with_a_retiring_key();
    assert_int_equal(get(cvm, "A", &call), CVM_ANSWER_OK);
    assert_int_equal(remove_device(cvm, call.found[0], NULL, 0), CVM_ANSWER_OK);
    assert_int_equal(issue(cvm, "B", "k1", NULL, "C3"), CVM_ANSWER_OK);
    forget(&call);
    instance_end(cvm);
}

static void a_compromised_key_is_nobodys_until_its_certificate_has_ended(void)
{
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    insert(cvm, "A");
    insert(cvm, "B");
    assert_int_equal(issue(cvm, "A", "k1", NULL, "C1"), CVM_ANSWER_OK);
    revoke_row(cvm, certificate_of_key("C1", "A", "revoked", "k1"), "keyCompromise", NOW + DAY_MS);
    assert_int_equal(issue(cvm, "A", "k1", NULL, "C2"), CVM_ANSWER_KEY_IN_USE);
    assert_int_equal(get(cvm, "A", &call), CVM_ANSWER_OK);
    assert_int_equal(remove_device(cvm, call.found[0], NULL, 0), CVM_ANSWER_OK);
    assert_int_equal(issue(cvm, "B", "k1", NULL, "C2"), CVM_ANSWER_KEY_IN_USE);
    forget(&call);
    instance_end(cvm);
}

static void a_certificate_is_updated_by_its_id(void)
{
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    write_certificate(cvm, certificate("C1", "D", "pending"));
    cvm_record_t *changed = certificate("C1", "D", "retiring");
    (void)host->set_text(changed, CVM_C_PEM, "another PEM");
    (void)host->set_text(changed, CVM_C_REASON, "superseded");
    (void)host->set_text(changed, CVM_C_SUCCESSOR, "C2");
    (void)host->set_number(changed, CVM_C_REVOKE_AFTER, 17);
    write_certificate(cvm, changed);
    get_certificates(cvm, "D", 10, &call);
    assert_int_equal(call.count, 1);
    assert_string_equal(host->text(call.found[0], CVM_C_STATE), "retiring");
    assert_string_equal(host->text(call.found[0], CVM_C_REASON), "superseded");
    assert_string_equal(host->text(call.found[0], CVM_C_SUCCESSOR), "C2");
    assert_int_equal(host->number(call.found[0], CVM_C_REVOKE_AFTER), 17);
    assert_string_equal(host->text(call.found[0], CVM_C_PEM), "PEM"); /* what it is stays */
    forget(&call);
    instance_end(cvm);
}

static void nothing_is_ever_unrevoked(void)
{
    static const char *const STATES[] = {"pending", "current", "retiring", "revoked"};
    cvm_t *cvm = start_store();
    write_certificate(cvm, certificate("C1", "D", "revoked"));
    for (size_t i = 0; i < LENGTH(STATES); i++) {
        cvm_record_t *row = certificate("C1", "D", STATES[i]);
        const cvm_record_t *rows[] = {row};
        /* And of two who write down the same, one hears that he did not. */
        assert_int_equal(swap(cvm, NULL, NULL, rows, 1), CVM_ANSWER_NOT_FOUND);
        host->record_free(row);
        assert_string_equal(state_of(cvm, "D", 0), "revoked");
    }
    instance_end(cvm);
}

/* Writes the device as it is, with certificates. */
static cvm_answer_t touch(cvm_t *cvm, const char *uid, cvm_record_t *first, cvm_record_t *second)
{
    struct call call = {.is_done = 0};
    const cvm_record_t *rows[] = {first, second};
    assert_int_equal(get(cvm, uid, &call), CVM_ANSWER_OK);
    cvm_answer_t answer =
        swap(cvm, call.found[0], call.found[0], rows, first && second ? 2 : first != NULL);
    host->record_free(first);
    host->record_free(second);
    forget(&call);
    return answer;
}

/* The last line of defence, whatever a caller's bug; and what leaves `current` comes first. */
static void a_device_has_one_current_certificate(void)
{
    cvm_t *cvm = start_store();
    insert(cvm, "D");
    assert_int_equal(touch(cvm, "D", certificate("C1", "D", "current"), NULL), CVM_ANSWER_OK);
    assert_int_equal(touch(cvm, "D", certificate("C2", "D", "current"), NULL), CVM_ANSWER_CONFLICT);
    assert_int_equal(
        touch(cvm, "D", certificate("C1", "D", "retiring"), certificate("C2", "D", "current")),
        CVM_ANSWER_OK);
    assert_string_equal(state_of(cvm, "D", 0), "current");
    assert_string_equal(state_of(cvm, "D", 1), "retiring");
    instance_end(cvm);
}

/* A change that can't be is its own affair, and leaves nothing behind. */
static void a_change_that_can_not_be_spoils_no_other(void)
{
    enum { MANY = 50, BAD = 20 };
    static struct call calls[MANY];
    static cvm_record_t *devices[MANY], *rows[MANY];
    static cvm_change_t changes[MANY];
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    write_certificate(cvm, certificate("THERE", "D20", "current"));
    for (int i = 0; i < MANY; i++) {
        char uid[16], id[16];
        (void)snprintf(uid, sizeof uid, "D%d", i);
        (void)snprintf(id, sizeof id, "C%d", i);
        devices[i] = device(uid);
        rows[i] = certificate(id, uid, "current");
        changes[i] = change_of(NULL, devices[i], (const cvm_record_t *const *)&rows[i], 1);
        begin_swap(cvm, &calls[i], &changes[i]);
    }
    for (int i = 0; i < MANY; i++) {
        turn_until(&calls[i].is_done, 1);
        assert_int_equal(calls[i].answer, i == BAD ? CVM_ANSWER_CONFLICT : CVM_ANSWER_OK);
        host->record_free(devices[i]);
        host->record_free(rows[i]);
        forget(&calls[i]);
    }
    assert_int_equal(get(cvm, "D20", &call), CVM_ANSWER_NOT_FOUND);
    forget(&call);
    instance_end(cvm);
}

/* A device that was removed and added anew is another one, to whoever has read it before. */
static void what_begins_anew_is_not_what_it_was(void)
{
    struct call before = {.is_done = 0}, after = {.is_done = 0};
    cvm_t *cvm = start_store();
    insert(cvm, "D");
    assert_int_equal(get(cvm, "D", &before), CVM_ANSWER_OK);
    assert_int_equal(remove_device(cvm, before.found[0], NULL, 0), CVM_ANSWER_OK);
    insert(cvm, "D");
    assert_int_equal(get(cvm, "D", &after), CVM_ANSWER_OK);
    assert_true(host->number(before.found[0], CVM_D_REVISION) !=
                host->number(after.found[0], CVM_D_REVISION));
    assert_int_equal(swap(cvm, before.found[0], before.found[0], NULL, 0), CVM_ANSWER_CONFLICT);
    assert_int_equal(remove_device(cvm, before.found[0], NULL, 0), CVM_ANSWER_CONFLICT);
    assert_int_equal(swap(cvm, after.found[0], after.found[0], NULL, 0), CVM_ANSWER_OK);
    forget(&before);
    forget(&after);
    instance_end(cvm);
}

static void certificates_outlive_their_device(void)
{
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    insert(cvm, "D");
    write_certificate(cvm, certificate("C1", "D", "current"));
    cvm_record_t *row = certificate("C1", "D", "retiring");
    const cvm_record_t *rows[] = {row};
    assert_int_equal(get(cvm, "D", &call), CVM_ANSWER_OK);
    assert_int_equal(remove_device(cvm, call.found[0], rows, 1), CVM_ANSWER_OK);
    assert_string_equal(state_of(cvm, "D", 0), "retiring");
    host->record_free(row);
    forget(&call);
    instance_end(cvm);
}

/* However many are revoked: what is not comes first. */
static void certificates_that_are_not_revoked_come_first(void)
{
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    write_certificate(cvm, certificate("OLD", "D", "current"));
    for (int i = 0; i < 70; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "R%02d", i);
        write_certificate(cvm, certificate(id, "D", i == 40 ? "retiring" : "revoked"));
    }
    get_certificates(cvm, "D", 10, &call);
    assert_int_equal(call.count, 10);
    assert_string_equal(host->text(call.found[0], CVM_C_CERTIFICATE_ID), "R40");
    assert_string_equal(host->text(call.found[1], CVM_C_CERTIFICATE_ID), "OLD");
    assert_string_equal(host->text(call.found[2], CVM_C_CERTIFICATE_ID), "R69");
    forget(&call);
    instance_end(cvm);
}

static void certificates_come_newest_first(void)
{
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    for (int i = 0; i < 5; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "%c", "MAZBY"[i]);
        write_certificate(cvm, certificate(id, "D", "pending"));
    }
    write_certificate(cvm, certificate("OTHER", "D2", "current"));
    get_certificates(cvm, "D", 10, &call);
    assert_int_equal(call.count, 5);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(*host->text(call.found[i], CVM_C_CERTIFICATE_ID), "YBZAM"[i]);
    get_certificates(cvm, "D", 2, &call);
    assert_int_equal(call.count, 2);
    forget(&call);
    instance_end(cvm);
}

/* --- Scans ------------------------------------------------------------------------------------ */

static void devices_come_in_pages(void)
{
    enum { DEVICES = 23, PAGE = 5 };
    struct call call = {.is_done = 0};
    uint32_t seen = 0;
    uint8_t times[DEVICES] = {0};
    cvm_t *cvm = start_store();
    for (int i = 0; i < DEVICES; i++) {
        char uid[16];
        (void)snprintf(uid, sizeof uid, "D%02d", (i * 7) % DEVICES);
        insert(cvm, uid);
    }
    do {
        scan(cvm, CVM_SCAN_DEVICES, call.cursor, 0, PAGE, &call);
        assert_true(call.count <= PAGE);
        for (uint32_t i = 0; i < call.count; i++)
            times[atoi(host->text(call.found[i], CVM_D_DEVICE_UID) + 1)]++;
        seen += call.count;
    } while (*call.cursor);
    assert_int_equal(seen, DEVICES);
    for (int i = 0; i < DEVICES; i++)
        assert_int_equal(times[i], 1);
    forget(&call);
    instance_end(cvm);
}

static cvm_record_t *retiring(const char *id, int64_t revoke_after_ms)
{
    cvm_record_t *record = certificate(id, "D", "retiring");
    (void)host->set_number(record, CVM_C_REVOKE_AFTER, revoke_after_ms);
    return record;
}

static void what_is_due_is_found_when_it_is_due(void)
{
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    write_certificate(cvm, retiring("C3", NOW + 1));
    write_certificate(cvm, retiring("C2", NOW));
    write_certificate(cvm, retiring("C1", NOW - DAY_MS));
    write_certificate(cvm, certificate("C4", "D", "current"));
    write_certificate(cvm, certificate("C5", "D", "revoked"));
    scan(cvm, CVM_SCAN_DUE, "", NOW, 10, &call);
    assert_int_equal(call.count, 2);
    scan(cvm, CVM_SCAN_DUE, "", NOW, 1, &call);
    assert_int_equal(call.count, 1);
    scan(cvm, CVM_SCAN_DUE, call.cursor, NOW, 5, &call);
    assert_int_equal(call.count, 1);
    assert_string_equal(call.cursor, "");
    scan(cvm, CVM_SCAN_DUE, "", NOW + 1, 10, &call);
    assert_int_equal(call.count, 3);
    scan(cvm, CVM_SCAN_DUE, "", 0, 10, &call);
    assert_int_equal(call.count, 0);
    forget(&call);
    instance_end(cvm);
}

/* A deadline that becomes "at once" while it is looked for. */
static void what_stays_due_is_not_missed(void)
{
    struct call call = {.is_done = 0};
    uint32_t found = 0;
    cvm_t *cvm = start_store();
    write_certificate(cvm, retiring("C1", NOW - 3));
    write_certificate(cvm, retiring("C2", NOW - 2));
    write_certificate(cvm, retiring("C3", 0));
    scan(cvm, CVM_SCAN_DUE, "", NOW, 1, &call);
    assert_int_equal(call.count, 1);
    write_certificate(cvm, retiring("C1", 0));
    write_certificate(cvm, retiring("C2", 0));
    while (*call.cursor) {
        scan(cvm, CVM_SCAN_DUE, call.cursor, NOW, 1, &call);
        for (uint32_t i = 0; i < call.count; i++)
            found |= 1u << (host->text(call.found[i], CVM_C_CERTIFICATE_ID)[1] - '0');
    }
    assert_int_equal(found & (1u << 2 | 1u << 3), 1u << 2 | 1u << 3);
    forget(&call);
    instance_end(cvm);
}

static void all_certificates_come_whole(void)
{
    struct call call = {.is_done = 0};
    uint32_t found = 0;
    cvm_t *cvm = start_store();
    write_certificate(cvm, certificate("C1", "D", "pending"));
    write_certificate(cvm, certificate("C2", "D", "revoked"));
    write_certificate(cvm, certificate("C3", "GONE", "current"));
    do {
        scan(cvm, CVM_SCAN_CERTIFICATES, found ? call.cursor : "", 0, 2, &call);
        for (uint32_t i = 0; i < call.count; i++, found++)
            assert_string_equal(host->text(call.found[i], CVM_C_PEM), "PEM");
    } while (*call.cursor);
    assert_int_equal(found, 3);
    forget(&call);
    instance_end(cvm);
}

static void insert_lease(
    cvm_t *cvm, const char *uid, const char *owner, int64_t until_ms, const char *certificate_id)
{
    cvm_record_t *record = device(uid);
    assert_false(host->set_text(record, CVM_D_LEASE_OWNER, owner) ||
                 host->set_number(record, CVM_D_LEASE_UNTIL, until_ms) ||
                 host->set_text(record, CVM_D_LEASE_CERTIFICATE_ID, certificate_id));
    assert_int_equal(swap(cvm, NULL, record, NULL, 0), CVM_ANSWER_OK);
    host->record_free(record);
}

static void leases_that_ended_are_found(void)
{
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    insert(cvm, "NONE");
    insert_lease(cvm, "ENDED", "owner", NOW, NULL);
    insert_lease(cvm, "HELD", "owner", NOW + 1, "C1");
    insert_lease(cvm, "LEFT", NULL, 0, "C2");
    scan(cvm, CVM_SCAN_ENDED_LEASES, "", NOW, 1, &call);
    assert_int_equal(call.count, 1);
    assert_string_equal(host->text(call.found[0], CVM_D_DEVICE_UID), "ENDED");
    scan(cvm, CVM_SCAN_ENDED_LEASES, call.cursor, NOW, 5, &call);
    assert_int_equal(call.count, 1);
    assert_string_equal(host->text(call.found[0], CVM_D_DEVICE_UID), "LEFT");
    forget(&call);
    instance_end(cvm);
}

static void what_a_crl_lists_comes_in_pages(void)
{
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    cvm_record_t *expired = certificate("C0", "D", "revoked");
    (void)host->set_number(expired, CVM_C_NOT_AFTER, NOW);
    write_certificate(cvm, expired);
    write_certificate(cvm, certificate("C3", "D", "revoked"));
    write_certificate(cvm, certificate("C1", "GONE", "revoked"));
    write_certificate(cvm, retiring("C2", NOW));
    write_certificate(cvm, retiring("C4", NOW + 1));
    write_certificate(cvm, certificate("C5", "D", "current"));
    write_certificate(cvm, certificate("C6", "D", "pending"));
    scan(cvm, CVM_SCAN_REVOKED, "", NOW, 2, &call);
    assert_int_equal(call.count, 2);
    assert_string_equal(host->text(call.found[0], CVM_C_CERTIFICATE_ID), "C1");
    assert_string_equal(host->text(call.found[1], CVM_C_CERTIFICATE_ID), "C2");
    scan(cvm, CVM_SCAN_REVOKED, call.cursor, NOW, 2, &call);
    assert_int_equal(call.count, 1);
    assert_string_equal(host->text(call.found[0], CVM_C_CERTIFICATE_ID), "C3");
    forget(&call);
    instance_end(cvm);
}

static void insert_with(cvm_t *cvm, const char *uid, int32_t is_enabled, int32_t is_suspended,
    const char *certificate_id)
{
    cvm_record_t *record = device(uid);
    assert_false(host->set_number(record, CVM_D_IS_ENABLED, is_enabled) ||
                 host->set_number(record, CVM_D_IS_SUSPENDED, is_suspended) ||
                 host->set_text(record, CVM_D_CERTIFICATE_ID, certificate_id));
    assert_int_equal(swap(cvm, NULL, record, NULL, 0), CVM_ANSWER_OK);
    host->record_free(record);
}

static void suspensions_that_are_due_are_found(void)
{
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    insert_with(cvm, "FINE", 1, 0, "C1");
    insert_with(cvm, "TO_SUSPEND", 0, 0, "C2");
    insert_with(cvm, "SUSPENDED", 0, 1, "C3");
    insert_with(cvm, "TO_RESUME", 1, 1, "C4");
    insert_with(cvm, "NO_CERTIFICATE", 0, 0, "");
    scan(cvm, CVM_SCAN_UNSUSPENDED, "", NOW, 10, &call);
    assert_int_equal(call.count, 2);
    for (uint32_t i = 0; i < 2; i++)
        assert_non_null(strstr(host->text(call.found[i], CVM_D_DEVICE_UID), "TO_"));

    write_certificate(cvm, certificate("C1", "FINE", "current"));
    write_certificate(cvm, certificate("C2", "TO_SUSPEND", "current"));
    write_certificate(cvm, certificate("C3", "SUSPENDED", "retiring"));
    write_certificate(cvm, certificate("C9", "SUSPENDED", "revoked"));
    write_certificate(cvm, certificate("C4", "TO_RESUME", "current"));
    scan(cvm, CVM_SCAN_SUSPENDED, "", NOW, 10, &call);
    assert_int_equal(call.count, 2);
    int sum = 0; /* in any order */
    for (uint32_t i = 0; i < 2; i++)
        sum += host->text(call.found[i], CVM_C_CERTIFICATE_ID)[1] - '0';
    assert_int_equal(sum, 2 + 3);
    sum = 0;
    scan(cvm, CVM_SCAN_SUSPENDED, "", NOW, 1, &call);
    sum += host->text(call.found[0], CVM_C_CERTIFICATE_ID)[1] - '0';
    scan(cvm, CVM_SCAN_SUSPENDED, call.cursor, NOW, 1, &call);
    sum += host->text(call.found[0], CVM_C_CERTIFICATE_ID)[1] - '0';
    assert_int_equal(sum, 2 + 3);
    scan(cvm, CVM_SCAN_SUSPENDED, "", NOW + 2 * DAY_MS, 10, &call); /* expired by then */
    assert_int_equal(call.count, 0);
    forget(&call);
    instance_end(cvm);
}

/* --- Import ----------------------------------------------------------------------------------- */

static uint8_t loaded[8];

static void load_all(cvm_t *cvm, const cvm_loading_t *loading)
{
    struct call call = {.is_done = 0};
    begin_load(cvm, &call, loading);
    assert_int_equal(wait_for(&call), CVM_ANSWER_OK);
}

static void load(cvm_t *cvm, cvm_record_t *const *devices, uint32_t count, uint32_t flags)
{
    load_all(cvm, &(cvm_loading_t){.size = sizeof(cvm_loading_t),
                      .flags = flags,
                      .devices = devices,
                      .count = count,
                      .rows = loaded});
}

/* Whole records go over, so that a store can be copied into another one. */
static void what_is_loaded_whole_is_kept_whole(void)
{
    struct call call = {.is_done = 0}, again = {.is_done = 0};
    cvm_t *cvm = start_store();
    cvm_record_t *devices[] = {device("WHOLE"), device("NEW")};
    cvm_record_t *rows[] = {certificate("C1", "WHOLE", "current"),
        certificate("C2", "GONE", "revoked"), certificate("THERE", "WHOLE", "retiring")};
    cvm_loading_t loading = {sizeof loading, 0, devices, LENGTH(devices), LENGTH(rows),
        (const cvm_record_t *const *)rows, loaded};
    write_certificate(cvm, certificate("THERE", "WHOLE", "revoked"));
    assert_false(host->set_number(devices[0], CVM_D_REVISION, 4711) ||
                 host->set_number(devices[0], CVM_D_IS_REGISTERED, 1) ||
                 host->set_text(devices[0], CVM_D_THING_NAME, "thing") ||
                 host->set_text(devices[0], CVM_D_CERTIFICATE_ID, "C1") ||
                 host->set_text(devices[0], CVM_D_LEASE_OWNER, "owner"));
    load_all(cvm, &loading);
    assert_int_equal(loaded[0], CVM_LOAD_INSERTED);
    assert_int_equal(get(cvm, "WHOLE", &call), CVM_ANSWER_OK);
    for (uint32_t i = 0; i < CVM_DEVICE_FIELD_COUNT; i++) {
        assert_string_equal(host->text(call.found[0], i), host->text(devices[0], i));
        assert_true(host->number(call.found[0], i) == host->number(devices[0], i));
    }
    get_certificates(cvm, "WHOLE", 10, &again);
    assert_int_equal(again.count, 2);
    assert_string_equal(host->text(again.found[0], CVM_C_PEM), "PEM");
    assert_string_equal(state_of(cvm, "WHOLE", 0), "current");
    assert_string_equal(state_of(cvm, "WHOLE", 1), "revoked"); /* it stays as it was */
    assert_string_equal(state_of(cvm, "GONE", 0), "revoked");
    assert_int_equal(get(cvm, "NEW", &again), CVM_ANSWER_OK);
    assert_true(host->number(again.found[0], CVM_D_REVISION) > 4711); /* random */
    /* The revision goes on from there. */
    cvm_record_t *wanted = host->record_copy(call.found[0]);
    assert_int_equal(swap(cvm, call.found[0], wanted, NULL, 0), CVM_ANSWER_OK);
    assert_int_equal(get(cvm, "WHOLE", &again), CVM_ANSWER_OK);
    assert_int_equal(host->number(again.found[0], CVM_D_REVISION), 4712);
    host->record_free(wanted);
    for (size_t i = 0; i < LENGTH(devices); i++)
        host->record_free(devices[i]);
    for (size_t i = 0; i < LENGTH(rows); i++)
        host->record_free(rows[i]);
    forget(&call);
    forget(&again);
    instance_end(cvm);
}

/* A row that breaks the store's own rules is the load's own affair: nothing of it is written, and
 * what others write at the same time is. */
static void a_load_that_breaks_a_rule_fails_alone(void)
{
    static const char KEY[] = "0000000000000000000000000000000000000000000000000000000000000042";
    struct call call = {.is_done = 0}, other = {.is_done = 0};
    cvm_t *cvm = start_store();
    cvm_record_t *first = device("FIRST");
    cvm_record_t *rows[] = {device("SECOND"), device("THIRD")}, *new_one = device("NEW");
    assert_false(host->set_text(first, CVM_D_PUBLIC_KEY_SHA256, KEY) ||
                 host->set_text(rows[1], CVM_D_PUBLIC_KEY_SHA256, KEY));
    assert_int_equal(swap(cvm, NULL, first, NULL, 0), CVM_ANSWER_OK);
    const cvm_loading_t loading = {
        .size = sizeof loading, .devices = rows, .count = LENGTH(rows), .rows = loaded};
    const cvm_change_t change = change_of(NULL, new_one, NULL, 0);
    begin_load(cvm, &call, &loading);
    begin_swap(cvm, &other, &change);
    assert_int_equal(wait_for(&call), CVM_ANSWER_CONFLICT);
    assert_int_equal(wait_for(&other), CVM_ANSWER_OK);
    assert_int_equal(loaded[0], CVM_LOAD_NONE);
    assert_int_equal(get(cvm, "SECOND", &call), CVM_ANSWER_NOT_FOUND);
    host->record_free(first);
    host->record_free(new_one);
    for (size_t i = 0; i < LENGTH(rows); i++)
        host->record_free(rows[i]);
    forget(&call);
    forget(&other);
    instance_end(cvm);
}

static void a_batch_says_what_became_of_each_row(void)
{
    struct call before = {.is_done = 0}, call = {.is_done = 0};
    cvm_t *cvm = start_store();
    insert(cvm, "SAME");
    insert(cvm, "OTHER");
    assert_int_equal(get(cvm, "OTHER", &before), CVM_ANSWER_OK);
    cvm_record_t *rows[] = {device("NEW"), device("SAME"), device("OTHER"), device("NEW")};
    assert_int_equal(host->set_text(rows[2], CVM_D_DEVICE_TOKEN, "another"), 0);
    assert_int_equal(host->set_number(rows[0], CVM_D_IS_ENABLED, 0), 0);

    load(cvm, rows, 4, 0);
    assert_int_equal(loaded[0], CVM_LOAD_INSERTED);
    assert_int_equal(loaded[1], CVM_LOAD_UNCHANGED);
    assert_int_equal(loaded[2], CVM_LOAD_CONFLICT);
    assert_int_equal(loaded[3], CVM_LOAD_UNCHANGED);
    assert_int_equal(get(cvm, "OTHER", &call), CVM_ANSWER_OK);
    assert_string_equal(host->text(call.found[0], CVM_D_DEVICE_TOKEN), "token");
    assert_int_equal(get(cvm, "NEW", &call), CVM_ANSWER_OK);
    assert_int_equal(host->number(call.found[0], CVM_D_IS_ENABLED), 0);

    load(cvm, rows, 4, CVM_LOAD_REPLACE_TOKENS);
    assert_int_equal(loaded[2], CVM_LOAD_REPLACED);
    assert_int_equal(get(cvm, "OTHER", &call), CVM_ANSWER_OK);
    assert_string_equal(host->text(call.found[0], CVM_D_DEVICE_TOKEN), "another");
    /* Who read the record before that must not write the old token back. */
    cvm_record_t *wanted = host->record_copy(before.found[0]);
    assert_int_equal(swap(cvm, before.found[0], wanted, NULL, 0), CVM_ANSWER_CONFLICT);
    host->record_free(wanted);
    load(cvm, rows, 0, 0);
    for (size_t i = 0; i < LENGTH(rows); i++)
        host->record_free(rows[i]);
    forget(&before);
    forget(&call);
    instance_end(cvm);
}

/* --- Meta ------------------------------------------------------------------------------------- */

static void small_values_are_written_by_their_versions(void)
{
    struct call call = {.is_done = 0};
    int64_t version = 0, none = 0, stale, wrong = 12345;
    cvm_t *cvm = start_store();
    char *large = malloc(CVM_LARGEST_VALUE + 1);
    assert_non_null(large);
    memset(large, 'x', CVM_LARGEST_VALUE);
    large[CVM_LARGEST_VALUE] = 0;
    assert_int_equal(meta_get(cvm, "a", &call), CVM_ANSWER_NOT_FOUND);
    assert_int_equal(meta_put(cvm, "a", &wrong, "1"), CVM_ANSWER_CONFLICT);
    assert_int_equal(meta_put(cvm, "a", &version, "1"), CVM_ANSWER_OK);
    assert_true(version != 0);
    stale = version;
    assert_int_equal(meta_put(cvm, "a", &none, "2"), CVM_ANSWER_CONFLICT);
    assert_int_equal(meta_put(cvm, "a", &wrong, "2"), CVM_ANSWER_CONFLICT);
    assert_int_equal(meta_get(cvm, "a", &call), CVM_ANSWER_OK);
    assert_string_equal(call.value, "1");
    assert_true(call.version == version);
    assert_int_equal(meta_put(cvm, "a", &version, "1"), CVM_ANSWER_OK); /* a write, all the same */
    assert_true(version != stale);
    assert_int_equal(meta_put(cvm, "a", &stale, "2"), CVM_ANSWER_CONFLICT);
    assert_int_equal(meta_put(cvm, "a", &version, large), CVM_ANSWER_OK);
    instance_end(cvm);
    cvm = start_store();
    assert_int_equal(meta_get(cvm, "a", &call), CVM_ANSWER_OK);
    assert_string_equal(call.value, large);
    assert_true(call.version == version);
    assert_int_equal(meta_get(cvm, "A", &call), CVM_ANSWER_NOT_FOUND);
    forget(&call);
    free(large);
    instance_end(cvm);
}

static void a_value_is_removed_by_its_version(void)
{
    struct call call = {.is_done = 0};
    int64_t version = 0, again = 0, stale;
    cvm_t *cvm = start_store();
    assert_int_equal(meta_put(cvm, "a", &version, "1"), CVM_ANSWER_OK);
    stale = version + 1;
    assert_int_equal(meta_put(cvm, "a", &stale, NULL), CVM_ANSWER_CONFLICT);
    stale = version;
    assert_int_equal(meta_put(cvm, "a", &version, NULL), CVM_ANSWER_OK);
    assert_int_equal(meta_get(cvm, "a", &call), CVM_ANSWER_NOT_FOUND);
    assert_int_equal(meta_put(cvm, "a", &again, "2"), CVM_ANSWER_OK);
    assert_int_equal(meta_put(cvm, "a", &stale, "3"), CVM_ANSWER_CONFLICT); /* it is another one */
    forget(&call);
    instance_end(cvm);
}

static void values_are_listed_by_their_names(void)
{
    static const char *const NAMES[] = {"test_b", "test_a", "test_c"};
    int64_t versions[LENGTH(NAMES)] = {0};
    struct call call = {.is_done = 0};
    uint32_t found = 0, pages = 0;
    cvm_t *cvm = start_store();
    for (size_t i = 0; i < LENGTH(NAMES); i++)
        assert_int_equal(meta_put(cvm, NAMES[i], &versions[i], "x"), CVM_ANSWER_OK);
    assert_int_equal(meta_put(cvm, NAMES[1], &versions[1], "y"), CVM_ANSWER_OK);
    do { /* there are values of others too */
        scan(cvm, CVM_SCAN_META, pages++ ? call.cursor : "", 0, 2, &call);
        for (uint32_t i = 0; i < call.count; i++)
            for (size_t k = 0; k < LENGTH(NAMES); k++)
                found += strcmp(host->text(call.found[i], CVM_V_NAME), NAMES[k]) == 0 &&
                         host->number(call.found[i], CVM_V_VERSION) == versions[k];
    } while (*call.cursor);
    assert_int_equal(found, LENGTH(NAMES));
    forget(&call);
    instance_end(cvm);
}

/* --- Finding ---------------------------------------------------------------------------------- */

static void a_device_is_found_by_what_it_has(void)
{
    static const char KEY[] = "0000000000000000000000000000000000000000000000000000000000000042";
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    cvm_record_t *record = device("D");
    assert_false(host->set_text(record, CVM_D_THING_NAME, "its thing") ||
                 host->set_text(record, CVM_D_PUBLIC_KEY_SHA256, KEY));
    insert(cvm, "OTHER");
    assert_int_equal(swap(cvm, NULL, record, NULL, 0), CVM_ANSWER_OK);
    cvm_record_t *with_key = certificate("C1", "D", "revoked");
    assert_int_equal(host->set_text(with_key, CVM_C_PUBLIC_KEY_SHA256, "its old key"), 0);
    write_certificate(cvm, with_key);
    write_certificate(cvm, certificate("C2", "GONE", "current"));
    static const struct {
        cvm_find_by_t by;
        const char *value, *uid;
    } CASES[] = {{CVM_FIND_CERTIFICATE, "C1", "D"}, {CVM_FIND_CERTIFICATE, "C2", "GONE"},
        {CVM_FIND_CERTIFICATE, "C3", NULL}, {CVM_FIND_CERTIFICATE, "", NULL},
        {CVM_FIND_THING, "its thing", "D"}, {CVM_FIND_THING, "Its thing", NULL},
        {CVM_FIND_THING, "", NULL}, {CVM_FIND_KEY, KEY, "D"}, {CVM_FIND_KEY, "its old key", "D"},
        {CVM_FIND_KEY, "C1", NULL}};
    for (size_t i = 0; i < LENGTH(CASES); i++) {
        assert_int_equal(find(cvm, CASES[i].by, CASES[i].value, &call),
            CASES[i].uid ? CVM_ANSWER_OK : CVM_ANSWER_NOT_FOUND);
        if (CASES[i].uid)
            assert_string_equal(call.value, CASES[i].uid);
    }
    assert_int_equal(find(cvm, 0, "D", &call), CVM_ANSWER_INVALID);
    assert_int_equal(find(cvm, 77, "D", &call), CVM_ANSWER_INVALID);
    host->record_free(record);
    forget(&call);
    instance_end(cvm);
}

/* --- At the same time ------------------------------------------------------------------------- */

static void of_many_swaps_one_wins(void)
{
    enum { MANY = 300 };
    static struct call calls[MANY];
    struct call call = {.is_done = 0};
    cvm_t *cvm = start_store();
    insert(cvm, "D");
    for (int round = 0; round < 3; round++) {
        uint32_t winners = 0;
        assert_int_equal(get(cvm, "D", &call), CVM_ANSWER_OK);
        cvm_record_t *wanted = host->record_copy(call.found[0]);
        const cvm_change_t change = change_of(call.found[0], wanted, NULL, 0);
        for (int i = 0; i < MANY; i++)
            begin_swap(cvm, &calls[i], &change);
        for (int i = 0; i < MANY; i++) {
            cvm_answer_t answer = wait_for(&calls[i]);
            assert_true(answer == CVM_ANSWER_OK || answer == CVM_ANSWER_CONFLICT);
            winners += answer == CVM_ANSWER_OK;
        }
        assert_int_equal(winners, 1);
        host->record_free(wanted);
    }
    forget(&call);
    instance_end(cvm);
}

/* What one instance wrote, another one reads, and conflicts with. */
static void two_instances_share_a_store(void)
{
    struct call one = {.is_done = 0}, other = {.is_done = 0};
    cvm_t *first = start_store(), *second = start_store();
    insert(first, "D");
    assert_int_equal(get(second, "D", &other), CVM_ANSWER_OK);
    assert_int_equal(get(first, "D", &one), CVM_ANSWER_OK);
    cvm_record_t *wanted = host->record_copy(one.found[0]);
    assert_int_equal(swap(second, other.found[0], wanted, NULL, 0), CVM_ANSWER_OK);
    assert_int_equal(swap(first, one.found[0], wanted, NULL, 0), CVM_ANSWER_CONFLICT);
    assert_int_equal(get(first, "D", &one), CVM_ANSWER_OK);
    assert_int_equal(swap(first, one.found[0], wanted, NULL, 0), CVM_ANSWER_OK);
    host->record_free(wanted);
    forget(&one);
    forget(&other);
    instance_end(first);
    assert_int_equal(
        get(second, "D", &other), CVM_ANSWER_OK); /* the first one's end took nothing */
    insert(second, "D2");
    forget(&other);
    instance_end(second);
}

/* What was begun before the end is done. */
static void closing_finishes_what_was_begun(void)
{
    enum { MANY = 100 };
    static struct call calls[MANY];
    cvm_record_t *rows[MANY];
    cvm_change_t changes[MANY];
    int is_stopped = 0;
    cvm_t *cvm = start_store();
    for (int i = 0; i < MANY; i++) {
        char uid[16];
        (void)snprintf(uid, sizeof uid, "D%d", i);
        rows[i] = device(uid);
        changes[i] = change_of(NULL, rows[i], NULL, 0);
        begin_swap(cvm, &calls[i], &changes[i]);
    }
    instance_stop(cvm, &is_stopped);
    turn_until(&is_stopped, 1);
    for (int i = 0; i < MANY; i++) {
        assert_true(calls[i].is_done);
        assert_int_equal(calls[i].answer, CVM_ANSWER_OK);
        host->record_free(rows[i]);
    }
    instance_free(cvm);
}

/* --- The suite -------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(void);
} SUITE[] = {
#define RUN(test)                                                                                  \
    {                                                                                              \
#test, test                                                                                \
    }
    RUN(an_unknown_device_is_not_found),
    RUN(every_field_is_kept),
    RUN(the_second_insert_conflicts),
    RUN(a_swap_wants_the_record_as_it_was_read),
    RUN(a_swap_of_a_device_that_is_gone_conflicts),
    RUN(a_public_key_belongs_to_one_device),
    RUN(a_key_is_its_devices_until_its_certificate_has_retired),
    RUN(a_retiring_key_is_free_once_its_device_is_gone),
    RUN(a_compromised_key_is_nobodys_until_its_certificate_has_ended),
    RUN(a_certificate_is_updated_by_its_id),
    RUN(nothing_is_ever_unrevoked),
    RUN(a_device_has_one_current_certificate),
    RUN(a_change_that_can_not_be_spoils_no_other),
    RUN(what_begins_anew_is_not_what_it_was),
    RUN(certificates_outlive_their_device),
    RUN(certificates_come_newest_first),
    RUN(certificates_that_are_not_revoked_come_first),
    RUN(leases_that_ended_are_found),
    RUN(devices_come_in_pages),
    RUN(what_is_due_is_found_when_it_is_due),
    RUN(what_stays_due_is_not_missed),
    RUN(all_certificates_come_whole),
    RUN(what_a_crl_lists_comes_in_pages),
    RUN(suspensions_that_are_due_are_found),
    RUN(what_is_loaded_whole_is_kept_whole),
    RUN(a_load_that_breaks_a_rule_fails_alone),
    RUN(a_batch_says_what_became_of_each_row),
    RUN(small_values_are_written_by_their_versions),
    RUN(a_value_is_removed_by_its_version),
    RUN(values_are_listed_by_their_names),
    RUN(a_device_is_found_by_what_it_has),
    RUN(of_many_swaps_one_wins),
    RUN(two_instances_share_a_store),
    RUN(closing_finishes_what_was_begun),
};

static void the_suite_holds_for_every_store(void **state)
{
    for (size_t store = 0; store < LENGTH(STORES); store++) {
        current_store = &STORES[store];
        for (size_t i = 0; i < LENGTH(SUITE); i++) {
            (void)current_store->settings(1);
            print_message("           %s: %s\n", STORES[store].name, SUITE[i].name);
            SUITE[i].run();
            (void)harness_tear_down(state);
            (void)harness_set_up(state);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            the_suite_holds_for_every_store, harness_set_up, harness_tear_down),
    };
    return cmocka_run_group_tests(tests, postgresql_start, postgresql_stop);
}
