/* The heads' text: a line with the sequence, then one for each issuer; fields that are not known
 * may follow in each. */
#include "heads.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_NUMBER (INT64_MAX / 2) /* one more is a number still */
#define MOST_PARTS  4096            /* of 192 kB: 20 million entries */

/* The next word of a line, ended by NUL where the line went on; NULL behind the last. */
static char *heads_word(char **line)
{
    char *word = strsep(line, " ");
    return word && *word ? word : NULL;
}

/* A number above 0, or 0 for what is none. */
static int64_t heads_number(char **line)
{
    char *end = NULL;
    const char *word = heads_word(line);
    errno = 0;
    long long number = word ? strtoll(word, &end, 10) : 0;
    return word && !*end && !errno && number > 0 && number < MOST_NUMBER ? number : 0;
}

/* 0, or -1 if the next word is no hex of that size. What a CRL carried on may be nothing. */
static int32_t heads_hex(char **line, int32_t may_be_none, char *to, size_t size)
{
    const char *word = heads_word(line);
    int32_t is_none = may_be_none && word && strcmp(word, NO_CRL) == 0;
    if (!is_none && (!word || !cvm_is_hex(word, size - 1)))
        return -1;
    (void)snprintf(to, size, "%s", word);
    return 0;
}

static int32_t heads_parse_line(char *line, struct crl_heads *heads)
{
    struct crl_head head = {0};
    if (heads_hex(&line, 0, head.issuer, sizeof head.issuer))
        return -1;
    head.number = heads_number(&line);
    head.made_ms = heads_number(&line);
    head.changes = heads_number(&line);
    int64_t parts = heads_number(&line);
    if (!head.number || !head.made_ms || !head.changes || !parts || parts > MOST_PARTS ||
        heads_hex(&line, 0, head.sha256, sizeof head.sha256) ||
        heads_hex(&line, 1, head.after, sizeof head.after) || cvm_heads_find(heads, head.issuer))
        return -1;
    head.parts = (uint32_t)parts;
    return cvm_heads_set(heads, &head);
}

/* Ends each line with NUL. */
static int32_t heads_parse(char *text, struct crl_heads *heads)
{
    char *line = strsep(&text, "\n");
    const char *word = heads_word(&line);
    if (!text || !word || strcmp(word, "sequence") != 0)
        return -1;
    heads->sequence = heads_number(&line);
    int32_t failed = !heads->sequence;
    while (!failed && *text) {
        line = strsep(&text, "\n");
        failed = !text || heads_parse_line(line, heads);
    }
    return failed ? -1 : 0;
}

int32_t cvm_heads_parse(const char *text, struct crl_heads *heads)
{
    char *copy = strdup(text);
    *heads = (struct crl_heads){0};
    int32_t failed = !copy || heads_parse(copy, heads);
    free(copy);
    if (failed)
        *heads = (struct crl_heads){0};
    return failed ? -1 : 0;
}

char *cvm_heads_text(const struct crl_heads *heads)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return NULL;
    (void)fprintf(out, "sequence %" PRId64 "\n", heads->sequence);
    for (uint32_t i = 0; i < heads->count; i++) {
        const struct crl_head *head = &heads->list[i];
        (void)fprintf(out, "%s %" PRId64 " %" PRId64 " %" PRId64 " %" PRIu32 " %s %s\n",
            head->issuer, head->number, head->made_ms, head->changes, head->parts, head->sha256,
            head->after);
    }
    if (fclose(out)) {
        free(text);
        text = NULL;
    }
    return text;
}

const struct crl_head *cvm_heads_find(const struct crl_heads *heads, const char *issuer)
{
    for (uint32_t i = 0; i < heads->count; i++)
        if (strcmp(heads->list[i].issuer, issuer) == 0)
            return &heads->list[i];
    return NULL;
}

int64_t cvm_heads_changes(const struct crl_heads *heads, const char *issuer)
{
    const struct crl_head *head = cvm_heads_find(heads, issuer);
    return head ? head->changes : 0;
}

int32_t cvm_heads_set(struct crl_heads *heads, const struct crl_head *head)
{
    uint32_t i = 0;
    while (i < heads->count && strcmp(heads->list[i].issuer, head->issuer) != 0)
        i++;
    if (i == MOST_ISSUERS)
        return -1;
    heads->list[i] = *head;
    heads->count += i == heads->count;
    return 0;
}

int64_t cvm_heads_made_ms(const struct crl_heads *heads)
{
    int64_t made_ms = 0;
    for (uint32_t i = 0; i < heads->count; i++)
        if (heads->list[i].made_ms > made_ms)
            made_ms = heads->list[i].made_ms;
    return made_ms;
}
