/* Metrics: a list of series for each metric, under one lock. Their number is bounded. */
#include "metrics.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "entry.h"

#define MOST_SERIES   256 /* of one metric; more are dropped */
#define LONGEST_LABEL 256 /* a file's path */
#define BUCKETS       14

enum type { COUNTER, GAUGE, HISTOGRAM };

struct family {
    const char *name;
    enum type type;
    const char *labels, *help;
};

#define ROW(id, name, type, labels, help) {name, type, labels, help},
static const struct family FAMILIES[METRIC_COUNT] = {CVM_METRIC_MAP(ROW)};
#undef ROW

static const double BOUNDS[BUCKETS] = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 15};

struct series {
    struct series *next;
    char labels[CVM_METRIC_LABELS][LONGEST_LABEL];
    double value; /* a histogram's sum */
    uint64_t count;
    uint64_t buckets[BUCKETS];
};

struct cvm_metrics {
    pthread_mutex_t lock;
    struct series *first[METRIC_COUNT];
    uint32_t counts[METRIC_COUNT];
};

struct cvm_metrics *cvm_metrics_new(void)
{
    struct cvm_metrics *metrics = calloc(1, sizeof *metrics);
    if (metrics)
        (void)pthread_mutex_init(&metrics->lock, NULL); /* can't fail with default attributes */
    return metrics;
}

void cvm_metrics_free(struct cvm_metrics *metrics)
{
    if (!metrics)
        return;
    for (uint32_t i = 0; i < METRIC_COUNT; i++) {
        for (struct series *series = metrics->first[i], *next; series; series = next) {
            next = series->next;
            free(series);
        }
    }
    pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

/* How many labels a metric has. */
static uint32_t label_count(enum cvm_metric metric)
{
    const char *labels = FAMILIES[metric].labels;
    uint32_t count = *labels != 0;
    for (; *labels; labels++)
        count += *labels == ',';
    return count;
}

static int32_t has_labels(const struct series *series, const char *const *labels, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (strncmp(series->labels[i], labels[i], LONGEST_LABEL - 1) != 0)
            return 0;
    return 1;
}

/* The series with these labels, made if there is none; NULL when there are too many. */
static struct series *find(
    struct cvm_metrics *metrics, enum cvm_metric metric, const char *const *labels)
{
    uint32_t count = label_count(metric);
    struct series **link = &metrics->first[metric];
    for (; *link; link = &(*link)->next)
        if (has_labels(*link, labels, count))
            return *link;
    if (metrics->counts[metric] == MOST_SERIES || !(*link = calloc(1, sizeof **link)))
        return NULL;
    metrics->counts[metric]++;
    for (uint32_t i = 0; i < count; i++)
        (void)snprintf((*link)->labels[i], LONGEST_LABEL, "%s", labels[i]);
    return *link;
}

void cvm_metrics_add(
    struct cvm_metrics *metrics, enum cvm_metric metric, const char *const *labels, double amount)
{
    pthread_mutex_lock(&metrics->lock);
    struct series *series = find(metrics, metric, labels);
    if (series)
        series->value += amount;
    pthread_mutex_unlock(&metrics->lock);
}

void cvm_metrics_set(
    struct cvm_metrics *metrics, enum cvm_metric metric, const char *const *labels, double value)
{
    pthread_mutex_lock(&metrics->lock);
    struct series *series = find(metrics, metric, labels);
    if (series)
        series->value = value;
    pthread_mutex_unlock(&metrics->lock);
}

void cvm_metrics_observe(
    struct cvm_metrics *metrics, enum cvm_metric metric, const char *const *labels, double seconds)
{
    pthread_mutex_lock(&metrics->lock);
    struct series *series = find(metrics, metric, labels);
    if (series) {
        uint32_t bucket = 0;
        while (bucket < BUCKETS && seconds > BOUNDS[bucket])
            bucket++;
        if (bucket < BUCKETS)
            series->buckets[bucket]++;
        series->count++;
        series->value += seconds;
    }
    pthread_mutex_unlock(&metrics->lock);
}

/* --- Rendering -------------------------------------------------------------------------------- */

/* A label's value as the text form wants it. */
static void print_escaped(FILE *out, const char *value)
{
    for (; *value; value++) {
        if (*value == '\n')
            (void)fputs("\\n", out);
        else
            (void)fprintf(out, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
    }
}

/* "name="value",…" for a series, and le for a bucket; with braces unless there is nothing in them.
 */
static void print_labels(
    FILE *out, enum cvm_metric metric, const struct series *series, const char *le)
{
    const char *name = FAMILIES[metric].labels, *separator = "{";
    for (uint32_t i = 0; i < label_count(metric); i++) {
        int length = (int)strcspn(name, ",");
        (void)fprintf(out, "%s%.*s=\"", separator, length, name);
        print_escaped(out, series->labels[i]);
        (void)fputc('"', out);
        name += length + 1;
        separator = ",";
    }
    if (le)
        (void)fprintf(out, "%sle=\"%s\"", separator, le);
    if (le || *separator == ',')
        (void)fputc('}', out);
}

static void print_value(FILE *out, enum cvm_metric metric, const struct series *series)
{
    (void)fputs(FAMILIES[metric].name, out);
    print_labels(out, metric, series, NULL);
    (void)fprintf(out, " %.15g\n", series->value);
}

static void print_histogram(FILE *out, enum cvm_metric metric, const struct series *series)
{
    const char *name = FAMILIES[metric].name;
    uint64_t below = 0;
    for (uint32_t i = 0; i <= BUCKETS; i++) {
        char le[32] = "+Inf";
        if (i < BUCKETS)
            (void)snprintf(le, sizeof le, "%g", BOUNDS[i]);
        below = i < BUCKETS ? below + series->buckets[i] : series->count;
        (void)fprintf(out, "%s_bucket", name);
        print_labels(out, metric, series, le);
        (void)fprintf(out, " %llu\n", (unsigned long long)below);
    }
    (void)fprintf(out, "%s_sum", name);
    print_labels(out, metric, series, NULL);
    (void)fprintf(out, " %.9g\n%s_count", series->value, name);
    print_labels(out, metric, series, NULL);
    (void)fprintf(out, " %llu\n", (unsigned long long)series->count);
}

size_t cvm_metrics(cvm_t *cvm, char *text, size_t size)
{
    size_t length;
    cvm_error_t *error = cvm_entry_of_any_thread(cvm, __func__, text || !size);
    char *whole = error ? NULL : cvm_metrics_render(cvm_metrics_of(cvm), &length);
    cvm_error_free(error);
    if (!whole)
        return 0;
    if (size)
        (void)snprintf(text, size, "%s", whole);
    free(whole);
    return length + 1;
}

char *cvm_metrics_render(struct cvm_metrics *metrics, size_t *length)
{
    static const char *const TYPES[] = {"counter", "gauge", "histogram"};
    char *text = NULL;
    FILE *out = open_memstream(&text, length);
    if (!out)
        return NULL;
    pthread_mutex_lock(&metrics->lock);
    for (enum cvm_metric i = 0; i < METRIC_COUNT; i++) {
        const struct family *family = &FAMILIES[i];
        (void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", family->name, family->help, family->name,
            TYPES[family->type]);
        for (const struct series *series = metrics->first[i]; series; series = series->next) {
            if (family->type == HISTOGRAM)
                print_histogram(out, i, series);
            else
                print_value(out, i, series);
        }
    }
    pthread_mutex_unlock(&metrics->lock);
    if (fclose(out)) {
        free(text);
        return NULL;
    }
    return text;
}
