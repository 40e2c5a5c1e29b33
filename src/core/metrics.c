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
#define MOST_OWN      64 /* counters of plugins */
#define NAME_SIZE     80
#define OWN_PREFIX    "cvm_"

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

/* All series of a metric. */
struct list {
    const struct family *family;
    struct series *first;
    uint32_t count;
};

/* A plugin's counter. */
struct own {
    struct own *next;
    struct family family; /* of the next two */
    char name[NAME_SIZE], labels[CVM_METRIC_LABELS * NAME_SIZE];
    struct list list;
};

struct cvm_metrics {
    pthread_mutex_t lock;
    struct list lists[METRIC_COUNT];
    struct own *own;
    uint32_t own_count;
};

struct cvm_metrics *cvm_metrics_new(void)
{
    struct cvm_metrics *metrics = calloc(1, sizeof *metrics);
    if (!metrics)
        return NULL;
    (void)pthread_mutex_init(&metrics->lock, NULL); /* can't fail with default attributes */
    for (uint32_t i = 0; i < METRIC_COUNT; i++)
        metrics->lists[i].family = &FAMILIES[i];
    return metrics;
}

static void list_free(struct list *list)
{
    for (struct series *series = list->first, *next; series; series = next) {
        next = series->next;
        free(series);
    }
}

