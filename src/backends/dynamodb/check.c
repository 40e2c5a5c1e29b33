/* `cvm store check`: whether the two tables, and the rows of ours, say the same. Each restored to
 * another time they don't. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "device.h"
#include "rows.h"
#include "scan.h"

#define PAGE      100
#define AGAIN_MS  500 /* what is odd is looked at twice: a transaction's rows appear one by one */
#define IN_ROWS   "rows|"
#define IN_STATES "states|"
#define MOST_TEXT (1u << 20)

struct check {
    struct scan scan;
    struct cvm_buffer lines;
    int32_t is_second; /* look at the page */
};

static void check_clear(struct job *job)
{
    cvm_buffer_free(&((struct check *)(void *)job)->lines);
    cvm_dynamo_scan_clear(job);
}

/* --- What is odd ------------------------------------------------------------------------------ */

static void odd(struct check *check, const char *uid, const char *format, const char *of)
{
    char text[240];
    (void)snprintf(text, sizeof text, format, of); /* NOLINT: the formats are below */
    cvm_buffer_text(&check->lines, uid);
    cvm_buffer_text(&check->lines, ": ");
    cvm_buffer_text(&check->lines, text);
    cvm_buffer_text(&check->lines, "\n");
}

static const struct look *look_of(const struct check *check)
{
    return &check->scan.job.look;
}

static void judge_row(struct check *check, const cJSON *row)
{
    const char *uid = cvm_dynamo_text(row, "device_uid");
    if (cvm_dynamo_is_uid(uid) &&
        cvm_dynamo_device_is_torn(row, cvm_dynamo_state(look_of(check), uid)))
        odd(check, uid,
            "its row and its state are not of the same change: the tables were restored to "
            "different times%s",
            "");
}

static void judge_state(struct check *check, const char *uid, const cJSON *state)
{
    const char *current = cvm_dynamo_text(state, "current"), *id;
    const cJSON *row = cvm_dynamo_certificate_row(look_of(check), current);
    if (cvm_dynamo_has(state, "revision") && !cvm_dynamo_find(look_of(check), MAKERS, uid, NULL))
        odd(check, uid, "it has a state, and no row in %.100s",
            check->scan.job.store->tables[MAKERS]);
    if (*current && strcmp(cvm_dynamo_text(row, "state"), "current") != 0)
        odd(check, uid, "certificate %.64s is its current one, and its row says otherwise",
            current);
    for (uint32_t i = 0; (id = cvm_dynamo_member(state, "certificates", i)); i++)
        if (!cvm_dynamo_certificate_row(look_of(check), id))
            odd(check, uid, "certificate %.64s has no row", id);
}

static int32_t is_member(const cJSON *state, const char *id)
{
    const cJSON *member = cvm_dynamo_members(state, "certificates");
    for (; member; member = member->next)
        if (cJSON_IsString(member) && strcmp(member->valuestring, id) == 0)
            return 1;
    return 0;
}

static void judge_certificate(struct check *check, const cJSON *row)
{
    const char *uid = cvm_dynamo_text(row, "device_uid"),
               *id = cvm_dynamo_text(row, "certificate_id");
    const cJSON *state = cvm_dynamo_state(look_of(check), uid);
    if (!is_member(state, id))
        odd(check, uid, "certificate %.64s is not among its device's", id);
    else if (strcmp(cvm_dynamo_text(row, "state"), "current") == 0 &&
             strcmp(cvm_dynamo_text(state, "current"), id) != 0)
        odd(check, uid, "certificate %.64s is current by its row, and not by its device", id);
}

static void judge_item(struct check *check, const cJSON *item)
{
    const char *pk = cvm_dynamo_text(item, "pk"), *sk = cvm_dynamo_text(item, "sk");
    if (check->scan.pages->table == MAKERS)
        judge_row(check, item);
    else if (strncmp(pk, "U#", 2) == 0 && strcmp(sk, "S") == 0)
        judge_state(check, pk + 2, cvm_dynamo_state(look_of(check), pk + 2));
    else if (strncmp(pk, "C#", 2) == 0)
        judge_certificate(check, item);
}

