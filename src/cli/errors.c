/* What the command says when something fails, and the exit codes of that. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

int32_t cli_fail(int32_t code, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *c = text; *c; c++) /* a file or a caller may have brought them */
        if (iscntrl((unsigned char)*c))
            *c = '?';
    (void)fprintf(stderr, "cvm: %s%s\n", text, code == EX_USAGE ? "; see --help" : "");
    return code;
}

int32_t cli_code_of(const cvm_error_t *error)
{
    switch (cvm_error_code(error)) {
    case CVM_CODE_OK:
        return 0;
    case CVM_CODE_INVALID:
    case CVM_CODE_NOT_FOUND:
        return EX_DATAERR;
    case CVM_CODE_DENIED:
    case CVM_CODE_CONFLICT:
        return EX_NOPERM;
    case CVM_CODE_BUSY:
    case CVM_CODE_UNKNOWN:
        return EX_TEMPFAIL;
    case CVM_CODE_UNAVAILABLE:
        return EX_UNAVAILABLE;
    case CVM_CODE_CONFIGURATION:
        return EX_CONFIG;
    default:
        return EX_SOFTWARE;
    }
}

int32_t cli_answer_code(cvm_answer_t answer)
{
    switch (answer) {
    case CVM_ANSWER_OK:
        return 0;
    case CVM_ANSWER_BUSY:
        return EX_TEMPFAIL;
    case CVM_ANSWER_BROKEN: /* what was handed in */
        return EX_DATAERR;
    case CVM_ANSWER_CONFLICT: /* it is there already */
        return EX_CANTCREAT;
    case CVM_ANSWER_INVALID:
        return EX_CONFIG;
    default:
        return EX_UNAVAILABLE;
    }
}

int32_t cli_report(const char *subject, const cvm_error_t *error)
{
    if (!error)
        return 0;
    const char *text = cvm_error_text(error);
    int32_t code = cli_code_of(error), is_named = !subject || strstr(text, subject) != NULL;
    int32_t is_for_now =
        code == EX_TEMPFAIL || strcmp(cvm_error_name(error), "store_unavailable") == 0;
    (void)cli_fail(0, "%s%s%s%s", is_named ? "" : subject, is_named ? "" : ": ", text,
        is_for_now ? "; try again" : "");
    return code;
}

int32_t cli_error(const char *subject, cvm_error_t *error)
{
    int32_t code = cli_report(subject, error);
    cvm_error_free(error);
    return code;
}

void cli_done(void *user_data, const cvm_error_t *error)
{
    struct cli_outcome *outcome = user_data;
    outcome->code = cli_report(outcome->subject, error);
    outcome->is_done = 1;
}
