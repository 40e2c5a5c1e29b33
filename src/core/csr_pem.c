/* A CSR's PEM (RFC 7468), strictly: OpenSSL passes over much that other readers of the same text
 * may not, such as lines before the object, headers, and what follows a '-'. */
#include <stdlib.h>
#include <string.h>

#include "base/pem.h"
#include "csr.h"
#include "key.h"

#define BEGIN_LINE   "-----BEGIN CERTIFICATE REQUEST-----"
#define END_LINE     "-----END CERTIFICATE REQUEST-----"
#define NEW_END_LINE "-----END NEW CERTIFICATE REQUEST-----"
#define BASE64       "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
#define NO_PEM       "the CSR is no PEM"
#define WHITE_SPACE  " \t\r\n"

/* §7 has the second label read as the first. */
static const struct {
    const char *begin, *end;
} LABELS[] = {
    {BEGIN_LINE, END_LINE},
    {"-----BEGIN NEW CERTIFICATE REQUEST-----", NEW_END_LINE},
};

static int32_t begins_with(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

/* The place behind white space that ends a line, or NULL: a CR alone ends none. */
static const char *behind_line(const char *text)
{
    text += strspn(text, " \t");
    if (*text == '\r')
        text++;
    return *text == '\n' ? text + 1 : NULL;
}

/* Whole lines of base64 until end, white space at their ends: OpenSSL's decoder passes over more.
 * NULL, or what else there is. */
static const char *fault_in_base64(const char *text, const char *end)
{
    size_t digits = 0;
    while (text < end) {
        size_t length = strspn(text, BASE64);
        digits += length;
        text += length;
        const char *next = behind_line(text);
        if (!next || next > end)
            return text == end ? NO_PEM ": its last line does not begin a line"
                               : NO_PEM
                       ": between its first and its last line there is more than base64";
        text = next;
    }
    return digits % 4 ? NO_PEM ": its base64 is cut" : NULL;
}

/* One object, with white space around it and at its line ends: what is between its lines. */
static int32_t find_base64(const char *pem, struct cvm_span *base64, const char **why)
{
    if (strnlen(pem, CVM_LONGEST_CSR + 1) > CVM_LONGEST_CSR)
        return cvm_csr_refuse(why, "the CSR is longer than 4096 bytes");
    pem += strspn(pem, WHITE_SPACE);
    size_t label = begins_with(pem, LABELS[0].begin) ? 0 : 1;
    if (!begins_with(pem, LABELS[label].begin))
        return cvm_csr_refuse(why, NO_PEM ": it begins with no " BEGIN_LINE);
    const char *first = behind_line(pem + strlen(LABELS[label].begin));
    if (!first)
        return cvm_csr_refuse(why, NO_PEM ": its first line has no end (LF, or CR LF)");
    const char *last = strstr(first, LABELS[label].end);
    if (!last)
        return cvm_csr_refuse(
            why, label ? NO_PEM ": it has no " NEW_END_LINE : NO_PEM ": it has no " END_LINE);
    if ((*why = fault_in_base64(first, last)))
        return -1;
    *base64 = (struct cvm_span){(const unsigned char *)first, last - first};
    last += strlen(LABELS[label].end);
    return last[strspn(last, WHITE_SPACE)] ? cvm_csr_refuse(why, "there are bytes behind the CSR")
                                           : 0;
}

int32_t cvm_csr_from_pem(const char *pem, unsigned char *der, long *length, const char **why)
{
    struct cvm_span base64 = {NULL, 0};
    if (find_base64(pem, &base64, why))
        return -1;
    int32_t decoded = cvm_pem_decode(base64, der, length);
    if (decoded == 0)
        *why = NO_PEM ": between its lines there is no base64";
    return decoded == 1 ? 0 : -1;
}

char *cvm_csr_to_pem(const unsigned char *der, long length)
{
    static const long LINE_BYTES = 48; /* 64 characters */
    size_t lines = (size_t)(length / LINE_BYTES) + 1;
    char *pem = malloc(sizeof BEGIN_LINE + sizeof END_LINE + 2 + lines * 65);
    if (!pem)
        return NULL;
    char *at = stpcpy(pem, BEGIN_LINE "\n");
    for (; length > 0; length -= LINE_BYTES, der += LINE_BYTES) {
        int taken = (int)(length < LINE_BYTES ? length : LINE_BYTES);
        at += EVP_EncodeBlock((unsigned char *)at, der, taken);
        *at++ = '\n';
    }
    (void)stpcpy(at, END_LINE "\n");
    return pem;
}
