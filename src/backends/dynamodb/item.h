/* Items as DynamoDB's JSON has them, and the expressions that change them. */
#ifndef CVM_DYNAMODB_ITEM_H
#define CVM_DYNAMODB_ITEM_H

#include <cjson/cJSON.h>

#include "base/buffer.h"
#include "cvm/plugin.h"

/* --- Reading ---------------------------------------------------------------------------------- */

/* An attribute of type S; "" if it is none. item may be NULL. */
const char *cvm_dynamo_text(const cJSON *item, const char *name);
/* An integer, of type N; 0 if it is none. */
int64_t cvm_dynamo_number(const cJSON *item, const char *name);
int32_t cvm_dynamo_has(const cJSON *item, const char *name);
/* What a flag of the maker's says, as N, S or BOOL. */
enum flag { FLAG_OFF, FLAG_ON, FLAG_MISSING, FLAG_UNKNOWN };
enum flag cvm_dynamo_flag(const cJSON *item, const char *name);
/* The texts of an attribute of type SS: the first one's item, NULL without one. */
const cJSON *cvm_dynamo_members(const cJSON *item, const char *name);
/* Text i; NULL past the end. */
const char *cvm_dynamo_member(const cJSON *item, const char *name, uint32_t i);

/* --- Keys ------------------------------------------------------------------------------------- */

/* Prints {"pk":{"S":…},"sk":{"S":…}}, or without sk the maker's {"device_uid":{"S":…}}. */
void cvm_dynamo_print_key(struct cvm_buffer *to, const char *pk, const char *sk);
/* Prints what a request's object begins with: {"TableName":… */
void cvm_dynamo_print_table(struct cvm_buffer *to, const char *table);
/* Prints what a key begins a request's object with: {"TableName":…,"Key":… */
void cvm_dynamo_print_target(
    struct cvm_buffer *to, const char *table, const char *pk, const char *sk);

/* Of the maker's table what is asked for: it may hold anything else. As members of a request. */
#define CVM_DYNAMO_MAKERS_PROJECTION                                                               \
    "\"ProjectionExpression\":"                                                                    \
    "\"device_uid,device_token,is_enabled,is_registered,iot_core_thing_name,"                      \
    "iot_core_registered_on,cvm_revision\""

/* --- Expressions ------------------------------------------------------------------------------ */

/* An update, its condition, and the names and values that both use. */
struct expression {
    struct cvm_buffer set, remove, add, condition, names, values;
    uint32_t name_count, value_count;
    int32_t failed;
};

void cvm_dynamo_expression_clear(struct expression *expression);
void cvm_dynamo_expression_free(struct expression *expression);
/* Declare a name or a value: its number, for #n and :v in a text. */
uint32_t cvm_dynamo_name(struct expression *expression, const char *name);
uint32_t cvm_dynamo_value_text(struct expression *expression, const char *text);
uint32_t cvm_dynamo_value_number(struct expression *expression, int64_t number);
uint32_t cvm_dynamo_value_nul(struct expression *expression); /* a text of one NUL */
uint32_t cvm_dynamo_value_bool(struct expression *expression, int32_t is_on);

/* name = a value that was declared. */
void cvm_dynamo_set(struct expression *expression, const char *name, uint32_t value);
/* name = value, whatever it was; empty texts and zeroes are removed. */
void cvm_dynamo_set_text(struct expression *expression, const char *name, const char *text);
void cvm_dynamo_set_number(struct expression *expression, const char *name, int64_t number);
/* name = value, zero too. */
void cvm_dynamo_set_flag(struct expression *expression, const char *name, int32_t is_on);
/* name = value unless it has one. */
void cvm_dynamo_set_once(struct expression *expression, const char *name, const char *text);
void cvm_dynamo_set_number_once(struct expression *expression, const char *name, int64_t number);
void cvm_dynamo_remove(struct expression *expression, const char *name);
/* Adds a text to a set of texts; what was added before goes with it. */
void cvm_dynamo_add_members(
    struct expression *expression, const char *name, const char *const *texts, uint32_t count);

/* Adds to the condition, which is a conjunction of these. Of the form each # is a name's and each :
 * a value's, whose numbers (uint32_t) follow in that order. */
void cvm_dynamo_and(struct expression *expression, const char *form, ...);
/* It has that value; "" and 0: or none. */
void cvm_dynamo_and_text(struct expression *expression, const char *name, const char *text);
void cvm_dynamo_and_number(struct expression *expression, const char *name, int64_t number);
/* It has none. */
void cvm_dynamo_and_missing(struct expression *expression, const char *name);

/* Prints what follows the key: the update (if it has any), the condition, names and values, and
 * closes the object unless it is left open for more members. */
void cvm_dynamo_print_expression(
    struct cvm_buffer *to, const struct expression *expression, int32_t is_open);

#endif
