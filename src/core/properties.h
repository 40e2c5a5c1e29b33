/* The one table of properties: the file, CVM_* variables, --set, `cvm config` and
 * docs/configuration.md all come from it. */
#ifndef CVM_CORE_PROPERTIES_H
#define CVM_CORE_PROPERTIES_H

#include <stddef.h>
#include <stdint.h>

enum cvm_property_type {
    TYPE_TEXT,
    TYPE_SECRET,    /* a text that is not shown; beside it stands the path NAME_file */
    TYPE_PATH,      /* relative to the file that sets it */
    TYPE_BACKEND,   /* NAME or NAME:LOCATION */
    TYPE_MODULES,   /* absolute paths, separated by ":" */
    TYPE_ADDRESSES, /* ADDRESS:PORT, separated by commas, or "off" */
    TYPE_NETWORKS,  /* ADDRESS or ADDRESS/BITS, separated by commas */
    TYPE_ENDPOINT,  /* a broker's HOST or HOST:PORT; kept in the form that devices are told */
    TYPE_NAME_FORMAT,
    TYPE_POLICY,
    TYPE_BOOL,
    TYPE_COUNT,    /* k, M and G are powers of 1024 */
    TYPE_DURATION, /* milliseconds */
    TYPE_RATE,     /* per minute */
    TYPE_CHOICE
};

struct cvm_property {
    const char *name;
    enum cvm_property_type type;
    const char *default_text;
    const char *range; /* of numbers "1s to 5min", of a choice "a|b", else NULL */
    const char *help;
};

#define CVM_MQTT_PORT 8883 /* secure-mqtt: what an endpoint without a port means */

extern const struct cvm_property CVM_PROPERTIES[];
extern const uint32_t CVM_PROPERTY_COUNT;

/* Parses value as the property's type; number receives its number (an index for a choice). 0, or -1
 * when the property doesn't take it. */
int32_t cvm_property_parse(const struct cvm_property *property, const char *value, int64_t *number);
/* The name of the property's type. */
const char *cvm_property_type_name(const struct cvm_property *property);
/* 1 if the name's part before the first dot is that of a property of the library's. */
int32_t cvm_property_is_library(const char *name);
/* What it takes, as `cvm config` shows it: "" for anything. */
const char *cvm_property_takes(const struct cvm_property *property);
/* Writes what the property takes, for people. */
void cvm_property_form(const struct cvm_property *property, char *text, size_t size);

#endif
