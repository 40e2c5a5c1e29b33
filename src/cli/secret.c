/* Secrets that users hand in: from files and from the environment, never from a command line. What
 * an editor or a shell has put around a secret would make another one of it without a word, so
 * that only one form is taken, and the rest is refused with its place. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "base/utf8.h"
#include "cli.h"

/* openssl reads no more of a passphrase's line (APP_PASS_LEN, with NUL). */
#define LONGEST_SECRET 1023
#define MOST_READ      (LONGEST_SECRET + 3) /* its line end, and a byte that is too much */

static int32_t begins_with(const char *bytes, size_t length, const char *mark)
{
    size_t size = strlen(mark);
    return length >= size && memcmp(bytes, mark, size) == 0;
}

static size_t without_line_end(const char *bytes, size_t length)
{
    if (length && bytes[length - 1] == '\n')
        length--;
    else if (!length || bytes[length - 1] != '\r')
        return length;
    return length && bytes[length - 1] == '\r' ? length - 1 : length;
}

/* What is wrong with the character at that place; NULL if nothing is. *size receives its bytes. */
static const char *fault_at(const char *bytes, size_t length, size_t *size)
{
    const unsigned char c = (unsigned char)*bytes;
    *size = cvm_utf8_length((const unsigned char *)bytes, length);
    if (!c)
        return "a NUL";
    if (c == '\n' || c == '\r')
        return "the end of a line, and more behind it: a secret is one line";
    if (c < ' ' || c == 0x7f)
        return "a control character";
    return *size ? NULL : "what is no UTF-8";
}

/* 0, or an exit code after saying what is wrong: never what the secret is. */
static int32_t secret_check(const char *name, const char *bytes, size_t length)
{
    if (!length)
        return cli_fail(EX_DATAERR, "%s is empty", name);
    if (begins_with(bytes, length, "\xff\xfe") || begins_with(bytes, length, "\xfe\xff"))
        return cli_fail(EX_DATAERR, "%s is UTF-16: save it as UTF-8", name);
    if (begins_with(bytes, length, "\xef\xbb\xbf"))
        return cli_fail(EX_DATAERR,
            "%s begins with a byte order mark, which is no part of a secret: save it without",
            name);
    for (size_t at = 0, size; at < length; at += size) {
        const char *fault = fault_at(bytes + at, length - at, &size);
        if (fault)
            return cli_fail(EX_DATAERR, "%s holds, at byte %zu, %s", name, at + 1, fault);
    }
    return length <= LONGEST_SECRET
               ? 0
               : cli_fail(EX_DATAERR, "%s is longer than %d bytes", name, LONGEST_SECRET);
}

/* Takes bytes, of which there is room for one more. */
static int32_t secret_take(
    const char *name, char *bytes, size_t read, char **secret, size_t *length)
{
    *length = without_line_end(bytes, read);
    int32_t code = secret_check(name, bytes, *length);
    if (code) {
        cvm_secret_free(bytes, read);
        return code;
    }
    bytes[*length] = 0;
    *secret = bytes;
    return 0;
}

int32_t cli_read_secret(const char *path, char **secret, size_t *length)
{
    int32_t is_input = strcmp(path, "-") == 0;
    FILE *file = is_input ? stdin : fopen(path, "re");
    char *bytes = malloc(MOST_READ + 1);
    size_t read = 0;
    if (file && bytes) {
        (void)setvbuf(file, NULL, _IONBF, 0); /* no copy of it in stdio's buffer */
        errno = 0;
        read = fread(bytes, 1, MOST_READ, file);
    }
    int failure = file && bytes && !ferror(file) ? 0 : errno;
    if (file && !is_input)
        (void)fclose(file);
    if (!failure && bytes)
        return secret_take(is_input ? "standard input" : path, bytes, read, secret, length);
    cvm_secret_free(bytes, read);
    return cli_fail(EX_NOINPUT, "%s: %s", path, strerror(failure));
}

int32_t cli_read_secret_variable(const char *name, char **secret, size_t *length)
{
    char title[128];
    const char *value = getenv(name);
    (void)snprintf(title, sizeof title, "the environment's variable %.80s", name);
    if (!value)
        return cli_fail(EX_DATAERR, "%s, which should hold the secret, is not set", title);
    char *copy = strdup(value);
    if (!copy)
        return cli_fail(EX_OSERR, "out of memory");
    return secret_take(title, copy, strlen(copy), secret, length);
}

void cli_forget(char *secret, size_t length)
{
    cvm_secret_free(secret, length);
}
