/* `cvm backup`: a consistent copy of the file store, as a file or into a folder of dated ones. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "base/clock.h"
#include "cli.h"
#include "file/file.h"

#define LONGEST_PATH  4096
#define LONGEST_STEM  128
#define DATE_FORM     "%Y%m%dT%H%M%SZ"
#define DATE_LENGTH   16
#define DATE_SUFFIX   ".db"
#define TEMPORARY     strlen(".XXXXXX")
#define DAY_S         86400
#define MOST_KEPT     100000
#define ERROR_SIZE    300
#define KEPT_BY_ERROR "a copy is made, but older ones could not be removed: "

static const char USAGE[] =
    "usage: cvm backup FILE|FOLDER/ [--keep N] [--json] -c CONFIG\n"
    "Copies the file store, also while the server runs: to a new FILE, or to one in FOLDER with "
    "the\n"
    "time in its name, such as devices-20261126T171500Z.db.\n"
    "  --keep N  afterwards removes the oldest of such copies in FOLDER; N stay. Instances whose "
    "stores\n"
    "            have the same name need a FOLDER each\n"
    "\n"
    "Exit code: 0 done; 73 FILE is there already, or can't be made; 69 the store can't be read or "
    "the "
    "disk is full.\n";

struct backup {
    const char *to; /* as it was given */
    const char *keep, *config;
    int32_t json;
    struct cli_list settings;
    /* Of a copy in a folder: */
    char folder[LONGEST_PATH], stem[LONGEST_STEM];
    int64_t kept;
};

/* --- Names ------------------------------------------------------------------------------------ */

static int32_t is_folder(const char *path)
{
    struct stat status;
    size_t length = strlen(path);
    return (length && path[length - 1] == '/') ||
           (stat(path, &status) == 0 && S_ISDIR(status.st_mode));
}

/* The store's name without its folder and suffix. */
static void find_stem(const char *store, char stem[LONGEST_STEM])
{
    const char *slash = strrchr(store, '/'), *name = slash ? slash + 1 : store;
    const char *dot = strrchr(name, '.');
    size_t length = dot && dot > name ? (size_t)(dot - name) : strlen(name);
    (void)snprintf(stem, LONGEST_STEM, "%.*s", (int)length, name);
}

static void print_dated(const struct backup *backup, char path[LONGEST_PATH])
{
    char date[DATE_LENGTH + 1];
    (void)cvm_print_utc(cvm_now_ms(), DATE_FORM, date, sizeof date);
    (void)snprintf(path, LONGEST_PATH, "%.3900s%s%s-%s" DATE_SUFFIX, backup->folder,
        backup->folder[strlen(backup->folder) - 1] == '/' ? "" : "/", backup->stem, date);
}

/* The text is a date as print_dated() writes it, and nothing like it: strptime() takes more. */
static int32_t is_date(const char *text)
{
    char again[DATE_LENGTH + 1];
    struct tm utc = {0};
    if (strptime(text, DATE_FORM, &utc) != text + DATE_LENGTH)
        return 0;
    (void)cvm_print_utc(cvm_utc_ms(&utc), DATE_FORM, again, sizeof again);
    return strncmp(text, again, DATE_LENGTH) == 0;
}

/* What stands behind STEM-20261126T171500Z.db in a name; NULL if it does not begin so. */
static const char *behind_dated(const struct backup *backup, const char *name)
{
    size_t stem = strlen(backup->stem);
    if (strncmp(name, backup->stem, stem) != 0 || name[stem] != '-' || !is_date(name + stem + 1))
        return NULL;
    const char *suffix = name + stem + 1 + DATE_LENGTH;
    return strncmp(suffix, DATE_SUFFIX, strlen(DATE_SUFFIX)) == 0 ? suffix + strlen(DATE_SUFFIX)
                                                                  : NULL;
}

static int32_t is_file(const struct backup *backup, const char *name, struct stat *status)
{
    char path[LONGEST_PATH + NAME_MAX + 2];
    (void)snprintf(path, sizeof path, "%s/%s", backup->folder, name);
    return lstat(path, status) == 0 && S_ISREG(status->st_mode);
}

static int32_t is_dated(const struct backup *backup, const char *name)
{
    struct stat status;
    const char *rest = behind_dated(backup, name);
    return rest && !*rest && is_file(backup, name, &status);
}

/* A temporary file of a backup that was killed a day ago or earlier, or SQLite's beside it. */
static int32_t is_left_over(const struct backup *backup, const char *name)
{
    struct stat status;
    const char *rest = behind_dated(backup, name);
    size_t length = rest ? strlen(rest) : 0;
    return length >= TEMPORARY && *rest == '.' &&
           (length == TEMPORARY || strcmp(rest + TEMPORARY, "-journal") == 0) &&
           is_file(backup, name, &status) && status.st_mtime < cvm_now_ms() / 1000 - DAY_S;
}

/* --- Older copies ----------------------------------------------------------------------------- */

/* The first of the dated names, which sort as their dates do, and how many there are beside made,
 * which stays: a clock that was ahead may have left later names. 0, or -1 and errno. */
