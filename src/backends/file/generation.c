/*
 * A server gives its file a new generation each time that it starts: it empties the log, writes the
 * generation, empties the log again, and notes it. So the file itself says it, and not only the
 * log, whatever happens later: in its first sector, which no power cut tears. A crash between the
 * steps leaves the old generation or the next in the file, and both in the note. Never by device or
 * inode: those change at a reboot or a move, just when the log is needed.
 */
#include "generation.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/hex.h"

#define APPLICATION_ID_AT 68 /* in the file's header, big-endian: sqlite.org/fileformat2.html */
#define READ_TRIES        3
#define READ_WAIT_US      2000

/* --- Reading ---------------------------------------------------------------------------------- */

/* What the main file says of itself, whatever its log says. Read past SQLite's cache and its look
 * at the first page: a checkpoint that was cut short has left it telling of more pages than there
 * are. SQLITE_OK or the error. */
static int read_header(sqlite3 *sqlite, char generation[GENERATION_SIZE])
{
    sqlite3_file *file = NULL;
    uint8_t bytes[(GENERATION_SIZE - 1) / 2];
    int rc = sqlite3_file_control(sqlite, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (rc == SQLITE_OK && !file->pMethods)
        rc = SQLITE_CANTOPEN;
    if (rc == SQLITE_OK)
        rc = file->pMethods->xRead(file, bytes, sizeof bytes, APPLICATION_ID_AT);
    if (rc == SQLITE_OK)
        cvm_hex(bytes, sizeof bytes, generation);
    return rc;
}

/* By SQLite's own handle: one of ours would take the locks away that this process has on the file.
 */
static int read_generation(const char *path, char generation[GENERATION_SIZE])
{
    sqlite3 *sqlite = NULL;
    int rc = cvm_db_open_alone(&sqlite, path);
    if (rc == SQLITE_OK)
        rc = read_header(sqlite, generation);
    (void)sqlite3_close(sqlite);
    return rc;
}

/* What the note says of the file: what it is, and what a server is about to make it. */
struct note {
    char ours[GENERATION_SIZE], next[GENERATION_SIZE];
};

/* 1 if it says anything. */
static int read_note(const struct lock *lock, struct note *note)
{
    cvm_lock_read(lock, SLOT_GENERATION, note->ours, sizeof note->ours);
    cvm_lock_read(lock, SLOT_NEXT, note->next, sizeof note->next);
    return *note->ours || *note->next;
}

/* Is what the main file says in the note? 1 or 0; -1 if the file can't be read, or the note says
 * nothing. */
static int is_noted(const struct lock *lock, const char *path, char found[GENERATION_SIZE])
{
    struct note note;
    if (!read_note(lock, &note) || read_generation(path, found) != SQLITE_OK)
        return -1;
    return strcmp(found, note.ours) == 0 || (*note.next && strcmp(found, note.next) == 0);
}

static cvm_answer_t refuse_file(const char *path, char *error, size_t error_size)
{
    cvm_files_explain(error, error_size, path,
        "is not the file that its log belongs to (was a backup copied here?): put a backup in "
        "place with `cvm restore FILE`");
    return CVM_ANSWER_INVALID;
}

cvm_answer_t cvm_generation_check(
    const struct lock *lock, const char *path, char *error, size_t error_size)
{
    char found[GENERATION_SIZE];
    struct note note;
    if (!cvm_store_has_log(path) || !read_note(lock, &note) || is_noted(lock, path, found) == 1)
        return CVM_ANSWER_OK;
    return refuse_file(path, error, error_size);
}

/* Without a log it does not matter where the file comes from, but the next log is its. */
static void note_newcomer(const struct lock *lock, const char *path)
{
    char found[GENERATION_SIZE];
    if (cvm_store_has_log(path) || is_noted(lock, path, found) != 0)
        return;
    (void)cvm_lock_write(lock, SLOT_NEXT, "");
    (void)cvm_lock_write(lock, SLOT_GENERATION, found);
}

/* What it was about is over once there is a store: a log that is found later is not of that time.
 */
void cvm_generation_forget_restore(const struct lock *lock)
{
    char date[DATE_SIZE];
    cvm_lock_read(lock, SLOT_RESTORE, date, sizeof date);
    if (*date)
        (void)cvm_lock_write(lock, SLOT_RESTORE, "");
}

int cvm_generation_settle(const struct lock *lock, const char *path)
{
    char found[GENERATION_SIZE], next[GENERATION_SIZE];
    cvm_lock_read(lock, SLOT_NEXT, next, sizeof next);
    if (!*next || read_generation(path, found) != SQLITE_OK || strcmp(found, next) != 0)
        return 0;
    return cvm_lock_write(lock, SLOT_GENERATION, found);
}

cvm_answer_t cvm_generation_enter(
    struct lock *lock, const char *path, char *error, size_t error_size)
{
    int is_alone = 0;
    cvm_answer_t answer = cvm_lock_enter(lock, &is_alone, error, error_size);
    if (answer != CVM_ANSWER_OK)
        return answer;
    if (is_alone) {
        answer = cvm_generation_check(lock, path, error, error_size);
        note_newcomer(lock, path);
        cvm_generation_forget_restore(lock);
    } else if (cvm_generation_is_replaced(lock, path)) {
        answer = refuse_file(path, error, error_size);
    }
    cvm_lock_share(lock);
    return answer;
}

/* A server may be giving it the next one between both looks: it has to say so several times. */
int cvm_generation_is_replaced(const struct lock *lock, const char *path)
{
    char found[GENERATION_SIZE];
    for (int i = 0; i < READ_TRIES; i++) {
        if (is_noted(lock, path, found) != 0)
            return 0;
        cvm_sleep_us(READ_WAIT_US);
    }
    return 1;
}

/* --- Writing ---------------------------------------------------------------------------------- */

static int empty_log(struct db *writer)
{
    return sqlite3_wal_checkpoint_v2(writer->sqlite, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

/* SQLite takes the application id as a signed number. */
static int write_generation(sqlite3 *sqlite, const char *generation)
{
    char text[48];
    (void)snprintf(text, sizeof text, "PRAGMA application_id = %d",
        (int)(int32_t)strtoul(generation, NULL, 16));
    return sqlite3_exec(sqlite, text, NULL, NULL, NULL);
}

static int make_generation(char generation[GENERATION_SIZE])
{
    return cvm_random_hex((GENERATION_SIZE - 1) / 2, generation) ? SQLITE_NOMEM : SQLITE_OK;
}

static int note(const struct lock *lock, enum lock_slot slot, const char *generation)
{
    if (cvm_lock_write(lock, slot, generation) == 0)
        return SQLITE_OK;
    return errno == ENOSPC || errno == EDQUOT ? SQLITE_FULL : SQLITE_IOERR;
}

/* An earlier renewal may have ended half-way: what the file says now has to be in the note before
 * the next one goes there. */
static int note_present(const struct lock *lock, struct db *writer)
{
    char present[GENERATION_SIZE], noted[GENERATION_SIZE];
    int rc = read_header(writer->sqlite, present);
    cvm_lock_read(lock, SLOT_GENERATION, noted, sizeof noted);
    return rc == SQLITE_OK && strcmp(present, noted) != 0 ? note(lock, SLOT_GENERATION, present)
                                                          : rc;
}

int cvm_generation_renew(const struct lock *lock, struct db *writer)
{
    char generation[GENERATION_SIZE];
    int rc = empty_log(writer);
    if (rc == SQLITE_OK)
        rc = note_present(lock, writer);
    if (rc == SQLITE_OK)
        rc = make_generation(generation);
    if (rc == SQLITE_OK)
        rc = note(lock, SLOT_NEXT, generation);
    if (rc == SQLITE_OK)
        rc = write_generation(writer->sqlite, generation);
    if (rc == SQLITE_OK)
        rc = empty_log(writer);
    return rc == SQLITE_OK ? note(lock, SLOT_GENERATION, generation) : rc;
}

int cvm_generation_stamp(sqlite3 *copy, char generation[GENERATION_SIZE])
{
    int rc = make_generation(generation);
    return rc == SQLITE_OK ? write_generation(copy, generation) : rc;
}
