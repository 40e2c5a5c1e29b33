/* Text that grows. */
#include "buffer.h"

#include <inttypes.h>
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
    char text[24];
    int length = snprintf(text, sizeof text, "%" PRId64, number);
    cvm_buffer_add(buffer, text, (size_t)length);
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

/* The escape for a character that must have one; NULL if it needs none. */
static const char *json_escape(unsigned char character, char escape[8])
{
    static const char SHORT[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (const char *pair = SHORT; *pair; pair += 2)
        if ((unsigned char)*pair == character) {
            (void)snprintf(escape, 8, "\\%c", pair[1]);
            return escape;
        }
    if (character >= 0x20)
        return NULL;
    (void)snprintf(escape, 8, "\\u%04x", character);
    return escape;
}

void cvm_buffer_json(struct cvm_buffer *buffer, const char *text)
{
    char escape[8];
    cvm_buffer_add(buffer, "\"", 1);
    const char *plain = text; /* what was not added yet */
    for (; *text; text++) {
        const char *escaped = json_escape((unsigned char)*text, escape);
        if (!escaped)
            continue;
        cvm_buffer_add(buffer, plain, (size_t)(text - plain));
        cvm_buffer_text(buffer, escaped);
        plain = text + 1;
    }
    cvm_buffer_add(buffer, plain, (size_t)(text - plain));
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
