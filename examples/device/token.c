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

enum { SECRET_SIZE = 4096 };

/* Reads a secret; one newline at the file's end, which an editor put there, is not part of it. */
static int read_secret(const char *path, char *secret, size_t size, size_t *length)
{
    const long got = file_read(AT_FDCWD, path, secret, size);
    if (got < 0) {
        return report(EX_CONFIG, "%s: %s", path, strerror(errno));
    }
    *length = (size_t)got;
    if (*length > 0 && secret[*length - 1] == '\n') {
        secret[--*length] = '\0';
    }
    if (*length == 0) {
        return report(EX_CONFIG, "%s: empty; it must hold the device's secret or token", path);
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
    const int status = read_secret(source->salt_file, salt, sizeof salt, &length);
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

int token_get(const struct token_source *source, char token[TOKEN_SIZE])
{
    if (source->token_file == NULL) {
        return compute(source, token);
    }
    size_t length = 0;
    const int status = read_secret(source->token_file, token, TOKEN_SIZE, &length);
    if (status != EX_OK) {
        return status;
    }
    for (size_t i = 0; i < length; i++) {
        if (token[i] <= ' ' || token[i] > '~' || token[i] == ':') {
            return report(EX_CONFIG, "%s: not a token: it holds a blank, a colon or no ASCII",
                source->token_file);
        }
    }
    return EX_OK;
}
