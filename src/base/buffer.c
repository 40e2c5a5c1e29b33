/* Text that grows. */
#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "secret.h"

#define FIRST_SIZE  512
#define FORMAT_SIZE 256

/* Not by realloc(), which would leave what was a secret behind. */
static int32_t buffer_grow(struct cvm_buffer *buffer, size_t wanted)
{
    size_t size = buffer->size ? buffer->size : FIRST_SIZE;
    while (size < wanted)
        size *= 2;
    if (size > buffer->most)
        size = buffer->most;
    char *text = wanted <= size ? malloc(size) : NULL;
    if (!text)
        return -1;
    if (buffer->text)
        memcpy(text, buffer->text, buffer->length + 1);
    cvm_secret_free(buffer->text, buffer->size);
    buffer->text = text;
    buffer->size = size;
    return 0;
}

void cvm_buffer_add(struct cvm_buffer *buffer, const void *bytes, size_t length)
{
    if (buffer->failed || length >= buffer->most ||
        (buffer->length + length + 1 > buffer->size &&
            buffer_grow(buffer, buffer->length + length + 1))) {
        buffer->failed = 1;
        return;
    }
    memcpy(buffer->text + buffer->length, bytes, length);
    buffer->length += length;
    buffer->text[buffer->length] = 0;
}

void cvm_buffer_text(struct cvm_buffer *buffer, const char *text)
{
    cvm_buffer_add(buffer, text, strlen(text));
}

void cvm_buffer_number(struct cvm_buffer *buffer, int64_t number)
{
    char text[20], *at = text + sizeof text; /* the longest number */
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (number < 0)
        *--at = '-';
    cvm_buffer_add(buffer, at, (size_t)(text + sizeof text - at));
}

void cvm_buffer_format(struct cvm_buffer *buffer, const char *format, ...)
{
    char text[FORMAT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof text)
        buffer->failed = 1;
    else
        cvm_buffer_add(buffer, text, (size_t)length);
}

static int32_t is_plain(unsigned char character)
{
    return character >= 0x20 && character != '"' && character != '\\';
}

static void add_escape(struct cvm_buffer *buffer, unsigned char character)
{
    static const char SHORT[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    char escape[8];
    const char *pair = SHORT;
    while (*pair && (unsigned char)*pair != character)
        pair += 2;
    if (*pair)
        (void)snprintf(escape, sizeof escape, "\\%c", pair[1]);
    else
        (void)snprintf(escape, sizeof escape, "\\u%04x", character);
    cvm_buffer_text(buffer, escape);
}

void cvm_buffer_json(struct cvm_buffer *buffer, const char *text)
{
    cvm_buffer_add(buffer, "\"", 1);
    for (const char *plain = text;; plain = ++text) {
        while (is_plain((unsigned char)*text)) /* the end is not */
            text++;
        cvm_buffer_add(buffer, plain, (size_t)(text - plain));
        if (!*text)
            break;
        add_escape(buffer, (unsigned char)*text);
    }
    cvm_buffer_add(buffer, "\"", 1);
}

void cvm_buffer_clear(struct cvm_buffer *buffer)
{
    buffer->length = 0;
    buffer->failed = 0;
    if (buffer->text)
        *buffer->text = 0;
}

void cvm_buffer_free(struct cvm_buffer *buffer)
{
    cvm_secret_free(buffer->text, buffer->size);
    buffer->text = NULL;
    buffer->length = buffer->size = 0;
    buffer->failed = 0;
}
