/* What an editor or a shell has put around a secret would make another one of it without a word, so
 * that only one form is taken, and the rest is refused with its place. */
#include "secret_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "secret.h"
#include "utf8.h"

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

/* What is wrong with all of it; NULL if nothing is. */
static const char *fault_of(const char *bytes, size_t length)
{
    if (!length)
        return "is empty";
    if (begins_with(bytes, length, "\xff\xfe") || begins_with(bytes, length, "\xfe\xff"))
        return "is UTF-16: save it as UTF-8";
    if (begins_with(bytes, length, "\xef\xbb\xbf"))
        return "begins with a byte order mark, which is no part of a secret: save it without";
    return NULL;
}

int32_t cvm_secret_check(char *bytes, size_t *length, char *why, size_t why_size)
{
    *length = without_line_end(bytes, *length);
    const char *fault = fault_of(bytes, *length);
    if (fault) {
        (void)snprintf(why, why_size, "%s", fault);
        return -1;
    }
    for (size_t at = 0, size; at < *length; at += size) {
        fault = fault_at(bytes + at, *length - at, &size);
        if (fault) {
            (void)snprintf(why, why_size, "holds, at byte %zu, %s", at + 1, fault);
            return -1;
        }
    }
    if (*length > LONGEST_SECRET) {
        (void)snprintf(why, why_size, "is longer than %d bytes", LONGEST_SECRET);
        return -1;
    }
    bytes[*length] = 0;
    return 0;
}

enum cvm_secret_reading cvm_secret_read(
    FILE *file, char **secret, size_t *length, char *why, size_t why_size)
{
    char *bytes = malloc(MOST_READ + 1);
    size_t read = 0;
    errno = ENOMEM;
    if (bytes) {
        (void)setvbuf(file, NULL, _IONBF, 0); /* no copy of it in stdio's buffer */
        errno = 0;
        read = fread(bytes, 1, MOST_READ, file);
    }
    if (!bytes || ferror(file)) {
        (void)snprintf(why, why_size, "%s", strerror(errno));
        cvm_secret_free(bytes, read);
        return SECRET_CANT_BE_READ;
    }
    *length = read;
    if (cvm_secret_check(bytes, length, why, why_size)) {
        cvm_secret_free(bytes, read);
        return SECRET_IS_WRONG;
    }
    *secret = bytes;
    return SECRET_IS_READ;
}
