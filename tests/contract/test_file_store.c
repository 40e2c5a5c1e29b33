/* The file store's own: what else in the process opens and closes its files, copies of it, files
 * that are missing or damaged, readers that stay. */
#include "support/faults.h"
#include "support/harness.h"
#include "support/store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include "backends/file/copy.h"
#include "backends/file/db.h"
#include "backends/file/file.h"
#include "base/clock.h"

/* --- Locks that may not be had ---------------------------------------------------------------- */

static int has_no_ofd_locks;

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);

/* The program's, not SQLite's. */
int __wrap_fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (has_no_ofd_locks && command == F_OFD_SETLK) {
        errno = EINVAL;
        return -1;
    }
    return __real_fcntl(fd, command, argument);
}

/* --- A file system that replaces whatever is there ---------------------------------------------
 */

static int has_no_noreplace;

int __real_renameat2(
    int from_folder, const char *from, int to_folder, const char *to, unsigned flags);
int __wrap_renameat2(
    int from_folder, const char *from, int to_folder, const char *to, unsigned flags);

int __wrap_renameat2(
    int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    if (has_no_noreplace && flags) {
        errno = EINVAL;
        return -1;
    }
    return __real_renameat2(from_folder, from, to_folder, to, flags);
}

/* --- Another program at the worst moment ------------------------------------------------------ */

static sqlite3 *other_program; /* commits much at the next fsync of ours, once */

int __real_fsync(int fd);
int __wrap_fsync(int fd);

int __wrap_fsync(int fd)
{
    sqlite3 *other = other_program;
    other_program = NULL;
    if (other)
        assert_int_equal(
            sqlite3_exec(other,
                "INSERT OR REPLACE INTO meta (name, value) VALUES ('big', hex(zeroblob(5000000)))",
                NULL, NULL, NULL),
            SQLITE_OK);
    return __real_fsync(fd);
}

/* --- Waiting for another program -------------------------------------------------------------- */

static sqlite3 *writing_program; /* holds SQLite's lock until it was waited for so often */
static uint32_t sleeps, sleeps_until_it_ends;
static uint64_t slept_us;

void __real_cvm_sleep_us(uint32_t us);
void __wrap_cvm_sleep_us(uint32_t us);

/* In the thread of the store's writer, where nothing else sleeps while a test counts. */
void __wrap_cvm_sleep_us(uint32_t us)
{
    if (!writing_program) {
        __real_cvm_sleep_us(us);
        return;
    }
    slept_us += us;
    if (++sleeps == sleeps_until_it_ends)
        assert_int_equal(sqlite3_exec(writing_program, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
}

/* --- Somebody else's hands on the files ------------------------------------------------------- */

static const char *beside(const char *suffix)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "%s%s", harness_store(), suffix);
    return path;
}

