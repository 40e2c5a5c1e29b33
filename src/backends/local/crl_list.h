/* What a CRL lists: revoked and held certificates of one issuer. */
#ifndef CVM_LOCAL_CRL_LIST_H
#define CVM_LOCAL_CRL_LIST_H

#include <stddef.h>
#include <stdint.h>

#define SERIAL_SIZE 20 /* the longest serial that RFC 5280 §4.1.2.2 knows */

/* An entry; reason is RFC 5280 §5.3.1's number. Without padding: there may be millions. */
struct crl_entry {
    uint8_t serial[SERIAL_SIZE]; /* without leading zeroes */
    uint8_t length;
    int8_t reason;
    int64_t revoked_at_ms;
};

struct crl_list {
    struct crl_entry *entries;
    size_t count, room;
};

/* Fills an entry; reason is RFC 5280's name ("" or an unknown one: unspecified). 0, or -1 if the
 * serial is none. */
int32_t cvm_crl_entry_set(
    struct crl_entry *entry, const char *serial_hex, int64_t revoked_at_ms, const char *reason);
/* The reason's name; "" for unspecified. */
const char *cvm_crl_entry_reason(const struct crl_entry *entry);
/* Is it on hold, and not for good? */
int32_t cvm_crl_entry_is_held(const struct crl_entry *entry);

/* 0, or -1 without memory. */
int32_t cvm_crl_list_add(struct crl_list *list, const struct crl_entry *entry);
/* Puts it in order, by serial, each once: of several, one that is for good. */
void cvm_crl_list_sort(struct crl_list *list);
/* The entry of a sorted list with that serial; NULL if there is none. */
const struct crl_entry *cvm_crl_list_find(
    const struct crl_list *list, const struct crl_entry *entry);
/* Do two sorted lists say the same? When something was revoked does not count. */
int32_t cvm_crl_list_is_same(const struct crl_list *one, const struct crl_list *other);
void cvm_crl_list_clear(struct crl_list *list);

#endif
