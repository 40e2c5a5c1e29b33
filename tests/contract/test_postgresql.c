/* The PostgreSQL store's own: what the server, the network and other servers do to it. */
#include "support/calls.h"
#include "support/fake_platform.h"
#include "support/harness.h"
#include "support/postgresql.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <libpq-fe.h>

#define DAY_MS INT64_C(86400000)
#define NOW    INT64_C(1800000000000)

static cvm_t *start(void)
{
    return instance_start(postgresql_settings(0));
}

/* The settings with one more. */
static const struct setting *with(const char *name, const char *value)
{
    static struct setting settings[10];
    const struct setting *usual = postgresql_settings(0);
    size_t count = 0;
    for (; usual[count].name; count++)
        settings[count] = usual[count];
    settings[count++] = (struct setting){name, value};
    settings[count] = (struct setting){NULL, NULL};
    return settings;
}

/* --- Beside the instances --------------------------------------------------------------------- */

static PGconn *beside;

/* The first value that a statement answers, in the store's schema; "" without one. Static. */
static const char *sql(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *sql(const char *format, ...)
{
    static char value[256];
    char text[1024];
    va_list arguments;
    if (beside && PQstatus(beside) != CONNECTION_OK) {
        PQfinish(beside);
        beside = NULL;
    }
    if (!beside)
        beside = PQconnectdb(postgresql_location());
    assert_int_equal(PQstatus(beside), CONNECTION_OK);
    (void)snprintf(text, sizeof text, "SET search_path = %s", postgresql_settings(0)[2].value);
    PQclear(PQexec(beside, text));
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    PGresult *result = PQexec(beside, text);
    if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
        fail_msg("%s: %s", text, PQerrorMessage(beside));
    (void)snprintf(value, sizeof value, "%s", PQntuples(result) ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return value;
}

static int64_t sql_count(const char *from)
{
    return strtoll(sql("SELECT count(*) FROM %s", from), NULL, 10);
}

static int32_t is_in_postgresql(const char *certificate_id)
{
    return strcmp(sql("SELECT EXISTS (SELECT FROM devices WHERE '%s' IN"
                      " (certificate_id, lease_certificate_id)) OR EXISTS (SELECT FROM certificates"
                      " WHERE certificate_id = '%s' AND state = 'retiring')",
                      certificate_id, certificate_id),
               "t") == 0;
}

static int set_up(void **state)
{
    (void)postgresql_settings(1);
    int failed = harness_set_up(state);
    fake_clear(is_in_postgresql);
    return failed;
}

static int tear_down(void **state)
{
    (void)sql("ALTER SYSTEM RESET ALL"); /* what a test has set, or left when it failed */
    (void)sql("SELECT pg_reload_conf()");
    int failed = harness_tear_down(state);
    PQfinish(beside);
    beside = NULL;
    return failed;
}

#define OURS "pg_stat_activity WHERE application_name = 'cvm' AND pid <> pg_backend_pid()"

/* Until the server sees that. */
static void wait_until(const char *condition)
{
    for (int i = 0; i < 3000; i++) {
        if (*sql("SELECT %s", condition) == 't')
            return;
        turn_for(10);
    }
    fail_msg("it did not come: %s", condition);
}

/* --- Records ---------------------------------------------------------------------------------- */

static cvm_record_t *device(const char *uid)
{
    cvm_record_t *record = host->record_new(CVM_RECORD_DEVICE);
    assert_false(!record || host->set_text(record, CVM_D_DEVICE_UID, uid) ||
                 host->set_text(record, CVM_D_DEVICE_TOKEN, "to\"ken\\,{}") ||
                 host->set_number(record, CVM_D_IS_ENABLED, 1));
    return record;
}

static cvm_record_t *certificate(
    const char *id, const char *uid, const char *state, const char *key)
{
    cvm_record_t *record = host->record_new(CVM_RECORD_CERTIFICATE);
    assert_false(!record || host->set_text(record, CVM_C_CERTIFICATE_ID, id) ||
                 host->set_text(record, CVM_C_DEVICE_UID, uid) ||
                 host->set_text(record, CVM_C_STATE, state) ||
                 host->set_text(record, CVM_C_PUBLIC_KEY_SHA256, key) ||
                 host->set_number(record, CVM_C_NOT_AFTER, NOW + DAY_MS));
    return record;
}

static void insert(cvm_t *cvm, const char *uid)
{
    cvm_record_t *record = device(uid);
    assert_int_equal(swap(cvm, NULL, record, NULL, 0), CVM_ANSWER_OK);
    host->record_free(record);
}

/* Reads a device once the server can be had again. */
static void get_at_last(cvm_t *cvm, const char *uid, struct call *call)
{
    cvm_answer_t answer;
    while ((answer = get(cvm, uid, call)) == CVM_ANSWER_UNAVAILABLE)
        turn_for(10);
    assert_int_equal(answer, CVM_ANSWER_OK);
}

static void write_certificate(cvm_t *cvm, cvm_record_t *record, const char *reason)
{
    const cvm_record_t *one = record;
    assert_int_equal(host->set_text(record, CVM_C_REASON, reason), 0);
    assert_int_equal(swap(cvm, NULL, NULL, &one, 1), CVM_ANSWER_OK);
    host->record_free(record);
}

/* --- Whose a key is --------------------------------------------------------------------------- */

static void a_compromised_key_is_nobodys_until_its_certificate_has_ended(void **state)
{
    struct call call = {.is_done = 0};
    (void)state;
    cvm_t *cvm = start();
    insert(cvm, "A");
    insert(cvm, "B");
    assert_int_equal(
        give_key(cvm, "A", "k1", NULL, certificate("C1", "A", "current", "k1")), CVM_ANSWER_OK);
    write_certificate(cvm, certificate("C1", "A", "revoked", "k1"), "keyCompromise");
    assert_int_equal(get(cvm, "A", &call), CVM_ANSWER_OK);
    assert_int_equal(remove_device(cvm, call.found[0], NULL, 0), CVM_ANSWER_OK);
    insert(cvm, "A");
    assert_int_equal(give_key(cvm, "B", "k1", NULL, certificate("C2", "B", "current", "k1")),
        CVM_ANSWER_KEY_IN_USE);
    assert_int_equal(give_key(cvm, "A", "k1", NULL, certificate("C2", "A", "current", "k1")),
        CVM_ANSWER_KEY_IN_USE);
    (void)sql("UPDATE keys SET blocked_until = 1");
    assert_int_equal(
        give_key(cvm, "B", "k1", NULL, certificate("C2", "B", "current", "k1")), CVM_ANSWER_OK);
    assert_int_equal(give_key(cvm, "A", "k1", NULL, certificate("C4", "A", "current", "k1")),
        CVM_ANSWER_KEY_IN_USE);
    forget(&call);
    instance_end(cvm);
}

/* The database is UTF-8: what is not can be nowhere in it, now or later. */
static void what_is_no_text_is_refused(void **state)
{
    (void)state;
    cvm_t *cvm = start();
    cvm_record_t *record = device("A");
    assert_int_equal(host->set_text(record, CVM_D_THING_NAME, "\xff\xfe"), 0);
    assert_int_equal(swap(cvm, NULL, record, NULL, 0), CVM_ANSWER_INVALID);
    assert_int_equal(host->set_text(record, CVM_D_THING_NAME, "\xc3\xa4"), 0);
    assert_int_equal(swap(cvm, NULL, record, NULL, 0), CVM_ANSWER_OK);
    host->record_free(record);
    instance_end(cvm);
}

/* --- Outcomes that nobody knows --------------------------------------------------------------- */

/* A network in between: it forwards, and cuts off when the server has answered to a commit. */
static struct {
    pthread_t thread;
    int listener;
    char folder[64];
    atomic_int must_end, cuts;   /* cuts: how many answers to lose yet */
    const char *_Atomic instead; /* of the next answer, once */
    size_t instead_length;
} wire;

static int connect_to(const char *folder)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/.s.PGSQL.5432", folder);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* 0 if the end has come. */
static int forward(int from, int to, int may_cut)
{
    char bytes[65536];
    ssize_t count = recv(from, bytes, sizeof bytes, 0);
    if (count <= 0)
        return 0;
    /* "C…UPDATE"/"SELECT" of a change, then ReadyForQuery: Z, length 5, I for idle. */
    int is_commit = may_cut && count > 6 && memcmp(bytes + count - 6, "Z\0\0\0\005I", 6) == 0;
    /* Taken before it is sent: who gets it looks at once. */
    const char *instead = is_commit ? atomic_exchange(&wire.instead, NULL) : NULL;
    if (instead)
        return send(to, instead, wire.instead_length, MSG_NOSIGNAL) > 0;
    static const char *const TAGS[] = {"SELECT 1", "INSERT 0 1", "UPDATE 1", "DELETE 1"};
    for (size_t i = 0; is_commit && wire.cuts > 0 && i < LENGTH(TAGS); i++)
        if (memmem(bytes, (size_t)count, TAGS[i], strlen(TAGS[i]) + 1)) {
            wire.cuts--;
            return 0;
        }
    return send(to, bytes, (size_t)count, MSG_NOSIGNAL) == count;
}

static void *run_wire(void *argument)
{
    struct pollfd ends[33] = {{.fd = wire.listener, .events = POLLIN}};
    int count = 1;
    (void)argument;
    while (!wire.must_end) {
        if (poll(ends, (nfds_t)count, 20) <= 0)
            continue;
        if (ends[0].revents && count + 2 <= 33) {
            ends[count++] =
                (struct pollfd){.fd = accept(wire.listener, NULL, NULL), .events = POLLIN};
            ends[count++] =
                (struct pollfd){.fd = connect_to(postgresql_folder()), .events = POLLIN};
        }
        for (int i = 1; i < count; i += 2) {
            int goes_on = (!ends[i].revents || forward(ends[i].fd, ends[i + 1].fd, 0)) &&
                          (!ends[i + 1].revents || forward(ends[i + 1].fd, ends[i].fd, 1));
            if (goes_on)
                continue;
            (void)close(ends[i].fd);
            (void)close(ends[i + 1].fd);
            ends[i] = ends[count - 2];
            ends[i + 1] = ends[count - 1];
            count -= 2;
            break; /* what was moved has not been looked at */
        }
    }
    for (int i = 0; i < count; i++)
        (void)close(ends[i].fd);
    return NULL;
}

static const struct setting *start_wire(void)
{
    static char location[160];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    wire.must_end = 0;
    wire.cuts = 0;
    (void)snprintf(wire.folder, sizeof wire.folder, "%s", harness_folder());
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/.s.PGSQL.5432", wire.folder);
    wire.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(wire.listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(wire.listener, 16), 0);
    assert_int_equal(pthread_create(&wire.thread, NULL, run_wire, NULL), 0);
    (void)snprintf(
        location, sizeof location, "postgresql:host=%s user=cvm dbname=postgres", wire.folder);
    return with("store", location);
}

static void stop_wire(void)
{
    wire.must_end = 1;
    (void)pthread_join(wire.thread, NULL);
}

/* It was written, and nobody was told: asked again, it recognises itself. */
static void what_was_written_unheard_is_recognised(void **state)
{
    struct call call = {.is_done = 0};
    int64_t version = 0;
    (void)state;
    cvm_t *cvm = instance_start(start_wire());
    cvm_record_t *new_one = device("A");
    wire.cuts = 1;
    assert_int_equal(swap(cvm, NULL, new_one, NULL, 0), CVM_ANSWER_OK);
    assert_int_equal(wire.cuts, 0);
    assert_int_equal(get(cvm, "A", &call), CVM_ANSWER_OK);
    int64_t revision = host->number(call.found[0], CVM_D_REVISION);
    cvm_record_t *row = certificate("C1", "A", "current", "k1");
    const cvm_record_t *rows[] = {row};
    wire.cuts = 2; /* the second try's as well */
    assert_int_equal(swap(cvm, call.found[0], call.found[0], rows, 1), CVM_ANSWER_OK);
    assert_int_equal(wire.cuts, 0);
    assert_int_equal(get(cvm, "A", &call), CVM_ANSWER_OK);
    assert_int_equal(host->number(call.found[0], CVM_D_REVISION), revision + 1);
    assert_int_equal(host->set_text(row, CVM_C_STATE, "revoked"), 0);
    wire.cuts = 1; /* certificates alone: it did write them */
    assert_int_equal(swap(cvm, NULL, NULL, rows, 1), CVM_ANSWER_OK);
    assert_int_equal(wire.cuts, 0);
    assert_int_equal(swap(cvm, NULL, NULL, rows, 1), CVM_ANSWER_NOT_FOUND);
    wire.cuts = 1;
    assert_int_equal(meta_put(cvm, "m", &version, "one"), CVM_ANSWER_OK);
    assert_int_equal(wire.cuts, 0);
    int64_t first = version;
    wire.cuts = 1;
    assert_int_equal(meta_put(cvm, "m", &version, "two"), CVM_ANSWER_OK);
    assert_int_equal(wire.cuts, 0);
    assert_true(version == first + 1);
    wire.cuts = 1;
    assert_int_equal(remove_device(cvm, call.found[0], NULL, 0), CVM_ANSWER_OK);
    assert_int_equal(wire.cuts, 0);
    assert_int_equal(get(cvm, "A", &call), CVM_ANSWER_NOT_FOUND);
    host->record_free(row);
    host->record_free(new_one);
    forget(&call);
    instance_end(cvm);
    stop_wire();
}

/* A server that answers what was not asked, or less, is left; what was sent is settled by another
 * connection. */
static void nonsense_is_no_answer(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
    } CASES[] = {{"Z\0\0\0\005I", 6}, {"I\0\0\0\004Z\0\0\0\005I", 11},
        {"2\0\0\0\004H\0\0\0\007\0\0\0Z\0\0\0\005I", 19},
        {"2\0\0\0\004n\0\0\0\004C\0\0\0\015SELECT 0\0Z\0\0\0\005I", 30},
        {"?\377\377\377\377garbage", 12}};
    (void)state;
    cvm_t *cvm = instance_start(start_wire());
    for (size_t i = 0; i < LENGTH(CASES); i++) {
        char uid[16];
        cvm_record_t *record;
        (void)snprintf(uid, sizeof uid, "D%zu", i);
        record = device(uid);
        wire.instead_length = CASES[i].length;
        wire.instead = CASES[i].bytes;
        cvm_answer_t answer = swap(cvm, NULL, record, NULL, 0);
        if (answer != CVM_ANSWER_OK && answer != CVM_ANSWER_UNKNOWN)
            fail_msg("case %zu: %d", i, answer);
        assert_null(wire.instead);
        host->record_free(record);
    }
    assert_int_equal(sql_count("devices"), LENGTH(CASES));
    instance_end(cvm);
    stop_wire();
}

/* What a trigger says is no business of the commit's. */
static void warnings_of_others_are_none_of_ours(void **state)
{
    (void)state;
    cvm_t *cvm = start();
    (void)sql("CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS"
              " $$ BEGIN RAISE WARNING 'look'; RETURN NEW; END $$");
    (void)sql("CREATE TRIGGER say BEFORE INSERT OR UPDATE ON devices"
              " FOR EACH ROW EXECUTE FUNCTION say()");
    insert(cvm, "A");
    assert_int_equal(lines_with("log", "PostgreSQL warned"), 0);
    instance_end(cvm);
}

/* Backends are ended all the while: each change that is said to be written is there, once, and of
 * none nobody knows. */
static void ended_backends_lose_nothing(void **state)
{
    enum { DEVICES = 40, ROUNDS = 12 };
    static struct call calls[DEVICES], found[DEVICES];
    static cvm_change_t changes[DEVICES];
    int64_t first[DEVICES] = {0};
    (void)state;
    cvm_t *cvm = start();
    for (int i = 0; i < DEVICES; i++) {
        char uid[16];
        (void)snprintf(uid, sizeof uid, "D%d", i);
        insert(cvm, uid);
    }
    for (int round = 0; round <= ROUNDS; round++) {
        for (int i = 0; i < DEVICES; i++) {
            char uid[16];
            (void)snprintf(uid, sizeof uid, "D%d", i);
            get_at_last(cvm, uid, &found[i]);
            if (!round)
                first[i] = host->number(found[i].found[0], CVM_D_REVISION);
            assert_true(host->number(found[i].found[0], CVM_D_REVISION) == first[i] + round);
        }
        if (round == ROUNDS)
            break;
        for (int i = 0; i < DEVICES; i++) {
            changes[i] = change_of(found[i].found[0], found[i].found[0], NULL, 0);
            begin_swap(cvm, &calls[i], &changes[i]);
        }
        turn();
        (void)sql("SELECT pg_terminate_backend(pid) FROM " OURS);
        for (int i = 0; i < DEVICES; i++)
            while (wait_for(&calls[i]) != CVM_ANSWER_OK) { /* refused: nothing was written */
                assert_int_equal(calls[i].answer, CVM_ANSWER_UNAVAILABLE);
                turn_for(10);
                begin_swap(cvm, &calls[i], &changes[i]);
            }
    }
    for (int i = 0; i < DEVICES; i++)
        forget(&found[i]);
    instance_end(cvm);
}

/* From now on each commit waits for a standby that does not come. */
static void begin_to_wait_for_nobody(void)
{
    (void)sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    (void)sql("SELECT pg_reload_conf()");
    wait_until("current_setting('synchronous_standby_names') = 'nobody'");
    (void)sql("SELECT pg_terminate_backend(pid) FROM " OURS); /* a new one has read it */
    wait_until("NOT EXISTS (SELECT FROM " OURS " AND backend_start < pg_conf_load_time())");
}

/* Who waits is cancelled, which is told as a success with a warning: it waits anew each time, and
 * is told OK only once nobody has to be waited for. */
static void cancel_who_waits(struct call *call)
{
    for (int i = 0; i < 3; i++) {
        wait_until("EXISTS (SELECT FROM " OURS " AND wait_event = 'SyncRep')");
        (void)sql("SELECT pg_cancel_backend(pid) FROM " OURS " AND wait_event = 'SyncRep'");
        turn_for(50);
        if (call->is_done)
            fail_msg("round %d: %d", i, call->answer);
    }
    (void)sql("ALTER SYSTEM RESET synchronous_standby_names");
    (void)sql("SELECT pg_reload_conf()");
    assert_int_equal(wait_for(call), CVM_ANSWER_OK);
}

static void a_commit_that_no_standby_has_is_none(void **state)
{
    struct call call = {.is_done = 0};
    (void)state;
    cvm_t *cvm = start();
    insert(cvm, "A");
    cvm_record_t *record = device("B");
    const cvm_change_t change = change_of(NULL, record, NULL, 0);
    begin_to_wait_for_nobody();
    begin_swap(cvm, &call, &change);
    cancel_who_waits(&call);
    assert_int_equal(sql_count("devices"), 2);
    host->record_free(record);
    forget(&call);
    instance_end(cvm);
}

/* Asked again it finds nothing to remove: without a write of its own it would wait for nobody. */
static void a_removal_that_no_standby_has_is_none(void **state)
{
    struct call call = {.is_done = 0}, found = {.is_done = 0};
    (void)state;
    cvm_t *cvm = start();
    insert(cvm, "A");
    assert_int_equal(get(cvm, "A", &found), CVM_ANSWER_OK);
    const cvm_change_t change = change_of(found.found[0], NULL, NULL, 0);
    begin_to_wait_for_nobody();
    begin_remove(cvm, &call, &change);
    cancel_who_waits(&call);
    assert_int_equal(sql_count("devices"), 0);
    forget(&found);
    forget(&call);
    instance_end(cvm);
}

/* All statements of the batch are answered, and then the commit says no, for one of them. */
static void a_commit_that_fails_is_none(void **state)
{
    static const char *const UIDS[] = {"A", "B", "C"};
    struct call calls[LENGTH(UIDS)] = {{.is_done = 0}}, found = {.is_done = 0};
    cvm_record_t *records[LENGTH(UIDS)];
    cvm_change_t changes[LENGTH(UIDS)];
    (void)state;
    cvm_t *cvm = start();
    (void)sql("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
              " $$ BEGIN RAISE EXCEPTION 'not B'; END $$");
    (void)sql(
        "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON devices DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW WHEN (NEW.device_uid = 'B') EXECUTE FUNCTION refuse()");
    for (size_t i = 0; i < LENGTH(UIDS); i++) {
        records[i] = device(UIDS[i]);
        changes[i] = change_of(NULL, records[i], NULL, 0);
        begin_swap(cvm, &calls[i], &changes[i]);
    }
    for (size_t i = 0; i < LENGTH(UIDS); i++) {
        assert_int_equal(wait_for(&calls[i]), i == 1 ? CVM_ANSWER_UNAVAILABLE : CVM_ANSWER_OK);
        assert_int_equal(get(cvm, UIDS[i], &found), i == 1 ? CVM_ANSWER_NOT_FOUND : CVM_ANSWER_OK);
        host->record_free(records[i]);
    }
    forget(&found);
    instance_end(cvm);
}

/* --- A server that is not what it should be --------------------------------------------------- */

static void a_restart_is_survived(void **state)
{
    struct call call = {.is_done = 0};
    (void)state;
    cvm_t *cvm = start();
    insert(cvm, "A");
    postgresql_restart();
    get_at_last(cvm, "A", &call);
    insert(cvm, "B");
    forget(&call);
    instance_end(cvm);
}

static void a_server_that_stopped_answers_is_given_up(void **state)
{
    struct call call = {.is_done = 0};
    (void)state;
    cvm_t *cvm = instance_start(with("postgresql.timeout", "1s"));
    insert(cvm, "A");
    postgresql_freeze(1);
    cvm_record_t *record = device("B");
    assert_int_equal(get(cvm, "A", &call), CVM_ANSWER_UNAVAILABLE);
    assert_int_equal(swap(cvm, NULL, record, NULL, 0), CVM_ANSWER_UNKNOWN);
    postgresql_freeze(0);
    get_at_last(cvm, "A", &call);
    host->record_free(record);
    forget(&call);
    instance_end(cvm);
}

static void who_writes_nothing_is_not_ready(void **state)
{
    struct finish ready = {0};
    (void)state;
    cvm_t *cvm = start();
    assert_null(cvm_check(cvm, finished, &ready));
    turn_until(&ready.calls, 1);
    insert(cvm, "A");
    (void)sql("ALTER DATABASE postgres SET default_transaction_read_only = on");
    struct call call = {.is_done = 0};
    struct finish not_ready = {0};
    /* By what it is told of a write, once: then it looks for another server. */
    (void)sql("SELECT pg_terminate_backend(pid) FROM " OURS);
    turn_for(100);
    assert_int_equal(get(cvm, "A", &call), CVM_ANSWER_UNAVAILABLE);
    assert_null(cvm_check(cvm, finished, &not_ready));
    turn_until(&not_ready.calls, 1);
    assert_string_equal(not_ready.name, "store_unavailable");
    (void)sql("SET default_transaction_read_only = off");
    (void)sql("ALTER DATABASE postgres RESET default_transaction_read_only");
    get_at_last(cvm, "A", &call);
    forget(&call);
    instance_end(cvm);
}

static void what_can_not_be_is_refused_at_the_start(void **state)
{
    char why[256], store[160];
    (void)state;
    static const struct {
        const char *more, *reason;
    } CASES[] = {{"user=cvm dbname=nowhere", "database \"nowhere\" does not exist"},
        {"user=nobody_here dbname=postgres", "role \"nobody_here\" does not exist"},
        {"user=cvm dbname=postgres port=1", "No such file"},
        {"user=cvm dbname=postgres sslmode=nonsense", "invalid sslmode"},
        {"user=cvm password=my secret", "expected a URI of libpq's"},
        {"user=cvm host=secret@localhost", "expected a URI of libpq's"},
        {"user=reader dbname=postgres", "the role needs SELECT, INSERT, UPDATE and DELETE"},
        {"user=cvm dbname=postgres options='-c synchronous_commit=off'",
            "synchronous_commit is off"}};
    instance_end(start());
    (void)sql("DROP ROLE IF EXISTS reader");
    (void)sql("CREATE ROLE reader LOGIN");
    (void)sql("GRANT pg_read_all_data TO reader");
    for (size_t i = 0; i < LENGTH(CASES); i++) {
        (void)snprintf(
            store, sizeof store, "postgresql:host=%s %s", postgresql_folder(), CASES[i].more);
        assert_null(instance_try(with("store", store), why, sizeof why));
        if (!strstr(why, CASES[i].reason) || strstr(why, "secret"))
            fail_msg("%s: %s", CASES[i].more, why);
    }
    (void)sql("DROP SCHEMA %s CASCADE", postgresql_settings(0)[2].value);
    assert_null(instance_try(with("store.create", "off"), why, sizeof why));
    assert_non_null(strstr(why, "has no store yet: `cvm store migrate`"));
    instance_end(start());
    instance_end(instance_start(with("store.create", "off")));
    (void)sql("INSERT INTO schema_version VALUES (98, 1)"); /* this one can work with it */
    instance_end(start());
    (void)sql("INSERT INTO schema_version VALUES (99, 99)");
    assert_null(instance_try(postgresql_settings(0), why, sizeof why));
    assert_non_null(strstr(why, "(version 99, this release has 1) was written by a newer release"));
    assert_null(instance_try(with("postgresql.schema", "a\"b"), why, sizeof why));
    assert_non_null(strstr(why, "expected a name of"));
}

static void two_begin_a_store_at_once(void **state)
{
    struct finish ends[4] = {{0}};
    cvm_t *cvms[4];
    char why[256];
    (void)state;
    for (size_t i = 0; i < LENGTH(cvms); i++) {
        cvms[i] = instance_new(harness_conf(postgresql_settings(0)), why, sizeof why);
        assert_non_null(cvms[i]);
        assert_null(cvm_start(cvms[i], finished, &ends[i]));
    }
    for (size_t i = 0; i < LENGTH(cvms); i++) {
        turn_until(&ends[i].calls, 1);
        assert_string_equal(ends[i].name, "ok");
    }
    insert(cvms[0], "A");
    for (size_t i = 0; i < LENGTH(cvms); i++)
        instance_end(cvms[i]);
    assert_int_equal(sql_count("devices"), 1);
}

/* --- Other servers ---------------------------------------------------------------------------- */

/* Each wants what the others lock, in any order, and none is told of it. */
static void crossed_locks_are_nobodys_affair(void **state)
{
    enum { SERVERS = 3, DEVICES = 24, ROUNDS = 8 };
    static struct call calls[SERVERS][DEVICES], found[DEVICES];
    cvm_t *cvms[SERVERS];
    (void)state;
    for (int s = 0; s < SERVERS; s++)
        cvms[s] = start();
    for (int i = 0; i < DEVICES; i++) {
        char uid[16];
        (void)snprintf(uid, sizeof uid, "D%02d", i);
        insert(cvms[0], uid);
    }
    for (int round = 0; round < ROUNDS; round++) {
        static cvm_record_t *wanted[SERVERS][DEVICES];
        static cvm_change_t changes[SERVERS][DEVICES];
        for (int i = 0; i < DEVICES; i++) {
            char uid[16];
            (void)snprintf(uid, sizeof uid, "D%02d", i);
            assert_int_equal(get(cvms[0], uid, &found[i]), CVM_ANSWER_OK);
        }
        for (int s = 0; s < SERVERS; s++)
            for (int i = 0; i < DEVICES; i++) {
                int at = (i * 7 + s * 11) % DEVICES;
                char key[32]; /* which crosses: the servers take them in different orders */
                (void)snprintf(key, sizeof key, "k%d-%d", round, (at * 5 + s * 3) % DEVICES);
                wanted[s][i] = host->record_copy(found[at].found[0]);
                assert_int_equal(host->set_text(wanted[s][i], CVM_D_PUBLIC_KEY_SHA256, key), 0);
                changes[s][i] = change_of(found[at].found[0], wanted[s][i], NULL, 0);
                begin_swap(cvms[s], &calls[s][i], &changes[s][i]);
            }
        int won = 0;
        for (int s = 0; s < SERVERS; s++)
            for (int i = 0; i < DEVICES; i++) {
                cvm_answer_t answer = wait_for(&calls[s][i]);
                assert_true(answer == CVM_ANSWER_OK || answer == CVM_ANSWER_CONFLICT ||
                            answer == CVM_ANSWER_KEY_IN_USE);
                won += answer == CVM_ANSWER_OK;
                host->record_free(wanted[s][i]);
            }
        assert_in_range(won, 1, DEVICES);
        assert_int_equal(sql_count("devices d WHERE public_key_sha256 IS NOT NULL AND NOT EXISTS"
                                   " (SELECT FROM keys k WHERE k.device_uid = d.device_uid AND"
                                   " k.public_key_sha256 = d.public_key_sha256)"),
            0);
        assert_int_equal(sql_count("keys k WHERE NOT EXISTS (SELECT FROM devices d WHERE"
                                   " k.device_uid = d.device_uid AND"
                                   " k.public_key_sha256 = d.public_key_sha256)"),
            0);
    }
    for (int i = 0; i < DEVICES; i++)
        forget(&found[i]);
    for (int s = 0; s < SERVERS; s++)
        instance_end(cvms[s]);
}

/* A device's whole life, with the flow and its fake platform. */
static void a_device_lives_on_it(void **state)
{
    struct outcome outcome = {0};
    struct view view;
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, "DEVICE001"), "ok");
    assert_string_equal(device_add(cvm, "DEVICE001"), "device_exists");
    assert_string_equal(register_now(cvm, "DEVICE001", NULL, &outcome), "ok");
    outcome_clear(&outcome);
    assert_string_equal(device_disable(cvm, "DEVICE001"), "ok");
    assert_string_equal(register_now(cvm, "DEVICE001", NULL, &outcome), "not_authorized");
    assert_string_equal(device_enable(cvm, "DEVICE001"), "ok");
    assert_string_equal(device_reset(cvm, "DEVICE001"), "ok");
    assert_string_equal(register_now(cvm, "DEVICE001", NULL, &outcome), "ok");
    outcome_clear(&outcome);
    assert_string_equal(reconcile(cvm), "ok");
    turn_until_idle(cvm);
    device_view(cvm, "DEVICE001", &view);
    assert_int_equal(view_count(&view, "current"), 1);
    assert_string_equal(device_revoke(cvm, "DEVICE001", "keyCompromise"), "ok");
    assert_string_equal(device_remove(cvm, "DEVICE001", 1), "ok");
    instance_end(cvm);
}

