#include "event.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#define LARGEST_BASE64 (8 << 20) /* an event's own limit */

static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

static const char *text_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(member(object, name));
}

/* --- Reading ---------------------------------------------------------------------------------- */

static const cJSON *find_header(const cJSON *headers, const char *name)
{
    for (const cJSON *item = headers ? headers->child : NULL; item; item = item->next)
        if (item->string && strcasecmp(item->string, name) == 0)
            return item;
    return NULL;
}

/* Headers' names are of any case; of a list the last value counts. NULL without. */
static const char *header(const cJSON *event, const char *name)
{
    const cJSON *one = find_header(member(event, "headers"), name);
    const cJSON *list = find_header(member(event, "multiValueHeaders"), name);
    return one ? cJSON_GetStringValue(one)
               : cJSON_GetStringValue(cJSON_GetArrayItem(list, cJSON_GetArraySize(list) - 1));
}

/* The load balancer adds who has connected to it behind what that one says of itself; perhaps with
 * the port, as in "192.0.2.7:1234" and "[2001:db8::7]:1234". */
static void take_last_hop(struct event *event, const char *forwarded)
{
    const char *comma = forwarded ? strrchr(forwarded, ',') : NULL;
    const char *last = comma ? comma + 1 : forwarded ? forwarded : "";
    last += strspn(last, " ");
    int32_t is_bracketed = *last == '[';
    last += is_bracketed;
    size_t length = strcspn(last, is_bracketed ? "]" : " ");
    const char *colon = memchr(last, ':', length);
    if (!is_bracketed && colon && colon == strrchr(last, ':'))
        length = (size_t)(colon - last);
    (void)snprintf(event->peer, sizeof event->peer, "%.*s", (int)length, last);
}

static void take_peer(struct event *event, const char *peer)
{
    (void)snprintf(event->peer, sizeof event->peer, "%s", peer ? peer : "");
}

static void take_way(struct event *event, const cJSON *context)
{
    const cJSON *http = member(context, "http"), *identity = member(context, "identity");
    event->method = text_of(http ? http : event->tree, http ? "method" : "httpMethod");
    event->media_type = header(event->tree, "content-type");
    event->accept = header(event->tree, "accept");
    if (member(context, "elb")) {
        event->kind = EVENT_ALB;
        event->has_multiple = member(event->tree, "multiValueHeaders") != NULL;
        take_last_hop(event, header(event->tree, "x-forwarded-for"));
    } else {
        event->kind = http ? EVENT_HTTP : EVENT_REST;
        take_peer(event, text_of(http ? http : identity, "sourceIp"));
    }
}

/* Standard base64 in one line; NULL if it is none. */
static char *decode(const char *text, size_t *length)
{
    size_t size = strlen(text), padding = 0;
    char *bytes = size % 4 || size > LARGEST_BASE64 ? NULL : malloc(size / 4 * 3 + 1);
    if (!bytes)
        return NULL;
    int count = EVP_DecodeBlock((unsigned char *)bytes, (const unsigned char *)text, (int)size);
    while (padding < 2 && padding < size && text[size - 1 - padding] == '=')
        padding++;
    if (count < (int)padding) {
        OPENSSL_cleanse(bytes, size / 4 * 3);
        free(bytes);
        return NULL;
    }
    *length = (size_t)count - padding;
    bytes[*length] = 0;
    return bytes;
}

static void take_payload(struct event *event, const char *text, size_t length)
{
    if (event->kind == EVENT_DIRECT) { /* as it came: it is read strictly where it is used */
        event->payload = malloc(length + 1);
        event->length = length;
        if (event->payload)
            memcpy(event->payload, text, length + 1);
        return;
    }
    const char *body = text_of(event->tree, "body");
    if (!body)
        body = "";
    if (cJSON_IsTrue(member(event->tree, "isBase64Encoded"))) {
        event->payload = decode(body, &event->length);
    } else {
        event->payload = strdup(body);
        event->length = strlen(body);
    }
}

