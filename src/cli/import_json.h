/* JSON lines: one object a line with device_uid, device_token and is_enabled. */
#ifndef CVM_CLI_IMPORT_JSON_H
#define CVM_CLI_IMPORT_JSON_H

#include <stddef.h>

#include "import_row.h"

struct cJSON;

/* Reads an object strictly. *object holds the fields, and is freed by import_json_forget; it may be
 * NULL. NULL, or what is wrong, which quotes nothing of the line. */
const char *import_json_line(
    const char *text, size_t length, struct import_fields *fields, struct cJSON **object);
/* Wipes and frees. */
void import_json_forget(struct cJSON *object);

#endif
