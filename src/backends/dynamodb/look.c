/* Items by their keys: BatchGetItem, as often as it takes. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "item.h"
#include "store.h"

#define MOST_KEYS 100 /* of one call */

static int32_t same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* The slot of the index where the key is, or is to be; the index has twice as many as there are
 * items. */
static uint32_t *look_slot(
    const struct look *look, enum table table, const char *pk, const char *sk)
{
    uint64_t hash = cvm_hash(pk) ^ (sk ? cvm_hash(sk) : 0), slots = 2 * (uint64_t)look->size;
    for (uint64_t at = hash % slots;; at = (at + 1) % slots) {
        uint32_t *slot = &look->index[at];
        const struct look_item *item = *slot ? &look->items[*slot - 1] : NULL;
        if (!item || (item->table == table && strcmp(item->pk, pk) == 0 && same_text(item->sk, sk)))
            return slot;
    }
}

static int32_t look_place(const struct look *look, enum table table, const char *pk, const char *sk)
{
    return look->count ? (int32_t)*look_slot(look, table, pk, sk) - 1 : -1;
}

/* 0, or -1 without memory. */
static int32_t look_make_room(struct look *look)
{
    uint32_t size = look->size ? 2 * look->size : 16;
    if (look->count < look->size)
        return 0;
    struct look_item *items = realloc(look->items, size * sizeof *items);
    uint32_t *index = calloc(2 * (size_t)size, sizeof *index);
    if (items)
        look->items = items;
    if (!items || !index) {
        free(index);
        return -1;
    }
    free(look->index);
    look->index = index;
    look->size = size;
    for (uint32_t i = 0; i < look->count; i++)
        *look_slot(look, items[i].table, items[i].pk, items[i].sk) = i + 1;
    return 0;
}

int32_t cvm_dynamo_look_add(struct look *look, enum table table, const char *pk, const char *sk)
{
    int32_t place = look_place(look, table, pk, sk);
    if (place >= 0)
        return place;
    char *own_pk = strdup(pk), *own_sk = sk ? strdup(sk) : NULL;
    if (!own_pk || (sk && !own_sk) || look_make_room(look)) {
        free(own_pk);
        free(own_sk);
        look->failed = 1;
        return -1;
    }
    *look_slot(look, table, pk, sk) = look->count + 1;
    look->items[look->count] = (struct look_item){table, own_pk, own_sk, NULL, LOOK_WANTED};
    return (int32_t)look->count++;
}

const cJSON *cvm_dynamo_found(const struct look *look, int32_t place)
{
    return place >= 0 && (uint32_t)place < look->count ? look->items[place].item : NULL;
}

const cJSON *cvm_dynamo_find(
    const struct look *look, enum table table, const char *pk, const char *sk)
{
    return cvm_dynamo_found(look, look_place(look, table, pk, sk));
}

void cvm_dynamo_look_clear(struct look *look)
{
    for (uint32_t i = 0; i < look->count; i++) {
        free(look->items[i].pk);
        free(look->items[i].sk);
        cJSON_Delete(look->items[i].item);
    }
    free(look->items);
    free(look->index);
    *look = (struct look){.items = NULL};
}

/* --- Asking ----------------------------------------------------------------------------------- */

static void print_table(const struct job *job, struct cvm_buffer *body, enum table table)
{
    const struct look *look = &job->look;
    uint32_t count = 0, keys = 0;
    for (uint32_t i = 0; i < look->count && keys < MOST_KEYS; i++) {
        if (look->items[i].state == LOOK_DONE)
            continue;
        keys++;
        if (look->items[i].table != table)
            continue;
        cvm_buffer_text(body, count++ ? "," : "");
        if (count == 1) {
            cvm_buffer_json(body, job->store->tables[table]);
            cvm_buffer_text(body, ":{\"ConsistentRead\":true,");
            cvm_buffer_text(body, table == MAKERS ? CVM_DYNAMO_MAKERS_PROJECTION "," : "");
            cvm_buffer_text(body, "\"Keys\":[");
        }
        cvm_dynamo_print_key(body, look->items[i].pk, look->items[i].sk);
    }
    cvm_buffer_text(body, count ? "]}" : "");
}