static int32_t find_oldest(
    const struct backup *backup, const char *made, char oldest[NAME_MAX + 1], int64_t *count)
{
    DIR *folder = opendir(backup->folder);
    *count = 0;
    if (!folder)
        return -1;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        if (is_left_over(backup, entry->d_name))
            (void)unlinkat(dirfd(folder), entry->d_name, 0);
        if (!is_dated(backup, entry->d_name) || strcmp(entry->d_name, made) == 0)
            continue;
        if (!*count || strcmp(entry->d_name, oldest) < 0)
            (void)snprintf(oldest, NAME_MAX + 1, "%s", entry->d_name);
        (*count)++;
    }
    (void)closedir(folder);
    return 0;
}

static int32_t remove_oldest(const struct backup *backup, const char *made)
{
    char name[NAME_MAX + 1] = "", path[LONGEST_PATH + NAME_MAX + 2];
    int64_t count;
    do {
        if (find_oldest(backup, made, name, &count))
            return cli_fail(
                EX_UNAVAILABLE, KEPT_BY_ERROR "%s: %s", backup->folder, strerror(errno));
        (void)snprintf(path, sizeof path, "%s/%s", backup->folder, name);
        if (count >= backup->kept && unlink(path))
            return cli_fail(EX_UNAVAILABLE, KEPT_BY_ERROR "%s: %s", path, strerror(errno));
    } while (count > backup->kept);
    return 0;
}

/* --- The verb --------------------------------------------------------------------------------- */

static int32_t print_done(const char *store, const char *to, int32_t json)
{
    cJSON *object = json ? cJSON_CreateObject() : NULL;
    if (!json) {
        (void)printf("%s is a copy of %s\n", to, store);
        return 0;
    }
    if (cli_json_text(object, "backup", to) || cli_json_text(object, "store", store)) {
        cJSON_Delete(object);
        object = NULL;
    }
    return cli_print_json(object);
}

static int32_t look_for_store(const cvm_conf_t *conf, const char **store)
{
    *store = cli_file_store(conf);
    if (!*store)
        return EX_CONFIG;
    enum cli_store found = cli_look_for_store(conf);
    if (found == CLI_STORE_MISSING)
        return cli_fail_missing_store(conf);
    return found == CLI_STORE_WRONG ? EX_CONFIG : 0;
}

static int32_t check_folder(const struct backup *backup)
{
    struct stat status;
    if (stat(backup->folder, &status))
        return cli_fail(EX_CANTCREAT, "%s: %s", backup->folder, strerror(errno));
    return S_ISDIR(status.st_mode)
               ? 0
               : cli_fail(EX_CANTCREAT, "%s: %s", backup->folder, strerror(ENOTDIR));
}

static int32_t copy_store(const cvm_conf_t *conf, struct backup *backup)
{
    char why[ERROR_SIZE] = "", path[LONGEST_PATH];
    const char *store, *to = backup->to;
    int32_t code = look_for_store(conf, &store);
    if (!code && is_folder(to)) {
        (void)snprintf(backup->folder, sizeof backup->folder, "%s", to);
        find_stem(store, backup->stem);
        print_dated(backup, path);
        to = path;
        code = check_folder(backup);
    }
    if (code)
        return code;
    code = cli_answer_code(cvm_file_backup(store, to, why, sizeof why));
    if (code)
        return cli_fail(code, "%s", why);
    code = print_done(store, to, backup->json);
    return code || !backup->kept ? code : remove_oldest(backup, strrchr(to, '/') + 1);
}

static int32_t take_keep(struct backup *backup)
{
    char *end;
    if (!backup->keep)
        return 0;
    backup->kept = strtol(backup->keep, &end, 10);
    if (*end || backup->kept < 1 || backup->kept > MOST_KEPT)
        return cli_fail(EX_USAGE, "--keep takes 1 to %d, not '%.40s'", MOST_KEPT, backup->keep);
    return is_folder(backup->to)
               ? 0
               : cli_fail(EX_USAGE, "--keep is for a folder of copies: %s is none", backup->to);
}

int32_t cli_backup(int argc, char **argv)
{
    struct backup backup = {.to = NULL};
    struct cli_list operands = {.count = 0};
    cvm_conf_t *conf = NULL;
    const struct cli_option options[] = {{"--config", 1, &backup.config, NULL, NULL},
        {"--set", 1, NULL, NULL, &backup.settings}, {"--json", 0, NULL, &backup.json, NULL},
        {"--keep", 1, &backup.keep, NULL, NULL}, {NULL, 0, NULL, NULL, NULL}};
    int32_t code = cli_parse(argc, argv, options, USAGE, 1, 1, &operands);
    if (!code) {
        backup.to = operands.values[0];
        code = take_keep(&backup);
    }
    if (!code)
        code = cli_configure(backup.config, &backup.settings, &conf);
    if (!code)
        code = copy_store(conf, &backup);
    cvm_conf_free(conf);
    return code;
}
