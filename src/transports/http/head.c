/* Printing the head of an HTTP answer into a buffer of a fixed size. */
#include "head.h"

#include <stdio.h>

#include "base/clock.h"

static const char *head_phrase(int32_t status)
{
    static const struct {
        int32_t status;
        const char *phrase;
    } PHRASES[] = {{200, "OK"}, {400, "Bad Request"}, {403, "Forbidden"}, {404, "Not Found"},
        {405, "Method Not Allowed"}, {408, "Request Timeout"}, {409, "Conflict"},
        {413, "Content Too Large"}, {414, "URI Too Long"}, {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"}, {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"},
        {502, "Bad Gateway"}, {503, "Service Unavailable"}};
    for (size_t i = 0; i < sizeof PHRASES / sizeof PHRASES[0]; i++)
        if (PHRASES[i].status == status)
            return PHRASES[i].phrase;
    return "Unknown";
}

size_t cvm_head_print(const struct cvm_head *head, char *text, size_t size)
{
    char date[40];
    (void)cvm_print_utc(cvm_now_ms(), "%a, %d %b %Y %H:%M:%S GMT", date, sizeof date);
    int length = snprintf(text, size,
        "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
        "Cache-Control: no-store\r\n%sConnection: %s\r\n\r\n",
        (int)head->status, head_phrase(head->status), date, head->media_type, head->length,
        head->extra ? head->extra : "", head->must_close ? "close" : "keep-alive");
    /* snprintf returns what it wished to write, which may be more than it wrote. */
    return length > 0 && (size_t)length < size ? (size_t)length : 0;
}