/* The device's own, which it has revoked for that, and comes with again once it was reset. */
static void a_compromised_key_is_not_even_its_devices(void **state)
{
    struct outcome outcome = {0};
    char *csr = make_csr();
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, "DEVICE001"), "ok");
    assert_string_equal(register_now(cvm, "DEVICE001", csr, &outcome), "ok");
    outcome_clear(&outcome);
    assert_string_equal(device_revoke(cvm, "DEVICE001", "keyCompromise"), "ok");
    assert_string_equal(reconcile(cvm), "ok");
    assert_string_equal(device_reset(cvm, "DEVICE001"), "ok");
    assert_string_equal(device_enable(cvm, "DEVICE001"), "ok");
    assert_string_equal(register_now(cvm, "DEVICE001", csr, &outcome), "invalid_csr");
    outcome_clear(&outcome);
    free(csr);
    instance_end(cvm);
}

/* Somebody holds what a connection looks at: neither a request nor a stop waits for that. */
static void who_is_held_up_while_connecting_gives_up(void **state)
{
    struct call call = {.is_done = 0};
    int is_stopped = 0;
    (void)state;
    cvm_t *cvm = instance_start(with("postgresql.timeout", "1s"));
    insert(cvm, "A");
    PGconn *holder = PQconnectdb(postgresql_location());
    char text[128];
    (void)snprintf(
        text, sizeof text, "BEGIN; LOCK TABLE %s.schema_version", postgresql_settings(0)[2].value);
    PQclear(PQexec(holder, text));
    (void)sql("SELECT pg_terminate_backend(pid) FROM " OURS);
    turn_for(50);
    assert_int_equal(get(cvm, "A", &call), CVM_ANSWER_UNAVAILABLE);
    instance_stop(cvm, &is_stopped);
    turn_until(&is_stopped, 1);
    PQfinish(holder);
    forget(&call);
    instance_free(cvm);
}