/* Of each table as many keys as one call may have. */
static uint32_t look_print(struct job *job)
{
    struct cvm_buffer *body = cvm_dynamo_body(job);
    cvm_buffer_text(body, "{\"RequestItems\":{");
    size_t begin = body->length;
    print_table(job, body, MAKERS);
    size_t middle = body->length;
    if (middle > begin)
        cvm_buffer_text(body, ",");
    size_t second = body->length;
    print_table(job, body, OURS);
    if (body->length == second && middle > begin && body->text)
        body->text[body->length = middle] = 0; /* no comma behind the only one */
    cvm_buffer_text(body, "}}");
    return body->length > begin + 2;
}

/* --- What was answered ------------------------------------------------------------------------ */

/* Takes an item out of its array. 0, or -1 if it was not asked for. */
static int32_t look_take(struct look *look, enum table table, cJSON *item)
{
    const char *pk = cvm_dynamo_text(item, table == MAKERS ? "device_uid" : "pk");
    const char *sk = table == MAKERS ? NULL : cvm_dynamo_text(item, "sk");
    int32_t place = look_place(look, table, pk, sk);
    if (place < 0 || look->items[place].state != LOOK_WANTED) {
        cJSON_Delete(item);
        return -1;
    }
    look->items[place].item = item;
    look->items[place].state = LOOK_FOUND;
    return 0;
}

static int32_t look_take_table(struct job *job, enum table table)
{
    cJSON *responses = cJSON_GetObjectItemCaseSensitive(job->aws.call.answer, "Responses");
    cJSON *items = cJSON_GetObjectItemCaseSensitive(responses, job->store->tables[table]);
    int32_t failed = 0;
    while (items && items->child)
        failed |= look_take(&job->look, table, cJSON_DetachItemViaPointer(items, items->child));
    return failed;
}

/* Which of the keys that were asked for were not looked at. */
static int32_t look_is_left(const struct job *job, const struct look_item *item)
{
    const cJSON *left = cJSON_GetObjectItemCaseSensitive(job->aws.call.answer, "UnprocessedKeys");
    const cJSON *table = cJSON_GetObjectItemCaseSensitive(left, job->store->tables[item->table]);
    const cJSON *key;
    cJSON_ArrayForEach(key, cJSON_GetObjectItemCaseSensitive(table, "Keys"))
    {
        const char *pk = cvm_dynamo_text(key, item->table == MAKERS ? "device_uid" : "pk");
        if (strcmp(pk, item->pk) == 0 &&
            (!item->sk || strcmp(cvm_dynamo_text(key, "sk"), item->sk) == 0))
            return 1;
    }
    return 0;
}

static void look_ask(struct job *job);

static void look_answered(struct job *job)
{
    struct look *look = &job->look;
    uint32_t asked = 0, left = 0;
    if (look_take_table(job, MAKERS) || look_take_table(job, OURS) ||
        !cJSON_GetObjectItemCaseSensitive(job->aws.call.answer, "Responses")) {
        cvm_dynamo_end(job, CVM_ANSWER_BROKEN, "DynamoDB answers what was not asked");
        return;
    }
    /* A call's keys are the first that were not done. */
    for (uint32_t i = 0; i < look->count && asked < MOST_KEYS; i++) {
        if (look->items[i].state == LOOK_DONE)
            continue;
        asked++;
        if (look->items[i].state == LOOK_WANTED && look_is_left(job, &look->items[i]))
            left++;
        else
            look->items[i].state = LOOK_DONE;
    }
    if (!left)
        look->tries = 0;
    else if (cvm_dynamo_wait(job, cvm_aws_backoff_ms(++look->tries), look_ask)) {
        cvm_dynamo_end(job, CVM_ANSWER_BUSY, "DynamoDB leaves keys unprocessed");
        return;
    } else {
        return;
    }
    look_ask(job);
}

static void look_ask(struct job *job)
{
    uint32_t keys = look_print(job);
    if (job->look.failed || job->aws.call.body.failed)
        cvm_dynamo_out_of_memory(job);
    else if (keys)
        cvm_dynamo_call(job, BATCH_GET_ITEM, look_answered);
    else
        job->look.then(job);
}

/* That a key could not be added is told here. */
void cvm_dynamo_look(struct job *job, void (*then)(struct job *job))
{
    job->look.then = then;
    look_ask(job);
}
