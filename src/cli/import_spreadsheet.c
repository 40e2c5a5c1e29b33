/* The marks that Excel, LibreOffice and their kind leave. A uid may look like much, so that only
 * what none of them would leave alone counts. */
#include "import_spreadsheet.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define KEPT_DIGITS 15 /* a double's, and what all spreadsheets keep of a number */
/* By chance one number in a thousand ends so. */
#define LEAST_ZEROS 3

static size_t digits(const char *text)
{
    return strspn(text, "0123456789");
}

/* 3.52E+14, and with a comma. An E alone is hex, or a serial number's. */
static int32_t is_scientific(const char *text)
{
    size_t whole = digits(text), part = 0;
    if (!whole)
        return 0;
    text += whole;
    if (*text == '.' || *text == ',')
        part = digits(text + 1) + 1;
    text += part;
    if (*text != 'E' && *text != 'e')
        return 0;
    text++;
    int32_t has_sign = *text == '+';
    text += has_sign || (part && *text == '-');
    return (part || has_sign) && digits(text) && !text[digits(text)];
}

/* 5-Mar, Mar-26, 05-Mar-2026: no date that is all digits, which may be a serial number. */
static int32_t is_named_date(const char *text)
{
    static const char *const MONTHS[] = {
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    size_t day = digits(text);
    if (day > 2 || (day && text[day] != '-'))
        return 0;
    text += day ? day + 1 : 0;
    if (strnlen(text, 3) < 3 || (text[3] && text[3] != '-'))
        return 0;
    for (size_t i = 0; i < sizeof MONTHS / sizeof MONTHS[0]; i++) {
        if (strncmp(text, MONTHS[i], 3) != 0)
            continue;
        text += 3;
        size_t year = *text == '-' ? digits(text + 1) : 0;
        return year ? (year == 2 || year == 4) && !text[year + 1] : day && !*text;
    }
    return 0;
}

/* 5/3/2026, 05.03.2026: neither sign is a uid's, and a token is longer. */
static int32_t is_date(const char *text)
{
    size_t first = digits(text);
    char sign = text[first];
    if (!first || first > 4 || (sign != '/' && sign != '.'))
        return is_named_date(text);
    text += first + 1;
    size_t second = digits(text);
    if (!second || second > 2 || text[second] != sign)
        return 0;
    text += second + 1;
    return digits(text) && digits(text) <= 4 && !text[digits(text)];
}

static int32_t is_error(const char *text)
{
    static const char *const ERRORS[] = {
        "#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!", "#CALC!"};
    if (*text != '#')
        return strncmp(text, "Err:5", 5) == 0;
    for (size_t i = 0; i < sizeof ERRORS / sizeof ERRORS[0]; i++)
        if (strcasecmp(text, ERRORS[i]) == 0)
            return 1;
    return !text[strspn(text, "#")];
}

const char *import_spreadsheet_harm(const char *text)
{
    if (is_scientific(text))
        return "is a number of which a spreadsheet has left away digits: format the column as text "
               "and fill it from the source again";
    if (is_date(text))
        return "is a date that a spreadsheet has made of it: format the column as text and fill it "
               "from the source again";
    if (is_error(text))
        return "is what a spreadsheet shows instead of a value: mend its cell and export again";
    return NULL;
}

void import_long_numbers_add(struct import_long_numbers *numbers, const char *text)
{
    size_t length = digits(text);
    if (text[length] || length <= KEPT_DIGITS)
        return;
    size_t lost = length - KEPT_DIGITS;
    numbers->count++;
    if (strspn(text + KEPT_DIGITS, "0") == lost) {
        numbers->cut++;
        numbers->zeros += lost;
    }
}

int32_t import_long_numbers_are_cut(const struct import_long_numbers *numbers)
{
    return numbers->cut == numbers->count && numbers->zeros >= LEAST_ZEROS;
}