/* One connection too many for the server: those that there are do the work. */
static void a_connection_that_is_refused_refuses_no_work(void **state)
{
    enum { MANY = 200 };
    static struct call calls[MANY];
    static cvm_record_t *rows[MANY];
    static cvm_change_t changes[MANY];
    (void)state;
    (void)sql("DROP ROLE IF EXISTS few");
    (void)sql("CREATE ROLE few LOGIN CONNECTION LIMIT 2");
    (void)sql("GRANT CREATE ON DATABASE postgres TO few");
    char store[160];
    (void)snprintf(
        store, sizeof store, "postgresql:host=%s user=few dbname=postgres", postgresql_folder());
    cvm_t *cvm = instance_start(with("store", store));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) {
            char uid[24];
            (void)snprintf(uid, sizeof uid, "D%d-%d", round, i);
            rows[i] = device(uid);
            changes[i] = change_of(NULL, rows[i], NULL, 0);
            begin_swap(cvm, &calls[i], &changes[i]);
        }
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(wait_for(&calls[i]), CVM_ANSWER_OK);
            host->record_free(rows[i]);
        }
        turn_for(200);
    }
    instance_end(cvm);
}

/* Who has written and not committed yet is waited for: what comes after that is never written. */
static void freezing_waits_for_what_is_under_way(void **state)
{
    struct call freeze = {.is_done = 0};
    (void)state;
    cvm_t *cvm = instance_start(postgresql_settings(1));
    insert(cvm, "A");
    sql("BEGIN");
    sql("UPDATE devices SET thing_name = 'written' WHERE device_uid = 'A'");
    begin_meta_put(cvm, &freeze, CVM_FROZEN, 0, "now");
    turn_for(300);
    assert_false(freeze.is_done);
    sql("COMMIT");
    assert_int_equal(wait_for(&freeze), CVM_ANSWER_OK);
    forget(&freeze);
    instance_end(cvm);
}

