/* The rules for a row. Tokens leave this file as their SHA-256 only, and no complaint quotes one.
 */
#include "import_check.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#define LONGEST_TOKEN 256
/* Shorter ones can be guessed. */
#define STRONG_TOKEN 16
#define HASH_PREFIX  "sha256:"
#define HASH_DIGITS  ((size_t)2 * IMPORT_HASH_BYTES)

int32_t import_check_begin(struct import_check *check)
{
    check->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    check->context = EVP_MD_CTX_new();
    return check->sha256 && check->context ? 0 : -1;
}

void import_check_end(struct import_check *check)
{
    EVP_MD_CTX_free(check->context);
    EVP_MD_free(check->sha256);
}

static const char *hash(
    struct import_check *check, const char *token, size_t length, struct import_row *row)
{
    if (EVP_DigestInit_ex2(check->context, check->sha256, NULL) &&
        EVP_DigestUpdate(check->context, token, length) &&
        EVP_DigestFinal_ex(check->context, row->hash, NULL))
        return NULL;
    return "the token could not be hashed";
}

/* The complaint's copy of an error's text; frees the error. */
static const char *complaint_of(struct import_check *check, cvm_error_t *error)
{
    if (!error)
        return NULL;
    (void)snprintf(check->complaint, sizeof check->complaint, "%s", cvm_error_text(error));
    cvm_error_free(error);
    return check->complaint;
}

static const char *compute_token(struct import_check *check, struct import_row *row)
{
    char token[65];
    cvm_error_t *error =
        cvm_token(check->secret, check->secret_length, row->uid, NULL, check->is_hmac, token);
    const char *complaint =
        error ? complaint_of(check, error) : hash(check, token, sizeof token - 1, row);
    OPENSSL_cleanse(token, sizeof token);
    return complaint;
}

static int32_t digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *take_hash(const char *digits, size_t length, struct import_row *row)
{
    static const char COMPLAINT[] =
        "device_token begins with sha256: but 64 lower-case hex digits don't follow";
    if (length != HASH_DIGITS)
        return COMPLAINT;
    for (size_t i = 0; i < IMPORT_HASH_BYTES; i++) {
        int32_t high = digit_of(digits[2 * i]), low = digit_of(digits[2 * i + 1]);
        if (high < 0 || low < 0)
            return COMPLAINT;
        row->hash[i] = (uint8_t)(high * 16 + low);
    }
    return NULL;
}

static const char *take_token(struct import_check *check, const char *token, struct import_row *row)
{
    size_t prefix = strlen(HASH_PREFIX), length = strlen(token);
    if (strncmp(token, HASH_PREFIX, prefix) == 0)
        return take_hash(token + prefix, length - prefix, row);
    if (!length)
        return "device_token is empty";
    if (length > LONGEST_TOKEN)
        return "device_token is longer than 256 characters";
    for (const char *c = token; *c; c++)
        if (*c <= ' ' || *c > '~' || *c == ':')
            return "device_token must be printable ASCII without spaces and \":\"";
    if (length < STRONG_TOKEN && !check->allows_weak_tokens)
        return "device_token is shorter than 16 characters (--allow-weak-tokens takes it)";
    return hash(check, token, length, row);
}

static const char *take_flag(const char *text, struct import_row *row)
{
    static const struct {
        const char *text;
        enum import_flag flag;
    } FORMS[] = {{"1", IMPORT_ENABLED}, {"true", IMPORT_ENABLED}, {"0", IMPORT_DISABLED},
        {"false", IMPORT_DISABLED}, {"", IMPORT_UNSAID}};
    row->flag = IMPORT_ENABLED;
    for (size_t i = 0; text && i < sizeof FORMS / sizeof FORMS[0]; i++) {
        row->flag = FORMS[i].flag;
        if (strcasecmp(text, FORMS[i].text) == 0)
            return NULL;
    }
    return text ? "is_enabled is neither 1, 0, true nor false" : NULL;
}

const char *import_check_row(
    struct import_check *check, const struct import_fields *fields, struct import_row *row)
{
    if (!fields->uid || !*fields->uid)
        return "device_uid is missing";
    row->uid = fields->uid;
    const char *complaint = complaint_of(check, cvm_check_uid(check->cvm, fields->uid));
    if (!complaint)
        complaint = take_flag(fields->is_enabled, row);
    if (complaint)
        return complaint;
    if (check->secret)
        return fields->token ? "there is a device_token, and --salt-file computes tokens"
                             : compute_token(check, row);
    return fields->token ? take_token(check, fields->token, row) : "device_token is missing";
}
