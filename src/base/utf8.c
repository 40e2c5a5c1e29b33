/* One table of the forms that RFC 3629 §4 allows. */
#include "utf8.h"

static const struct {
    unsigned char first, last, second_least, second_most;
    size_t length;
} FORMS[] = {
    {0xc2, 0xdf, 0x80, 0xbf, 2},
    {0xe0, 0xe0, 0xa0, 0xbf, 3},
    {0xe1, 0xec, 0x80, 0xbf, 3},
    {0xed, 0xed, 0x80, 0x9f, 3},
    {0xee, 0xef, 0x80, 0xbf, 3},
    {0xf0, 0xf0, 0x90, 0xbf, 4},
    {0xf1, 0xf3, 0x80, 0xbf, 4},
    {0xf4, 0xf4, 0x80, 0x8f, 4},
};

size_t cvm_utf8_length(const unsigned char *bytes, size_t length)
{
    if (*bytes < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof FORMS / sizeof FORMS[0]; i++) {
        if (*bytes < FORMS[i].first || *bytes > FORMS[i].last)
            continue;
        if (length < FORMS[i].length || bytes[1] < FORMS[i].second_least ||
            bytes[1] > FORMS[i].second_most)
            return 0;
        for (size_t more = 2; more < FORMS[i].length; more++)
            if ((bytes[more] & 0xc0) != 0x80)
                return 0;
        return FORMS[i].length;
    }
    return 0;
}
