/* Tokens from a file, or computed:
 *   SHA-256(SALT "//" UID), SHA-256(SALT "//" UID "+" UID2), or HMAC-SHA-256(key SALT, message
 * UID), each as lower-case hex. Secrets come from files only: a command line can be read by
 * everyone. */
#include "token.h"

#include "credentials.h"
#include "files.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <string.h>

/* As long as the command takes them, with a line end and NUL. */
enum { LONGEST_SECRET = 1023, SECRET_SIZE = LONGEST_SECRET + 3 };

static size_t without_line_end(const char *secret, size_t length)
{
    if (length > 0 && secret[length - 1] == '\n') {
        length--;
    } else if (length == 0 || secret[length - 1] != '\r') {
        return length;
    }
    return length > 0 && secret[length - 1] == '\r' ? length - 1 : length;
}

/* What editors and shells put into a file makes another secret of it, and so another token. */
static const char *fault_of(const char *secret, size_t length)
{
    if (length == 0) {
        return "empty; it must hold the device's secret or token";
    }
    if (length > LONGEST_SECRET) {
        return "longer than a secret or token may be";
    }
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)secret[i] < ' ' || secret[i] == 0x7f) {
            return "it holds more than one line, or a control character (UTF-16?)";
        }
    }
    if (length >= 3 && memcmp(secret, "\xef\xbb\xbf", 3) == 0) {
        return "it begins with a byte order mark, which is no part of a secret";
    }
    return NULL;
}

/* Reads a secret; one line end at the file's end, which an editor put there, is not part of it. */
static int read_secret(const char *path, char secret[SECRET_SIZE], size_t *length)
{
    const long got = file_read(AT_FDCWD, path, secret, SECRET_SIZE);
    if (got < 0) {
        return report(EX_CONFIG, "%s: %s", path, strerror(errno));
    }
    *length = without_line_end(secret, (size_t)got);
    secret[*length] = '\0';
    const char *fault = fault_of(secret, *length);
    if (fault != NULL) {
        OPENSSL_cleanse(secret, SECRET_SIZE);
        return report(EX_CONFIG, "%s: %s", path, fault);
    }
    return EX_OK;
}

static bool hash(const struct token_source *source, const char *salt, size_t length,
    unsigned char digest[SHA256_DIGEST_LENGTH])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool hashed = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
                  EVP_DigestUpdate(context, salt, length) == 1 &&
                  EVP_DigestUpdate(context, "//", 2) == 1 &&
                  EVP_DigestUpdate(context, source->uid, strlen(source->uid)) == 1;
    if (hashed && source->second_uid != NULL) {
        hashed = EVP_DigestUpdate(context, "+", 1) == 1 &&
                 EVP_DigestUpdate(context, source->second_uid, strlen(source->second_uid)) == 1;
    }
    hashed = hashed && EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    return hashed;
}

static bool authenticate(const struct token_source *source, const char *salt, size_t length,
    unsigned char digest[SHA256_DIGEST_LENGTH])
{
    const unsigned char *message = (const unsigned char *)source->uid;
    return HMAC(EVP_sha256(), salt, (int)length, message, strlen(source->uid), digest, NULL) !=
           NULL;
}

static int compute(const struct token_source *source, char token[TOKEN_SIZE])
{
    char salt[SECRET_SIZE];
    size_t length = 0;
    const int status = read_secret(source->salt_file, salt, &length);
    if (status != EX_OK) {
        return status;
    }
    unsigned char digest[SHA256_DIGEST_LENGTH];
    const bool computed = source->hmac ? authenticate(source, salt, length, digest)
                                       : hash(source, salt, length, digest);
    OPENSSL_cleanse(salt, sizeof salt);
    if (!computed) {
        return report(EX_UNAVAILABLE, "SHA-256 is not to be had from this machine's OpenSSL");
    }
    to_hex(digest, sizeof digest, token);
    OPENSSL_cleanse(digest, sizeof digest);
    return EX_OK;
}

static const char *token_fault(const char *token, size_t length)
{
    if (length >= TOKEN_SIZE) {
        return "longer than a token";
    }
    for (size_t i = 0; i < length; i++) {
        if (token[i] <= ' ' || token[i] > '~' || token[i] == ':') {
            return "not a token: it holds a blank, a colon or no ASCII";
        }
    }
    return NULL;
}

int token_get(const struct token_source *source, char token[TOKEN_SIZE])
{
    if (source->token_file == NULL) {
        return compute(source, token);
    }
    char secret[SECRET_SIZE];
    size_t length = 0;
    const int status = read_secret(source->token_file, secret, &length);
    if (status != EX_OK) {
        return status;
    }
    const char *fault = token_fault(secret, length);
    if (fault == NULL) {
        memcpy(token, secret, length + 1);
    }
    OPENSSL_cleanse(secret, sizeof secret);
    return fault == NULL ? EX_OK : report(EX_CONFIG, "%s: %s", source->token_file, fault);
}