/* A copy, a hash, another SQLite in the program: this process's locks on the file are gone. */
static void open_and_close(const char *suffix)
{
    int fd = open(beside(suffix), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
}

/* Another process opens the store and is, by what it sees, the last one to close it. */
static void visit_from_elsewhere(void)
{
    pid_t child = fork();
    int status = -1;
    if (child == 0) {
        (void)execlp("sqlite3", "sqlite3", harness_store(),
            "INSERT OR REPLACE INTO meta (name, value) VALUES ('visitor', '1')", (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static ino_t inode_of_log(void)
{
    struct stat status;
    return stat(beside("-wal"), &status) == 0 ? status.st_ino : 0;
}

/* What a kill -9 would leave now, opened by somebody. */
static int64_t devices_after_a_crash(void)
{
    static const char *const SUFFIXES[] = {"", "-wal"};
    char command[512];
    sqlite3 *copy = NULL;
    sqlite3_stmt *prepared = NULL;
    for (size_t i = 0; i < LENGTH(SUFFIXES); i++) {
        (void)snprintf(command, sizeof command, "cp %s%s %s.copy%s 2>/dev/null", harness_store(),
            SUFFIXES[i], harness_store(), SUFFIXES[i]);
        int rc = system(command); /* the log may be missing */
        assert_true(WIFEXITED(rc));
    }
    assert_int_equal(sqlite3_open(beside(".copy"), &copy), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(copy, "SELECT count(*) FROM devices", -1, &prepared, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(prepared), SQLITE_ROW);
    int64_t count = sqlite3_column_int64(prepared, 0);
    (void)sqlite3_finalize(prepared);
    (void)sqlite3_close(copy);
    return count;
}

static const char *add(cvm_t *cvm, int i)
{
    char uid[16];
    (void)snprintf(uid, sizeof uid, "D%d", i);
    return device_add(cvm, uid);
}

static void nobody_takes_the_log_away(void **state)
{
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    for (int round = 0; round < 3; round++) {
        assert_string_equal(add(cvm, 2 * round), "ok");
        ino_t log = inode_of_log();
        assert_true(log);
        open_and_close("");
        open_and_close("-shm");
        visit_from_elsewhere();
        assert_int_equal(inode_of_log(), log);
        assert_string_equal(add(cvm, 2 * round + 1), "ok");
        assert_int_equal(devices_after_a_crash(), 2 * round + 2);
    }
    instance_end(cvm);
    assert_int_equal(inode_of_log(), 0); /* our own end still takes it */
    assert_int_equal(sql_number("SELECT count(*) FROM devices"), 6);
}

/* Another instance's end, in the same process, takes no lock away either. */
static void an_instance_that_ends_leaves_the_others_their_locks(void **state)
{
    (void)state;
    cvm_t *first = instance_start(NULL), *second = instance_start(NULL);
    assert_string_equal(add(first, 1), "ok");
    ino_t log = inode_of_log();
    instance_end(second);
    visit_from_elsewhere();
    assert_int_equal(inode_of_log(), log);
    assert_string_equal(add(first, 2), "ok");
    assert_int_equal(devices_after_a_crash(), 2);
    instance_end(first);
}

/* Nor does one that can't be opened. */
static void an_instance_that_fails_leaves_the_others_their_locks(void **state)
{
    char why[256];
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    assert_string_equal(add(cvm, 1), "ok");
    ino_t log = inode_of_log();
    sql("PRAGMA user_version = 999");
    assert_null(instance_try(NULL, why, sizeof why));
    assert_non_null(strstr(why, "newer"));
    open_and_close("");
    open_and_close("-shm");
    visit_from_elsewhere();
    assert_int_equal(inode_of_log(), log);
    assert_string_equal(add(cvm, 2), "ok");
    assert_int_equal(devices_after_a_crash(), 2);
    instance_end(cvm);
}

/* A server gives its file a new generation while an import commits thousands of pages. */
static void a_start_beside_an_import_survives(void **state)
{
    static const struct setting SERVER[] = {{"role", "server"}, {NULL, NULL}};
    sqlite3 *import = NULL;
    (void)state;
    instance_end(instance_start(SERVER));
    assert_int_equal(sqlite3_open(harness_store(), &import), SQLITE_OK);
    (void)sqlite3_exec(import, "PRAGMA wal_autocheckpoint = 0", NULL, NULL, NULL);
    other_program = import;
    cvm_t *cvm = instance_start(SERVER);
    assert_null(other_program);
    assert_string_equal(add(cvm, 1), "ok");
    instance_end(cvm);
    (void)sqlite3_close(import);
}

/* Where there are no such locks, a loss is noticed before anything is acknowledged. */
static void a_log_that_was_taken_away_is_noticed(void **state)
{
    (void)state;
    has_no_ofd_locks = 1;
    cvm_t *cvm = instance_start(NULL);
    assert_string_equal(add(cvm, 1), "ok");
    open_and_close("");
    open_and_close("-shm");
    visit_from_elsewhere();
    assert_int_equal(inode_of_log(), 0);
    assert_string_equal(add(cvm, 2), "unknown");
    assert_int_equal(lines_with("log", "took the store's log away"), 1);
    assert_string_equal(add(cvm, 3), "ok"); /* on connections that were opened anew */
    assert_string_equal(add(cvm, 4), "ok");
    assert_true(devices_after_a_crash() >= 3);
    struct outcome outcome;
    assert_string_equal(register_now(cvm, "D4", NULL, &outcome), "ok");
    outcome_clear(&outcome);
    instance_end(cvm);
    has_no_ofd_locks = 0;
}

/* --- Copies ----------------------------------------------------------------------------------- */

static void a_program_backs_up_while_it_serves(void **state)
{
    struct finish backup = {.calls = 0}, again = {.calls = 0};
    char path[128], copy[128];
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    for (int i = 0; i < 10; i++)
        assert_string_equal(add(cvm, i), "ok");
    (void)snprintf(path, sizeof path, "%s/backup.db", harness_folder());
    assert_null(cvm_backup(cvm, path, finished, &backup));
    (void)memset(path, 'x', 4); /* it was copied */
    assert_string_equal(add(cvm, 10), "ok");
    turn_until(&backup.calls, 1);
    assert_string_equal(backup.name, "ok");
    (void)snprintf(copy, sizeof copy, "%s/backup.db", harness_folder());
    assert_null(cvm_backup(cvm, copy, finished, &again));
    turn_until(&again.calls, 1);
    assert_string_equal(again.name, "conflict");
    assert_non_null(strstr(again.text, "File exists"));
    ino_t log = inode_of_log();
    visit_from_elsewhere(); /* a backup takes none of our locks away */
    assert_int_equal(inode_of_log(), log);
    instance_end(cvm);
    sql("ATTACH '%s' AS copy", copy);
    assert_in_range(sql_number("SELECT count(*) FROM copy.devices"), 10, 11);
    assert_int_not_equal(
        sql_number("PRAGMA main.application_id"), sql_number("PRAGMA copy.application_id"));
}

static void told(void *argument, const char *line)
{
    (void)argument;
    fail_msg("damage: %s", line);
}

/* Who looks in holds what everybody who has the store open holds, and only meanwhile. */
static void a_look_leaves_no_lock_behind(void **state)
{
    char why[200] = "";
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    assert_string_equal(add(cvm, 1), "ok");
    assert_int_equal(cvm_file_check(harness_store(), told, NULL, why, sizeof why), CVM_ANSWER_OK);
    assert_int_equal(
        cvm_file_check("/nonexistent/devices.db", told, NULL, why, sizeof why), CVM_ANSWER_INVALID);
    assert_true(fcntl(0, F_GETFD) >= 0); /* nobody else's is closed */
    instance_end(cvm);
    assert_int_equal(inode_of_log(), 0);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static char first_of(const char *path)
{
    char first = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fread(&first, 1, 1, file), 1);
    (void)fclose(file);
    return first;
}

static void a_copy_replaces_nothing_on_any_file_system(void **state)
{
    char from[128], to[128];
    (void)state;
    (void)snprintf(from, sizeof from, "%s/from", harness_folder());
    (void)snprintf(to, sizeof to, "%s/to", harness_folder());
    for (has_no_noreplace = 0; has_no_noreplace <= 1; has_no_noreplace++) {
        write_file(from, "new");
        write_file(to, "there");
        assert_int_equal(cvm_copy_rename(from, to), -1);
        assert_int_equal(errno, EEXIST);
        assert_int_equal(first_of(to), 't');
        assert_int_equal(unlink(to), 0);
        assert_int_equal(cvm_copy_rename(from, to), 0);
        assert_int_equal(first_of(to), 'n');
        assert_int_not_equal(access(from, F_OK), 0);
    }
    has_no_noreplace = 0;
}

static void a_store_without_backups_says_so(void **state)
{
    static const struct setting FAULTY[] = {{"store", "faulty"}, {NULL, NULL}};
    struct finish backup = {.calls = 0};
    (void)state;
    cvm_t *cvm = instance_start(FAULTY);
    cvm_error_t *error = cvm_backup(cvm, "anywhere", finished, &backup);
    assert_string_equal(cvm_error_name(error), "conflict");
    cvm_error_free(error);
    instance_end(cvm);
}

/* --- What is not there ------------------------------------------------------------------------ */

static void a_server_makes_no_store_unasked(void **state)
{
    static const struct setting UNASKED[] = {
        {"store.create", "false"}, {"role", "server"}, {NULL, NULL}};
    char why[256];
    (void)state;
    assert_null(instance_try(UNASKED, why, sizeof why));
    assert_non_null(strstr(why, "--create-store"));
    assert_int_equal(access(harness_store(), F_OK), -1);
    assert_int_equal(access(beside(".lock"), F_OK), -1);
    FILE *empty = fopen(harness_store(), "w"); /* as a mount that is late may show it */
    assert_non_null(empty);
    (void)fclose(empty);
    assert_null(instance_try(UNASKED, why, sizeof why));
    assert_non_null(strstr(why, "--create-store"));
    struct stat status;
    assert_int_equal(stat(harness_store(), &status), 0);
    assert_int_equal(status.st_size, 0);
}

/* A database of something else is no store to make. */
static void nothing_is_made_in_another_programs_database(void **state)
{
    static const struct setting UNASKED[] = {
        {"store.create", "false"}, {"role", "server"}, {NULL, NULL}};
    char why[256];
    (void)state;
    FILE *file = fopen(harness_store(), "w");
    assert_non_null(file);
    (void)fclose(file);
    sql("CREATE TABLE other (a)");
    assert_null(instance_try(UNASKED, why, sizeof why));
    assert_int_equal(sql_number("SELECT count(*) FROM sqlite_schema"), 1);
}

/* While no device was ever seen, nobody is told that he is unknown. */
static void an_empty_store_refuses_nobody_for_good(void **state)
{
    struct outcome outcome;
    struct finish check = {.calls = 0};
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    assert_string_equal(register_now(cvm, "D1", NULL, &outcome), "store_unavailable");
    assert_true(outcome.retryable);
    outcome_clear(&outcome);
    assert_null(cvm_check(cvm, finished, &check));
    turn_until(&check.calls, 1);
    assert_string_equal(check.name, "store_unavailable");
    sql("INSERT INTO devices (device_uid, device_token, is_enabled, is_registered, is_revoked,"
        " is_suspended, revision) VALUES ('OTHER', 'x', 1, 0, 0, 0, 1)"); /* from elsewhere */
    assert_string_equal(register_now(cvm, "D1", NULL, &outcome), "not_authorized");
    outcome_clear(&outcome);
    sql("DELETE FROM devices"); /* it was seen, and is not asked for again */
    assert_string_equal(register_now(cvm, "D1", NULL, &outcome), "not_authorized");
    outcome_clear(&outcome);
    check.calls = 0;
    assert_null(cvm_check(cvm, finished, &check));
    turn_until(&check.calls, 1);
    assert_string_equal(check.name, "ok");
    instance_end(cvm);
}

/* --- What is damaged -------------------------------------------------------------------------- */

struct listing {
    int calls;
    char name[32], cursor[300];
};

static void listed(void *user_data, const cvm_error_t *error, const cvm_device_t *const *devices,
    uint32_t count, const char *cursor)
{
    struct listing *listing = user_data;
    (void)devices;
    (void)count;
    listing->calls++;
    (void)snprintf(listing->name, sizeof listing->name, "%s", cvm_error_name(error));
    (void)snprintf(listing->cursor, sizeof listing->cursor, "%s", cursor ? cursor : "");
}

/* The rows' order is not what it should be: a scan that follows it could go round for ever. */
static void a_scan_that_does_not_come_on_is_an_error(void **state)
{
    struct listing listing = {0, "", ""};
    (void)state;
    instance_end(instance_start(NULL));
    sql("PRAGMA writable_schema = 1");
    sql("UPDATE sqlite_schema SET sql = replace(sql, 'device_uid TEXT PRIMARY KEY',"
        " 'device_uid TEXT COLLATE NOCASE PRIMARY KEY') WHERE name = 'devices'");
    sql("PRAGMA writable_schema = RESET");
    sql("INSERT INTO devices (device_uid, is_enabled, is_registered, is_revoked, is_suspended,"
        " revision) VALUES ('a', 1, 0, 0, 0, 1), ('B', 1, 0, 0, 0, 1), ('c', 1, 0, 0, 0, 1)");
    cvm_t *cvm = instance_start(NULL);
    for (int page = 0; page < 5 && (!page || *listing.cursor); page++) {
        char cursor[300];
        (void)snprintf(cursor, sizeof cursor, "%s", listing.cursor);
        listing.calls = 0;
        assert_null(cvm_device_list(cvm, cursor, 1, listed, &listing));
        turn_until(&listing.calls, 1);
    }
    assert_string_equal(listing.name, "store_unavailable");
    instance_end(cvm);
}

/* --- Schemas of before ------------------------------------------------------------------------ */

/* The file as an older release left it. */
static void make_older(int version)
{
    sql("ALTER TABLE meta DROP COLUMN version");
    sql("DROP INDEX devices_thing");
    sql("DROP INDEX certificates_public_key");
    sql("PRAGMA user_version = %d", version);
}

/* A store of an earlier build, in which a device may have two current certificates. */
static void certificates_that_are_no_devices_retire_at_the_migration(void **state)
{
    (void)state;
    instance_end(instance_start(NULL));
    sql("DROP INDEX certificates_current");
    sql("DROP INDEX certificates_due");
    sql("CREATE INDEX certificates_due ON certificates(certificate_id) WHERE state = 'retiring'");
    sql("INSERT INTO devices (device_uid, is_enabled, is_registered, is_revoked, is_suspended,"
        " revision, certificate_id) VALUES ('D', 1, 1, 0, 0, 1, 'OURS')");
    sql("INSERT INTO certificates (certificate_id, device_uid, state, not_after) VALUES"
        " ('OURS', 'D', 'current', 4000000000000), ('STRAY', 'D', 'current', 4000000000000),"
        " ('GONE', 'REMOVED', 'current', 4000000000000)");
    make_older(1);
    static const struct setting SERVER[] = {{"role", "server"}, {NULL, NULL}};
    instance_end(instance_start(SERVER));
    assert_int_equal(sql_number("PRAGMA user_version"), 3);
    assert_int_equal(sql_number("SELECT count(*) FROM certificates WHERE state = 'retiring'"
                                " AND reason = 'superseded' AND revoke_after = 0"),
        2);
    assert_int_equal(sql_number("SELECT count(*) FROM certificates WHERE certificate_id = 'OURS'"
                                " AND state = 'current'"),
        1);
    assert_int_equal(lines_with("log", "2 certificates were current"), 1);
    instance_end(instance_start(SERVER));
    assert_int_equal(lines_with("log", "certificates were current"), 1);
}

/* What was a text alone has a version, and is written by it. */
static void values_get_versions_at_the_migration(void **state)
{
    static const struct setting SERVER[] = {{"role", "server"}, {NULL, NULL}};
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    assert_string_equal(add(cvm, 1), "ok");
    instance_end(cvm);
    sql("INSERT INTO meta (name, value) VALUES ('old', 'its text')");
    make_older(2);
    instance_end(instance_start(SERVER));
    assert_int_equal(sql_number("PRAGMA user_version"), 3);
    assert_int_equal(
        sql_number("SELECT version FROM meta WHERE name = 'old' AND value = 'its text'"), 1);
    assert_int_equal(sql_number("SELECT count(*) FROM devices"), 1);
}

/* --- Readers that stay ------------------------------------------------------------------------ */

/* Who reads for long holds up no write, however long the log has become; and it begins anew when he
 * has gone. */
static void a_long_reader_holds_up_nobody(void **state)
{
    sqlite3 *reader = NULL;
    struct stat status;
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    assert_int_equal(sqlite3_open(harness_store(), &reader), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM devices", NULL, NULL, NULL), SQLITE_OK);
    static char value[250001];
    memset(value, 'v', sizeof value - 1);
    uint64_t longest_ms = 0;
    for (int i = 0; i < 400; i++) { /* 100 MB */
        uint64_t from_ms = cvm_monotonic_ms();
        sql_text("INSERT OR REPLACE INTO meta (name, value) VALUES ('big', ?1)", value);
        assert_string_equal(add(cvm, i), "ok");
        uint64_t took_ms = cvm_monotonic_ms() - from_ms;
        longest_ms = took_ms > longest_ms ? took_ms : longest_ms;
    }
    assert_true(longest_ms < 9000); /* the busy handler's ten seconds */
    assert_int_equal(stat(beside("-wal"), &status), 0);
    assert_true(status.st_size > 80000000);
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
    for (int i = 0; i < 100; i++) {
        sql_text("INSERT OR REPLACE INTO meta (name, value) VALUES ('big', ?1)", value);
        assert_string_equal(add(cvm, 1000 + i), "ok");
    }
    assert_int_equal(stat(beside("-wal"), &status), 0);
    assert_true(status.st_size < 80000000);
    instance_end(cvm);
}

/* Begins to write beside the instances, until somebody slept so often to wait for it. */
static void write_beside(uint32_t until_sleeps)
{
    sqlite3 *program;
    assert_int_equal(sqlite3_open(harness_store(), &program), SQLITE_OK);
    assert_int_equal(sqlite3_exec(program, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    sleeps = 0;
    slept_us = 0;
    sleeps_until_it_ends = until_sleeps;
    writing_program = program;
}

static void end_beside(void)
{
    sqlite3 *program = writing_program;
    writing_program = NULL;
    assert_int_equal(sqlite3_close(program), SQLITE_OK);
}

/* It looks often whether the other program is done, and gives up after ten seconds of that. */
static void who_waits_for_another_program_looks_often(void **state)
{
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    write_beside(7);
    assert_string_equal(add(cvm, 1), "ok");
    assert_int_equal(sleeps, 7);
    assert_int_equal(slept_us, 7 * 500);
    end_beside();
    write_beside(UINT32_MAX);
    assert_string_equal(add(cvm, 2), "store_unavailable");
    assert_in_range(slept_us, 10000000, 10001000);
    end_beside();
    assert_string_equal(add(cvm, 2), "ok");
    instance_end(cvm);
}

/* --- What is refused, and to whom
 * --------------------------------------------------------------------- */

static void a_second_server_is_refused(void **state)
{
    static const struct setting LOCK[] = {{"role", "server"}, {NULL, NULL}};
    char why[256];
    (void)state;
    cvm_t *server = instance_start(LOCK);
    assert_null(instance_try(LOCK, why, sizeof why));
    assert_non_null(strstr(why, "another server"));
    cvm_t *command = instance_start(NULL); /* a command beside it is welcome */
    instance_end(command);
    assert_null(instance_try(LOCK, why, sizeof why)); /* and takes nothing away */
    instance_end(server);
    instance_end(instance_start(LOCK));
}

static void a_newer_schema_is_refused_and_left_alone(void **state)
{
    char why[256];
    (void)state;
    instance_end(instance_start(NULL));
    sql("PRAGMA user_version = 999");
    assert_null(instance_try(NULL, why, sizeof why));
    assert_non_null(strstr(why, "newer"));
    assert_int_equal(sql_number("PRAGMA user_version"), 999);
}

static void what_is_no_store_is_refused(void **state)
{
    char why[256];
    (void)state;
    FILE *file = fopen(harness_store(), "w");
    assert_non_null(file);
    for (int i = 0; i < 5000; i++)
        (void)fputc('x', file);
    (void)fclose(file);
    assert_null(instance_try(NULL, why, sizeof why));
    assert_non_null(strstr(why, "store"));
}

static void nobody_else_may_read_the_file(void **state)
{
    struct stat status;
    (void)state;
    instance_end(instance_start(NULL));
    assert_int_equal(stat(harness_store(), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

/* In a process without the rights of root. Exits with 0 if the store was refused by its path. */
static void try_without_rights(void)
{
    static const struct setting NO_LOGS[] = {{"log.file", ""}, {"audit.file", ""}, {NULL, NULL}};
    char why[256] = "";
    if (geteuid() == 0 && setuid(65534))
        _exit(2);
    cvm_t *cvm = instance_try(NO_LOGS, why, sizeof why);
    _exit(cvm || !strstr(why, "devices.db") ? 1 : 0);
}

static void a_folder_that_can_not_be_written_is_named(void **state)
{
    int status = -1;
    (void)state;
    assert_int_equal(chmod(harness_folder(), 0555), 0);
    pid_t child = fork();
    if (child == 0)
        try_without_rights();
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(chmod(harness_folder(), 0700), 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* However many certificates there are, a scan walks through those alone that may be answered: it is
 * made every second. */
static void a_scan_uses_its_own_index(void **state)
{
    static const struct {
        enum statement statement;
        const char *index;
    } SCANS[] = {
        {SCAN_DUE,
            "INDEX certificates_due ((revoke_after,certificate_id)>(?,?) AND revoke_after<?)"},
        {SCAN_REVOKED, "INDEX certificates_revoked "}, {SCAN_SUSPENDED, "INDEX devices_disabled "},
        {SCAN_SUSPENDED, "INDEX certificates_device "},
        {SCAN_UNSUSPENDED, "INDEX devices_unsuspended "},
        {SCAN_ENDED_LEASES, "INDEX devices_leased "}, {SCAN_DEVICES, "PRIMARY KEY "},
        {GET_CERTIFICATES, "INDEX certificates_device "}};
    char text[4096], plan[1024];
    sqlite3 *database;
    sqlite3_stmt *prepared;
    (void)state;
    instance_end(instance_start(NULL));
    assert_int_equal(sqlite3_open(harness_store(), &database), SQLITE_OK);
    for (size_t i = 0; i < LENGTH(SCANS); i++) {
        size_t length = 0;
        (void)snprintf(
            text, sizeof text, "EXPLAIN QUERY PLAN %s", cvm_schema_statement(SCANS[i].statement));
        assert_int_equal(sqlite3_prepare_v2(database, text, -1, &prepared, NULL), SQLITE_OK);
        while (sqlite3_step(prepared) == SQLITE_ROW)
            length += (size_t)snprintf(plan + length, sizeof plan - length, "%s\n",
                (const char *)sqlite3_column_text(prepared, 3));
        (void)sqlite3_finalize(prepared);
        if (!strstr(plan, SCANS[i].index) || strstr(plan, "SCAN") ||
            (SCANS[i].statement == SCAN_DUE && strstr(plan, "B-TREE")))
            fail_msg("%s is planned as\n%s", text, plan);
    }
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(nobody_takes_the_log_away),
        TEST(an_instance_that_ends_leaves_the_others_their_locks),
        TEST(an_instance_that_fails_leaves_the_others_their_locks),
        TEST(a_start_beside_an_import_survives),
        TEST(a_log_that_was_taken_away_is_noticed),
        TEST(a_program_backs_up_while_it_serves),
        TEST(a_look_leaves_no_lock_behind),
        TEST(a_copy_replaces_nothing_on_any_file_system),
        TEST(a_store_without_backups_says_so),
        TEST(a_server_makes_no_store_unasked),
        TEST(nothing_is_made_in_another_programs_database),
        TEST(an_empty_store_refuses_nobody_for_good),
        TEST(a_scan_that_does_not_come_on_is_an_error),
        TEST(certificates_that_are_no_devices_retire_at_the_migration),
        TEST(values_get_versions_at_the_migration),
        TEST(a_long_reader_holds_up_nobody),
        TEST(who_waits_for_another_program_looks_often),
        TEST(a_second_server_is_refused),
        TEST(a_newer_schema_is_refused_and_left_alone),
        TEST(what_is_no_store_is_refused),
        TEST(nobody_else_may_read_the_file),
        TEST(a_folder_that_can_not_be_written_is_named),
        TEST(a_scan_uses_its_own_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