/* --- A page ----------------------------------------------------------------------------------- */

static void add_item(struct check *check, const cJSON *item)
{
    struct look *look = &check->scan.job.look;
    const char *pk = cvm_dynamo_text(item, "pk");
    int32_t is_state = strncmp(pk, "U#", 2) == 0;
    const char *uid = is_state ? pk + 2 : cvm_dynamo_text(item, "device_uid");
    if (strncmp(pk, "C#", 2) != 0 && !is_state && check->scan.pages->table == OURS)
        return;
    if (!cvm_dynamo_is_uid(uid))
        return;
    (void)cvm_dynamo_look_add(look, MAKERS, uid, NULL);
    (void)cvm_dynamo_look_state(look, uid);
    if (is_state)
        cvm_dynamo_look_certificates(look, item);
}

static void check_end(struct check *check)
{
    struct scan *scan = &check->scan;
    int32_t is_makers = scan->pages->table == MAKERS;
    char place[CVM_CURSOR_SIZE], cursor[CVM_CURSOR_SIZE + 8] = "";
    if (scan->page_end && cvm_dynamo_place(scan, place)) {
        cvm_dynamo_next_page(scan, PAGE); /* it can't be told */
        return;
    }
    if (scan->page_end)
        (void)snprintf(cursor, sizeof cursor, "%s%s", is_makers ? IN_ROWS : IN_STATES, place);
    else if (is_makers)
        (void)snprintf(cursor, sizeof cursor, IN_STATES);
    if (check->lines.failed || scan->job.store->aws.host->op_set_text(scan->job.aws.op,
                                   CVM_OUT_VALUE, check->lines.text ? check->lines.text : ""))
        cvm_dynamo_out_of_memory(&scan->job);
    else
        cvm_dynamo_scan_end(scan, cursor);
}

static void check_look(struct job *job);

static void check_looked(struct job *job)
{
    struct check *check = (struct check *)(void *)job;
    size_t before = check->lines.length;
    const cJSON *item;
    cJSON_ArrayForEach(item, check->scan.page)
    {
        judge_item(check, item);
    }
    if (check->lines.length == before || check->is_second) {
        check_end(check);
        return;
    }
    check->is_second = 1;
    check->lines.length = before;
    check->lines.text[before] = 0;
    if (cvm_dynamo_wait(job, AGAIN_MS, check_look))
        cvm_dynamo_end(job, CVM_ANSWER_UNAVAILABLE, "there was no time left to look twice");
}

static void check_look(struct job *job)
{
    struct check *check = (struct check *)(void *)job;
    const cJSON *item;
    cvm_dynamo_look_clear(&job->look);
    cJSON_ArrayForEach(item, check->scan.page)
    {
        add_item(check, item);
    }
    cvm_dynamo_look(job, check_looked);
}

static void check_page(struct scan *scan)
{
    ((struct check *)(void *)scan)->is_second = 0;
    check_look(&scan->job);
}

/* --- Getting in ------------------------------------------------------------------------------- */

void cvm_dynamo_check(void *self, cvm_op_t *op, const char *cursor)
{
    static const struct pages ROWS = {SCAN, MAKERS, "," CVM_DYNAMO_MAKERS_PROJECTION "}",
                                  check_page},
                              STATES = {SCAN, OURS, "}", check_page};
    int32_t in_states = strncmp(cursor, IN_STATES, strlen(IN_STATES)) == 0;
    struct check *check = cvm_dynamo_job(self, op, sizeof *check, VERB_READS, check_clear);
    if (!check)
        return;
    check->lines.most = MOST_TEXT;
    check->scan.pages = in_states ? &STATES : &ROWS;
    if (strchr(cursor, '|'))
        cvm_dynamo_begin_at(&check->scan, strchr(cursor, '|') + 1);
    cvm_dynamo_next_page(&check->scan, PAGE);
}