/* How many rows the store's tables and indexes had to give. */
static int64_t rows_read(void)
{
    const char *schema = postgresql_settings(0)[2].value;
    return strtoll(sql("SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE schemaname"
                       " = '%s') + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE"
                       " schemaname = '%s')",
                       schema, schema),
        NULL, 10);
}

/* It begins with empty tables, of which nothing is known while it grows: how a statement goes must
 * not depend on that. */
static void a_store_that_grows_is_not_read_whole(void **state)
{
    enum { GROWN = 150, MOST_READ = 120 }; /* by each device, through all that comes to it */
    struct outcome outcome = {0};
    char uid[16];
    (void)state;
    (void)sql("ALTER SYSTEM SET autovacuum = off");
    (void)sql("SELECT pg_reload_conf()");
    fake_clear(NULL); /* which looks by itself */
    cvm_t *cvm = instance_start(postgresql_settings(0));
    int64_t before = rows_read();
    for (int i = 0; i < GROWN; i++) {
        (void)snprintf(uid, sizeof uid, "D%d", i);
        assert_string_equal(device_add(cvm, uid), "ok");
        assert_string_equal(register_now(cvm, uid, NULL, &outcome), "ok");
        outcome_clear(&outcome);
        assert_string_equal(device_reset(cvm, uid), "ok");
        assert_string_equal(register_now(cvm, uid, NULL, &outcome), "ok");
        outcome_clear(&outcome);
        if (i % 3 == 1)
            assert_string_equal(device_revoke(cvm, uid, "keyCompromise"), "ok");
        if (i % 3 == 2)
            assert_string_equal(device_remove(cvm, uid, 1), "ok");
    }
    instance_end(cvm); /* its connections have told what they read by then */
    wait_until("count(*) = 0 FROM " OURS);
    assert_in_range(rows_read() - before, GROWN, MOST_READ * GROWN);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_device_lives_on_it),
        TEST(a_compromised_key_is_nobodys_until_its_certificate_has_ended),
        TEST(what_is_no_text_is_refused),
        TEST(what_was_written_unheard_is_recognised),
        TEST(nonsense_is_no_answer),
        TEST(warnings_of_others_are_none_of_ours),
        TEST(ended_backends_lose_nothing),
        TEST(a_commit_that_no_standby_has_is_none),
        TEST(a_removal_that_no_standby_has_is_none),
        TEST(a_commit_that_fails_is_none),
        TEST(a_restart_is_survived),
        TEST(a_server_that_stopped_answers_is_given_up),
        TEST(who_writes_nothing_is_not_ready),
        TEST(what_can_not_be_is_refused_at_the_start),
        TEST(two_begin_a_store_at_once),
        TEST(crossed_locks_are_nobodys_affair),
        TEST(a_compromised_key_is_not_even_its_devices),
        TEST(who_is_held_up_while_connecting_gives_up),
        TEST(a_connection_that_is_refused_refuses_no_work),
        TEST(freezing_waits_for_what_is_under_way),
        TEST(a_store_that_grows_is_not_read_whole),
    };
#undef TEST
    return cmocka_run_group_tests(tests, postgresql_start, postgresql_stop);
}