/* cJSON ends a text at a NUL: what stands behind it would be gone, and not refused. */
static int32_t has_nul(const char *text, size_t length)
{
    return memchr(text, 0, length) || strstr(text, "\\u0000");
}

void event_read(struct event *event, const char *text, size_t length, int32_t is_direct)
{
    *event = (struct event){.kind = EVENT_DIRECT};
    event->tree = cJSON_ParseWithLength(text, length);
    const cJSON *context = member(event->tree, "requestContext");
    if (!is_direct && cJSON_IsObject(context))
        take_way(event, context);
    if (event->kind == EVENT_DIRECT || !has_nul(text, length))
        take_payload(event, text, length);
}

int32_t event_is_pass(const struct event *event, int32_t *is_full)
{
    const char *verb = text_of(event->tree, "cvm");
    *is_full = cJSON_IsTrue(member(event->tree, "full"));
    return verb && strcmp(verb, "reconcile") == 0;
}

static void wipe(cJSON *tree)
{
    for (cJSON *item = tree; item; item = item->next) {
        if (item->valuestring)
            OPENSSL_cleanse(item->valuestring, strlen(item->valuestring));
        wipe(item->child);
    }
}

void event_clear(struct event *event)
{
    if (event->payload)
        OPENSSL_cleanse(event->payload, event->length);
    free(event->payload);
    wipe(event->tree);
    cJSON_Delete(event->tree);
    *event = (struct event){.tree = NULL};
}

/* --- Answering -------------------------------------------------------------------------------- */

static int32_t add_header(
    cJSON *headers, const struct event *event, const char *name, const char *value)
{
    if (!value)
        return 0;
    if (!event->has_multiple)
        return cJSON_AddStringToObject(headers, name, value) ? 0 : -1;
    cJSON *list = cJSON_AddArrayToObject(headers, name);
    return list && cJSON_AddItemToArray(list, cJSON_CreateString(value)) ? 0 : -1;
}

static int32_t add_headers(cJSON *object, const struct event *event, const struct answer *answer)
{
    char retry_after[12];
    (void)snprintf(retry_after, sizeof retry_after, "%u", answer->retry_after_s);
    cJSON *headers =
        cJSON_AddObjectToObject(object, event->has_multiple ? "multiValueHeaders" : "headers");
    return !headers || add_header(headers, event, "Content-Type", answer->media_type) ||
                   add_header(headers, event, "Cache-Control", "no-store") ||
                   add_header(headers, event, "Allow", answer->allow) ||
                   add_header(
                       headers, event, "Retry-After", answer->retry_after_s ? retry_after : NULL)
               ? -1
               : 0;
}

/* Only a load balancer wants it. */
static const char *description(int32_t status)
{
    static const struct {
        int32_t status;
        const char *text;
    } TEXTS[] = {{200, "200 OK"}, {400, "400 Bad Request"}, {403, "403 Forbidden"},
        {405, "405 Method Not Allowed"}, {409, "409 Conflict"}, {413, "413 Content Too Large"},
        {415, "415 Unsupported Media Type"}, {422, "422 Unprocessable Content"},
        {429, "429 Too Many Requests"}, {502, "502 Bad Gateway"}, {503, "503 Service Unavailable"}};
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
        if (TEXTS[i].status == status)
            return TEXTS[i].text;
    return "500 Internal Server Error";
}

char *event_answer(const struct event *event, const struct answer *answer)
{
    if (event->kind == EVENT_DIRECT)
        return strdup(answer->body);
    cJSON *object = cJSON_CreateObject();
    char *text = NULL;
    if (object && cJSON_AddNumberToObject(object, "statusCode", answer->status) &&
        (event->kind != EVENT_ALB ||
            cJSON_AddStringToObject(object, "statusDescription", description(answer->status))) &&
        cJSON_AddBoolToObject(object, "isBase64Encoded", 0) &&
        cJSON_AddStringToObject(object, "body", answer->body) &&
        !add_headers(object, event, answer))
        text = cJSON_PrintUnformatted(object);
    wipe(object);
    cJSON_Delete(object);
    return text;
}
