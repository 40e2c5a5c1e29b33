/* Reads the uids, all of which must be some before anything is changed; changes the devices, many
 * at a time; then has what is due carried out for all of them together. */
#include "device_many.h"
#include "interrupt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "local/local.h"
#include "progress.h"

#define MOST_IN_FLIGHT 1024
#define MOST_NOTES     20
#define REDRAW_MS      100

struct uids {
    char **list;
    uint32_t count, room;
};

enum came_to { CHANGED, UNKNOWN_DEVICE, REFUSED, FAILED, CAME_TO_COUNT };

struct changing {
    const struct device_many *many;
    cvm_t *cvm;
    struct uids uids;
    enum came_to *came_to; /* of each uid */
    int32_t is_recorded;   /* what is left is to carry it out */
    int32_t is_due;        /* not all of it could be */
    uint32_t next, in_flight;
    uint32_t counts[CAME_TO_COUNT];
    int32_t code; /* of what failed, or was refused */
    int32_t has_moved, is_done;
    uint32_t left; /* that Ctrl-C left alone */
    struct progress progress;
    struct notes notes;
};

/* One that is being changed. */
struct item {
    struct changing *changing;
    uint32_t index;
};

/* --- The uids --------------------------------------------------------------------------------- */

static int32_t uids_add(struct uids *uids, const char *uid)
{
    if (uids->count == uids->room) {
        uint32_t room = uids->room ? 2 * uids->room : 256;
        char **more = realloc(uids->list, room * sizeof *more);
        if (!more)
            return cli_fail(EX_OSERR, "out of memory");
        uids->list = more;
        uids->room = room;
    }
    uids->list[uids->count] = strdup(uid);
    return uids->list[uids->count++] ? 0 : cli_fail(EX_OSERR, "out of memory");
}

static void uids_free(struct uids *uids)
{
    while (uids->count)
        free(uids->list[--uids->count]);
    free(uids->list);
}

/* Cuts blanks, and the end of the line in any form, off both ends. */
static char *trim(char *line)
{
    line += strspn(line, " \t\xef\xbb\xbf"); /* a byte order mark is at the first line's */
    size_t length = strlen(line);
    while (length && strchr(" \t\r\n", line[length - 1]))
        line[--length] = 0;
    return line;
}

static int32_t take_line(struct changing *changing, char *line, size_t length, uint32_t number)
{
    if (strlen(line) < length)
        return cli_fail(EX_DATAERR, "%s:%" PRIu32 ": holds a NUL; nothing is changed",
            changing->many->from, number);
    const char *uid = trim(line);
    cvm_error_t *error = *uid ? cvm_check_uid(changing->cvm, uid) : NULL;
    if (!error)
        return *uid ? uids_add(&changing->uids, uid) : 0;
    (void)cli_fail(0, "%s:%" PRIu32 ": '%.60s': %s; nothing is changed", changing->many->from,
        number, uid, cvm_error_text(error));
    cvm_error_free(error);
    return EX_DATAERR;
}

static int32_t read_file(struct changing *changing)
{
    const char *from = changing->many->from;
    int32_t is_input = strcmp(from, "-") == 0, code = 0;
    FILE *file = is_input ? stdin : fopen(from, "re");
    char *line = NULL;
    size_t size = 0;
    if (!file)
        return cli_fail(EX_NOINPUT, "%s: %s", from, strerror(errno));
    ssize_t length = 0;
    for (uint32_t number = 1; !code && (length = getline(&line, &size, file)) >= 0; number++)
        code = take_line(changing, line, (size_t)length, number);
    if (!code && ferror(file))
        code = cli_fail(EX_NOINPUT, "%s: %s", from, strerror(errno));
    free(line);
    if (!is_input)
        (void)fclose(file);
    if (!code && !changing->uids.count)
        code = cli_fail(EX_DATAERR, "%s: holds no device_uid", from);
    return code;
}

static int32_t read_operands(struct changing *changing)
{
    int32_t code = 0;
    for (uint32_t i = 0; !code && i < changing->many->operands->count; i++) {
        const char *uid = changing->many->operands->values[i];
        code = cli_error(uid, cvm_check_uid(changing->cvm, uid));
        if (!code)
            code = uids_add(&changing->uids, uid);
    }
    return code;
}