void cvm_metrics_free(struct cvm_metrics *metrics)
{
    if (!metrics)
        return;
    for (uint32_t i = 0; i < METRIC_COUNT; i++)
        list_free(&metrics->lists[i]);
    for (struct own *own = metrics->own, *next; own; own = next) {
        next = own->next;
        list_free(&own->list);
        free(own);
    }
    pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

/* How many labels a metric has. */
static uint32_t label_count(const struct family *family)
{
    const char *labels = family->labels;
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
static struct series *find(struct list *list, const char *const *labels)
{
    uint32_t count = label_count(list->family);
    struct series **link = &list->first;
    for (; *link; link = &(*link)->next)
        if (has_labels(*link, labels, count))
            return *link;
    if (list->count == MOST_SERIES || !(*link = calloc(1, sizeof **link)))
        return NULL;
    list->count++;
    for (uint32_t i = 0; i < count; i++)
        (void)snprintf((*link)->labels[i], LONGEST_LABEL, "%s", labels[i]);
    return *link;
}

void cvm_metrics_add(
    struct cvm_metrics *metrics, enum cvm_metric metric, const char *const *labels, double amount)
{
    pthread_mutex_lock(&metrics->lock);
    struct series *series = find(&metrics->lists[metric], labels);
    if (series)
        series->value += amount;
    pthread_mutex_unlock(&metrics->lock);
}

void cvm_metrics_set(
    struct cvm_metrics *metrics, enum cvm_metric metric, const char *const *labels, double value)
{
    pthread_mutex_lock(&metrics->lock);
    struct series *series = find(&metrics->lists[metric], labels);
    if (series)
        series->value = value;
    pthread_mutex_unlock(&metrics->lock);
}

void cvm_metrics_observe(
    struct cvm_metrics *metrics, enum cvm_metric metric, const char *const *labels, double seconds)
{
    pthread_mutex_lock(&metrics->lock);
    struct series *series = find(&metrics->lists[metric], labels);
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

/* --- Plugins' counters ------------------------------------------------------------------------ */

static int32_t is_word(const char *text)
{
    static const char CHARACTERS[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    size_t length = text ? strspn(text, CHARACTERS) : 0;
    return length && !text[length] && length < NAME_SIZE - sizeof OWN_PREFIX &&
           (*text < '0' || *text > '9');
}

/* Writes names separated by commas. 0, or -1 if one can't be. */
static int32_t join_names(char *to, size_t size, const char *const *names, uint32_t count)
{
    size_t length = 0;
    *to = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!is_word(names[i]))
            return -1;
        length += (size_t)snprintf(to + length, size - length, "%s%s", i ? "," : "", names[i]);
    }
    return 0;
}

static int32_t is_library_metric(const char *name)
{
    for (uint32_t i = 0; i < METRIC_COUNT; i++)
        if (strcmp(FAMILIES[i].name, name) == 0)
            return 1;
    return 0;
}

/* The counter of that name, made if there is none; NULL if it can't be. */
static struct own *find_own(struct cvm_metrics *metrics, const char *name, const char *labels)
{
    struct own **link = &metrics->own;
    for (; *link; link = &(*link)->next)
        if (strcmp((*link)->name, name) == 0)
            return strcmp((*link)->labels, labels) == 0 ? *link : NULL;
    struct own *own =
        metrics->own_count < MOST_OWN && !is_library_metric(name) ? calloc(1, sizeof *own) : NULL;
    if (!own)
        return NULL;
    (void)snprintf(own->name, sizeof own->name, "%s", name);
    (void)snprintf(own->labels, sizeof own->labels, "%s", labels);
    own->family = (struct family){own->name, COUNTER, own->labels, "A plugin's counter."};
    own->list.family = &own->family;
    metrics->own_count++;
    *link = own;
    return own;
}

int32_t cvm_metrics_count(struct cvm_metrics *metrics, const char *counter,
    const char *const *names, const char *const *values, uint32_t label_count, double by)
{
    char name[NAME_SIZE], labels[CVM_METRIC_LABELS * NAME_SIZE];
    if (!is_word(counter) || label_count > CVM_METRIC_LABELS ||
        join_names(labels, sizeof labels, names, label_count))
        return -1;
    (void)snprintf(name, sizeof name, OWN_PREFIX "%s", counter);
    pthread_mutex_lock(&metrics->lock);
    struct own *own = find_own(metrics, name, labels);
    struct series *series = own ? find(&own->list, values) : NULL;
    if (series)
        series->value += by;
    pthread_mutex_unlock(&metrics->lock);
    return series ? 0 : -1;
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
    FILE *out, const struct family *family, const struct series *series, const char *le)
{
    const char *name = family->labels, *separator = "{";
    for (uint32_t i = 0; i < label_count(family); i++) {
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

static void print_value(FILE *out, const struct family *family, const struct series *series)
{
    (void)fputs(family->name, out);
    print_labels(out, family, series, NULL);
    (void)fprintf(out, " %.15g\n", series->value);
}

static void print_histogram(FILE *out, const struct family *family, const struct series *series)
{
    const char *name = family->name;
    uint64_t below = 0;
    for (uint32_t i = 0; i <= BUCKETS; i++) {
        char le[32] = "+Inf";
        if (i < BUCKETS)
            (void)snprintf(le, sizeof le, "%g", BOUNDS[i]);
        below = i < BUCKETS ? below + series->buckets[i] : series->count;
        (void)fprintf(out, "%s_bucket", name);
        print_labels(out, family, series, le);
        (void)fprintf(out, " %llu\n", (unsigned long long)below);
    }
    (void)fprintf(out, "%s_sum", name);
    print_labels(out, family, series, NULL);
    (void)fprintf(out, " %.9g\n%s_count", series->value, name);
    print_labels(out, family, series, NULL);
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

static void print_list(FILE *out, const struct list *list)
{
    static const char *const TYPES[] = {"counter", "gauge", "histogram"};
    const struct family *family = list->family;
    (void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", family->name, family->help, family->name,
        TYPES[family->type]);
    for (const struct series *series = list->first; series; series = series->next) {
        if (family->type == HISTOGRAM)
            print_histogram(out, family, series);
        else
            print_value(out, family, series);
    }
}

char *cvm_metrics_render(struct cvm_metrics *metrics, size_t *length)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, length);
    if (!out)
        return NULL;
    pthread_mutex_lock(&metrics->lock);
    for (enum cvm_metric i = 0; i < METRIC_COUNT; i++)
        print_list(out, &metrics->lists[i]);
    for (const struct own *own = metrics->own; own; own = own->next)
        print_list(out, &own->list);
    pthread_mutex_unlock(&metrics->lock);
    if (fclose(out)) {
        free(text);
        return NULL;
    }
    return text;
}
