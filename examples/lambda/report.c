#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "runtime.h"

/* --- The log ---------------------------------------------------------------------------------- */

/* What stands in an X-Ray id needs no escaping; what else does is left out. */
static int32_t is_plain(const char *text)
{
    return text[strspn(
               text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-=;:_.")] == 0;
}

void report_log(void *user_data, int32_t level, const char *line)
{
    const struct report *report = user_data;
    size_t length = strlen(line);
    (void)level;
    if (*report->trace_id && is_plain(report->trace_id) && length > 1 && line[length - 1] == '}')
        (void)fprintf(
            stderr, "%.*s,\"trace_id\":\"%s\"}\n", (int)length - 1, line, report->trace_id);
    else
        (void)fprintf(stderr, "%s\n", line);
}

/* Fields that are NULL or "" are left out. */
static void write_line(const char *const fields[][2], size_t count)
{
    cJSON *line = cJSON_CreateObject();
    for (size_t i = 0; i < count; i++)
        if (fields[i][1] && *fields[i][1])
            (void)cJSON_AddStringToObject(line, fields[i][0], fields[i][1]);
    char *printed = cJSON_PrintUnformatted(line);
    if (printed)
        (void)fprintf(stderr, "%s\n", printed);
    cJSON_free(printed);
    cJSON_Delete(line);
}

void report_error(const struct report *report, const char *request_id, const char *text)
{
    const char *const fields[][2] = {{"level", "error"}, {"event", "message"}, {"text", text},
        {"request_id", request_id}, {"trace_id", report->trace_id}};
    write_line(fields, sizeof fields / sizeof *fields);
}

void report_refusal(
    const struct report *report, const char *request_id, const char *peer, const char *code)
{
    const char *const fields[][2] = {{"level", "info"}, {"event", "registration"},
        {"request_id", request_id}, {"peer", peer}, {"transport", "lambda"}, {"code", code},
        {"trace_id", report->trace_id}};
    write_line(fields, sizeof fields / sizeof *fields);
}

/* --- Counters --------------------------------------------------------------------------------- */

/* Of our metrics, those that alarms are made of: all lines of the name that have that text in them
 * are summed up. */
static const struct {
    const char *metric, *name, *with;
} COUNTERS[REPORT_COUNTERS] = {
    {"Registrations", "cvm_registrations_total{", "result=\"success\""},
    {"Errors", "cvm_registrations_total{", "result=\"error\""},
    {"StoreErrors", "cvm_registrations_total{", "reason=\"store_"},
    {"PlatformErrors", "cvm_registrations_total{", "reason=\"platform_"},
    {"Overloaded", "cvm_registrations_total{", "reason=\"overloaded\""},
    {"WrongProofs", "cvm_auth_failures_total{", ""},
    {"OtherKeys", "cvm_key_conflicts_total", ""},
    {"CertificatesIssued", "cvm_certificates_issued_total{", ""},
    {"CertificatesRevoked", "cvm_certificates_revoked_total{", ""},
    /* The report's own: */
    {"FailedPasses", NULL, NULL},
    {"FailedFullPasses", NULL, NULL},
    {"FailedStarts", NULL, NULL},
};

static uint64_t sum(const char *metrics, const char *name, const char *with)
{
    uint64_t total = 0;
    for (const char *line = metrics; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *end = line + strcspn(line, "\n"), *found = strstr(line, with);
        const char *value = end;
        while (value > line && value[-1] != ' ')
            value--;
        if (strncmp(line, name, strlen(name)) == 0 && found && found < end)
            total += strtoull(value, NULL, 10);
    }
    return total;
}

static char *read_metrics(cvm_t *cvm)
{
    size_t size = 65536, needed;
    char *text = malloc(size);
    while (text && (needed = cvm_metrics(cvm, text, size)) > size) {
        free(text);
        size = needed;
        text = malloc(size);
    }
    return text;
}

/* {"_aws": {...}, "FunctionName": "...", "Registrations": 1, ...} */
static cJSON *embedded(const uint64_t *grown)
{
    const char *function = getenv("AWS_LAMBDA_FUNCTION_NAME");
    cJSON *line = cJSON_CreateObject(), *about = cJSON_AddObjectToObject(line, "_aws");
    (void)cJSON_AddNumberToObject(about, "Timestamp", (double)runtime_now_ms());
    cJSON *directive = cJSON_CreateObject(),
          *directives = cJSON_AddArrayToObject(about, "CloudWatchMetrics");
    (void)cJSON_AddItemToArray(directives, directive);
    (void)cJSON_AddStringToObject(directive, "Namespace", "libcvm");
    cJSON *sets = cJSON_AddArrayToObject(directive, "Dimensions"), *set = cJSON_CreateArray();
    (void)cJSON_AddItemToArray(set, cJSON_CreateString("FunctionName"));
    (void)cJSON_AddItemToArray(sets, set);
    cJSON *metrics = cJSON_AddArrayToObject(directive, "Metrics");
    (void)cJSON_AddStringToObject(line, "FunctionName", function ? function : "libcvm");
    for (size_t i = 0; i < REPORT_COUNTERS; i++) {
        cJSON *metric = cJSON_CreateObject();
        (void)cJSON_AddStringToObject(metric, "Name", COUNTERS[i].metric);
        (void)cJSON_AddStringToObject(metric, "Unit", "Count");
        (void)cJSON_AddItemToArray(metrics, metric);
        (void)cJSON_AddNumberToObject(line, COUNTERS[i].metric, (double)grown[i]);
    }
    return line;
}

/* The library's counter, or the report's own. */
static uint64_t count_now(const struct report *report, const char *metrics, size_t i)
{
    const char *metric = COUNTERS[i].metric;
    if (COUNTERS[i].name)
        return sum(metrics, COUNTERS[i].name, COUNTERS[i].with);
    if (strcmp(metric, "FailedPasses") == 0)
        return report->failed_passes;
    return strcmp(metric, "FailedStarts") == 0 ? report->failed_starts : report->failed_full_passes;
}

void report_counters(struct report *report, cvm_t *cvm)
{
    uint64_t grown[REPORT_COUNTERS] = {0}, any = 0;
    char *metrics = read_metrics(cvm);
    for (size_t i = 0; metrics && i < REPORT_COUNTERS; i++) {
        uint64_t now = count_now(report, metrics, i);
        grown[i] = now - report->told[i];
        report->told[i] = now;
        any |= grown[i];
    }
    free(metrics);
    if (!any)
        return;
    cJSON *line = embedded(grown);
    char *text = cJSON_PrintUnformatted(line);
    if (text)
        (void)fprintf(stderr, "%s\n", text);
    cJSON_free(text);
    cJSON_Delete(line);
}
