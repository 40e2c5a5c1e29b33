/* What a Lambda tells of itself: the library's log with the trace's id in each line, and its
 * counters as lines that CloudWatch makes metrics of (embedded metric format), since nobody scrapes
 * one. On the one thread that there is. */
#ifndef CVM_LAMBDA_REPORT_H
#define CVM_LAMBDA_REPORT_H

#include <cvm/cvm.h>

#define REPORT_COUNTERS 12

struct report {
    char trace_id[300];
    uint64_t told[REPORT_COUNTERS], failed_passes, failed_full_passes, failed_starts;
};

/* A cvm_log_cb; user_data is the report. */
void report_log(void *user_data, int32_t level, const char *line);
/* A line about an event, with its id. */
void report_error(const struct report *report, const char *request_id, const char *text);
/* Of an event that the library was not asked about. */
void report_refusal(
    const struct report *report, const char *request_id, const char *peer, const char *code);
/* Tells what the counters have grown by since then. */
void report_counters(struct report *report, cvm_t *cvm);

#endif
