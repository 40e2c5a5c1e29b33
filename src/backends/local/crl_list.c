/* Lists of what CRLs list, kept apart from OpenSSL's, which take ten times the room. */
#include "crl_list.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/x509v3.h>

#include "base/clock.h"

static const struct {
    const char *name;
    int8_t code;
} REASONS[] = {{"keyCompromise", CRL_REASON_KEY_COMPROMISE},
    {"cACompromise", CRL_REASON_CA_COMPROMISE},
    {"affiliationChanged", CRL_REASON_AFFILIATION_CHANGED}, {"superseded", CRL_REASON_SUPERSEDED},
    {"cessationOfOperation", CRL_REASON_CESSATION_OF_OPERATION},
    {"certificateHold", CRL_REASON_CERTIFICATE_HOLD},
    {"privilegeWithdrawn", CRL_REASON_PRIVILEGE_WITHDRAWN},
    {"aACompromise", CRL_REASON_AA_COMPROMISE}};
#define REASON_COUNT (sizeof REASONS / sizeof REASONS[0])

/* --- Entries ---------------------------------------------------------------------------------- */

static int32_t entry_digit(char digit)
{
    static const char DIGITS[] = "0123456789abcdef";
    const char *at = digit ? strchr(DIGITS, digit) : NULL;
    return at ? (int32_t)(at - DIGITS) : -1;
}

/* Hex of any length, as the records have it, without the zeroes that it may begin with. */
static int32_t entry_set_serial(struct crl_entry *entry, const char *hex)
{
    hex += strspn(hex, "0");
    size_t digits = strlen(hex);
    if (!digits || digits > (size_t)2 * SERIAL_SIZE)
        return -1;
    entry->length = (uint8_t)((digits + 1) / 2);
    size_t at = digits % 2; /* an odd one begins with half a byte */
    for (size_t i = 0; i < digits; i++, at++) {
        int32_t value = entry_digit(hex[i]);
        if (value < 0)
            return -1;
        entry->serial[at / 2] = (uint8_t)(entry->serial[at / 2] << 4 | value);
    }
    return 0;
}

int32_t cvm_crl_entry_set(
    struct crl_entry *entry, const char *serial_hex, int64_t revoked_at_ms, const char *reason)
{
    /* A time that no CRL can say must not keep all others out of it. */
    *entry = (struct crl_entry){
        .revoked_at_ms = revoked_at_ms < 0 || revoked_at_ms >= CVM_UTC_END_MS ? 0 : revoked_at_ms};
    for (size_t i = 0; i < REASON_COUNT; i++)
        if (strcmp(reason, REASONS[i].name) == 0)
            entry->reason = REASONS[i].code;
    return entry_set_serial(entry, serial_hex);
}

const char *cvm_crl_entry_reason(const struct crl_entry *entry)
{
    for (size_t i = 0; i < REASON_COUNT; i++)
        if (REASONS[i].code == entry->reason)
            return REASONS[i].name;
    return "";
}

int32_t cvm_crl_entry_is_held(const struct crl_entry *entry)
{
    return entry->reason == CRL_REASON_CERTIFICATE_HOLD;
}

static int entry_compare(const void *a, const void *b)
{
    const struct crl_entry *one = a, *other = b;
    if (one->length != other->length)
        return one->length - other->length;
    return memcmp(one->serial, other->serial, one->length);
}

/* --- Lists ------------------------------------------------------------------------------------ */

int32_t cvm_crl_list_add(struct crl_list *list, const struct crl_entry *entry)
{
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 64;
        struct crl_entry *more = realloc(list->entries, room * sizeof *more);
        if (!more)
            return -1;
        list->entries = more;
        list->room = room;
    }
    list->entries[list->count++] = *entry;
    return 0;
}

static int list_compare(const void *a, const void *b)
{
    int order = entry_compare(a, b);
    return order ? order : cvm_crl_entry_is_held(a) - cvm_crl_entry_is_held(b);
}

void cvm_crl_list_sort(struct crl_list *list)
{
    size_t kept = 0;
    if (list->count)
        qsort(list->entries, list->count, sizeof list->entries[0], list_compare);
    for (size_t i = 0; i < list->count; i++)
        if (!kept || entry_compare(&list->entries[kept - 1], &list->entries[i]) != 0)
            list->entries[kept++] = list->entries[i];
    list->count = kept;
}

const struct crl_entry *cvm_crl_list_find(
    const struct crl_list *list, const struct crl_entry *entry)
{
    return list->count ? bsearch(entry, list->entries, list->count, sizeof *entry, entry_compare)
                       : NULL;
}

int32_t cvm_crl_list_is_same(const struct crl_list *one, const struct crl_list *other)
{
    if (one->count != other->count)
        return 0;
    for (size_t i = 0; i < one->count; i++)
        if (entry_compare(&one->entries[i], &other->entries[i]) != 0 ||
            one->entries[i].reason != other->entries[i].reason)
            return 0;
    return 1;
}

void cvm_crl_list_clear(struct crl_list *list)
{
    free(list->entries);
    *list = (struct crl_list){0};
}