static int compare_uids(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In order, each once: one that is named twice is changed once. */
static void sort_uids(struct uids *uids)
{
    uint32_t kept = 0;
    qsort(uids->list, uids->count, sizeof uids->list[0], compare_uids);
    for (uint32_t i = 0; i < uids->count; i++) {
        if (kept && strcmp(uids->list[kept - 1], uids->list[i]) == 0)
            free(uids->list[i]);
        else
            uids->list[kept++] = uids->list[i];
    }
    uids->count = kept;
}

/* --- Changing --------------------------------------------------------------------------------- */

static enum came_to judge(const cvm_error_t *error)
{
    if (!error)
        return CHANGED;
    if (cvm_error_code(error) == CVM_CODE_NOT_FOUND)
        return UNKNOWN_DEVICE;
    return cvm_error_code(error) == CVM_CODE_CONFLICT ? REFUSED : FAILED;
}

static void note_progress(struct changing *changing)
{
    changing->has_moved = 1;
    changing->is_done = !changing->in_flight && changing->next == changing->uids.count;
}

static void note_end(struct item *item, enum came_to came_to)
{
    struct changing *changing = item->changing;
    changing->came_to[item->index] = came_to;
    changing->counts[came_to]++;
    changing->in_flight--;
    note_progress(changing);
    free(item);
}

static void tell(struct item *item, const cvm_error_t *error)
{
    struct changing *changing = item->changing;
    if (notes_next(&changing->notes))
        (void)cli_fail(0, "%s: %s", changing->uids.list[item->index], cvm_error_text(error));
}

/* 75 is for what is recorded. */
static int32_t code_of_failure(const cvm_error_t *error)
{
    int32_t code = cli_code_of(error);
    return code == EX_TEMPFAIL ? EX_UNAVAILABLE : code;
}

static void changed(void *user_data, const cvm_error_t *error)
{
    struct item *item = user_data;
    enum came_to came_to = judge(error);
    if (error)
        tell(item, error);
    if ((came_to == REFUSED || came_to == FAILED) && !item->changing->code)
        item->changing->code = code_of_failure(error);
    note_end(item, came_to);
}

static void looked_up(void *user_data, const cvm_error_t *error, const cvm_device_t *device)
{
    struct item *item = user_data;
    if (device && item->changing->many->spares_registered && cvm_device_is_registered(device)) {
        item->changing->code = EX_NOPERM;
        note_end(item, REFUSED);
    } else {
        changed(item, error);
    }
}

static void carried_out(void *user_data, const cvm_error_t *error)
{
    struct item *item = user_data;
    struct changing *changing = item->changing;
    if (error) {
        tell(item, error);
        changing->is_due = 1;
    }
    changing->in_flight--;
    note_progress(changing);
    free(item);
}

static cvm_error_t *start_item(struct item *item)
{
    const struct device_many *many = item->changing->many;
    const char *uid = item->changing->uids.list[item->index];
    cvm_t *cvm = item->changing->cvm;
    if (item->changing->is_recorded)
        return cvm_device_reconcile(cvm, uid, carried_out, item);
    return many->dry_run ? cvm_device_get(cvm, uid, looked_up, item)
                         : many->start(cvm, uid, many->arguments, changed, item);
}

static void without_memory(struct changing *changing, uint32_t index)
{
    (void)cli_fail(0, "%s: out of memory", changing->uids.list[index]);
    changing->code = EX_OSERR;
    if (changing->is_recorded) {
        changing->is_due = 1;
    } else {
        changing->came_to[index] = FAILED;
        changing->counts[FAILED]++;
    }
    note_progress(changing);
}

static void start_next(struct changing *changing)
{
    uint32_t index = changing->next++;
    if (changing->is_recorded && changing->came_to[index] != CHANGED) {
        note_progress(changing);
        return;
    }
    struct item *item = malloc(sizeof *item);
    if (!item) {
        without_memory(changing, index);
        return;
    }
    *item = (struct item){changing, index};
    changing->in_flight++;
    cvm_error_t *error = start_item(item);
    if (error && changing->is_recorded)
        carried_out(item, error);
    else if (error)
        changed(item, error);
    cvm_error_free(error);
}

/* Leaves the rest alone after Ctrl-C; what was recorded is carried out all the same. */
static void heed_interrupt(struct changing *changing)
{
    if (changing->is_recorded || !interrupt_came() || changing->next == changing->uids.count)
        return;
    changing->left = changing->uids.count - changing->next;
    for (uint32_t i = changing->next; i < changing->uids.count; i++)
        free(changing->uids.list[i]);
    changing->uids.count = changing->next;
    changing->is_done = !changing->in_flight;
}

static const char *phase(const struct changing *changing)
{
    if (changing->is_recorded)
        return "carrying out";
    return changing->many->dry_run ? "looking" : "changing";
}

static void go_through_all(struct changing *changing)
{
    changing->next = 0;
    changing->is_done = 0;
    changing->notes.count = 0;
    progress_phase(&changing->progress, phase(changing));
    while (!changing->is_done) {
        heed_interrupt(changing);
        while (changing->next < changing->uids.count && changing->in_flight < MOST_IN_FLIGHT)
            start_next(changing);
        progress_at(&changing->progress, changing->next, changing->uids.count, changing->next);
        changing->has_moved = changing->is_done;
        (void)cli_run_for(changing->cvm, &changing->has_moved, REDRAW_MS);
    }
    progress_clear(&changing->progress);
    notes_end(&changing->notes);
}

static void passed(void *user_data, const cvm_error_t *error)
{
    struct cli_outcome *outcome = user_data;
    outcome->is_done = 1;
    outcome->code = cli_code_of(error);
}

/* What was changed is carried out together. What failed then may be another device's, so each is
 * asked for its own. */
static void carry_out(struct changing *changing)
{
    struct cli_outcome outcome = {.subject = NULL};
    cvm_error_t *error = cvm_reconcile(changing->cvm, passed, &outcome);
    if (!error)
        cli_run_until(changing->cvm, &outcome.is_done);
    if (!error && !outcome.code)
        return;
    cvm_error_free(error);
    cvm_error_free(cvm_set_deferred(changing->cvm, 0));
    changing->is_recorded = 1;
    go_through_all(changing);
}

/* --- The report ------------------------------------------------------------------------------- */

static const char *const DONE[] = {
    "looked at", "added", "enabled", "disabled", "reset", "revoked", "removed"};

static int32_t print_json(const struct changing *changing, int64_t crl_number)
{
    const uint32_t *counts = changing->counts;
    cJSON *object = cJSON_CreateObject();
    if (cli_json_text(object, "done", DONE[changing->many->change]) ||
        !cJSON_AddBoolToObject(object, "dry_run", changing->many->dry_run) ||
        !cJSON_AddNumberToObject(object, "devices", counts[CHANGED]) ||
        !cJSON_AddNumberToObject(object, "unknown", counts[UNKNOWN_DEVICE]) ||
        !cJSON_AddNumberToObject(object, "refused", counts[REFUSED]) ||
        !cJSON_AddNumberToObject(object, "failed", counts[FAILED]) ||
        (changing->left && !cJSON_AddNumberToObject(object, "left", changing->left)) ||
        !cJSON_AddBoolToObject(object, "carried_out", !changing->is_due) ||
        (crl_number && !changing->is_due &&
            !cJSON_AddNumberToObject(object, "crl_number", (double)crl_number))) {
        cJSON_Delete(object);
        object = NULL;
    }
    return cli_print_json(object);
}

static int32_t print_report(const struct changing *changing)
{
    const struct device_many *many = changing->many;
    const uint32_t *counts = changing->counts;
    int64_t crl_number = many->ca && many->is_published && !many->dry_run && counts[CHANGED]
                             ? cvm_local_crl_number(many->ca)
                             : 0;
    if (many->json)
        return print_json(changing, crl_number);
    (void)printf("%" PRIu32 " devices %s%s", counts[CHANGED], many->dry_run ? "would be " : "",
        DONE[many->change]);
    if (counts[UNKNOWN_DEVICE])
        (void)printf(", %" PRIu32 " unknown", counts[UNKNOWN_DEVICE]);
    if (counts[REFUSED])
        (void)printf(", %" PRIu32 " refused", counts[REFUSED]);
    if (counts[FAILED])
        (void)printf(", %" PRIu32 " failed", counts[FAILED]);
    if (crl_number && !changing->is_due)
        (void)printf("; crl.pem number %" PRId64 " says so%s", crl_number,
            many->is_shared ? "; " CLI_FOLLOWERS : "");
    (void)putchar('\n');
    return 0;
}

static int32_t run(struct changing *changing)
{
    changing->came_to = calloc((size_t)changing->uids.count + 1, sizeof *changing->came_to);
    if (!changing->came_to)
        return cli_fail(EX_OSERR, "out of memory");
    cvm_error_free(cvm_set_deferred(changing->cvm, 1));
    go_through_all(changing);
    if (changing->many->is_published && !changing->many->dry_run)
        carry_out(changing);
    int32_t code = print_report(changing);
    free(changing->came_to);
    if (changing->left)
        return cli_fail(EX_TEMPFAIL,
            "interrupted; %" PRIu32 " devices are left: run the same again", changing->left);
    if (changing->counts[UNKNOWN_DEVICE])
        return EX_DATAERR;
    if (changing->code)
        return changing->code;
    return changing->is_due ? EX_TEMPFAIL : code;
}

int32_t device_change_many(cvm_t *cvm, const struct device_many *many)
{
    struct changing changing = {.many = many, .cvm = cvm};
    progress_init(&changing.progress);
    changing.progress.unit = "devices";
    changing.notes = (struct notes){&changing.progress, "like these", MOST_NOTES, 0};
    int32_t code = many->from ? read_file(&changing) : read_operands(&changing);
    if (!code) {
        interrupt_catch();
        sort_uids(&changing.uids);
        code = run(&changing);
    }
    uids_free(&changing.uids);
    return code;
}
