/* Prints errors and notices on standard error. What a server sent may be part of a line, so control
 * characters are taken out: they could move a terminal's cursor or forge a line of a log. */
#include "report.h"

#include <stdio.h>

enum { LINE_SIZE = 1024 };

int report(int status, const char *format, ...)
{
    char line[LINE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);

    for (char *c = line; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == '\x7f') {
            *c = '?';
        }
    }
    fprintf(stderr, "cvm-device: %s\n", line);
    return status;
}
