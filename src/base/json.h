/* Reading JSON strictly. cJSON alone takes NUL in strings (and cuts there), duplicate names, bytes
 * that are no UTF-8, control characters and trailing bytes; here all of these are refused first. */
#ifndef CVM_BASE_JSON_H
#define CVM_BASE_JSON_H

#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

/* Parses one object, RFC 8259 to the letter, without duplicate names (I-JSON, RFC 7493), at most 16
 * deep and with at most 64 members in an object. NULL if it isn't one; *why says what is wrong,
 * or is NULL: no memory.
 * Freed with cJSON_Delete, or cvm_json_wipe where it held a secret. */
cJSON *cvm_json_object(const char *bytes, size_t length, const char **why);
/* The same of a service's answer, which holds others' data: at most 80 deep and with 1,000 members,
 * and NUL in a string is taken for U+FFFD: it is written so into bytes. */
cJSON *cvm_json_answer(char *bytes, size_t length, const char **why);
/* Overwrites all texts, then frees. NULL is fine. */
void cvm_json_wipe(cJSON *tree);

#endif
