/* A Lambda's event, as any bytes: by each way it is read, and answered in its form, which is JSON.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "examples/lambda/event.h"

static void read_event(const char *text, size_t length, int32_t is_direct)
{
    const struct answer answer = {.status = 503,
        .retry_after_s = 5,
        .media_type = "application/json",
        .allow = "POST",
        .body = "{\"statusCode\":503}"};
    struct event event;
    int32_t is_full;
    event_read(&event, text, length, is_direct);
    (void)event_is_pass(&event, &is_full);
    CHECK(!is_direct || event.kind == EVENT_DIRECT);
    CHECK(!event.payload || strlen(event.payload) <= event.length);
    CHECK(strlen(event.peer) < sizeof event.peer);
    char *printed = event_answer(&event, &answer);
    const char *why = NULL;
    cJSON *tree = cvm_json_object(printed, strlen(printed), &why);
    CHECK(tree);
    cJSON_Delete(tree);
    free(printed);
    event_clear(&event);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char *text = malloc(length + 1);
    if (!text)
        return 0;
    memcpy(text, bytes, length);
    text[length] = 0;
    read_event(text, length, 0);
    read_event(text, length, 1);
    free(text);
    return 0;
}
