#include "instance/documents.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"

#define MOST_DOCUMENTS 128

struct held {
    struct cvm_document document;
    uint32_t holders; /* the table is one of them */
    char path[128], media_type[64];
    uint8_t bytes[];
};

struct cvm_documents {
    pthread_mutex_t lock;
    struct held *list[MOST_DOCUMENTS];
};

struct cvm_documents *cvm_documents_new(void)
{
    struct cvm_documents *documents = calloc(1, sizeof *documents);
    if (documents)
        (void)pthread_mutex_init(&documents->lock, NULL);
    return documents;
}

void cvm_documents_free(struct cvm_documents *documents)
{
    if (!documents)
        return;
    for (uint32_t i = 0; i < MOST_DOCUMENTS; i++)
        free(documents->list[i]);
    (void)pthread_mutex_destroy(&documents->lock);
    free(documents);
}

static struct held *held_new(
    const char *path, const char *media_type, const void *bytes, size_t length)
{
    struct held *held = malloc(sizeof *held + length);
    if (!held)
        return NULL;
    held->holders = 1;
    (void)snprintf(held->path, sizeof held->path, "%s", path);
    (void)snprintf(held->media_type, sizeof held->media_type, "%s", media_type);
    memcpy(held->bytes, bytes, length);
    held->document = (struct cvm_document){held->media_type, held->bytes, length};
    return held;
}

/* The lock is held. The place of that path, else a free one; NULL if there is neither. */
static struct held **documents_find(struct cvm_documents *documents, const char *path)
{
    struct held **place = NULL;
    for (uint32_t i = 0; i < MOST_DOCUMENTS; i++) {
        struct held **at = &documents->list[i];
        if (*at && strcmp((*at)->path, path) == 0)
            return at;
        if (!*at && !place)
            place = at;
    }
    return place;
}

/* The lock is held. */
static void held_let_go(struct held *held)
{
    if (held && --held->holders == 0)
        free(held);
}

int32_t cvm_documents_put(struct cvm_documents *documents, const char *path, const char *media_type,
    const void *bytes, size_t length)
{
    struct held *held = bytes ? held_new(path, media_type, bytes, length) : NULL;
    if (bytes && !held)
        return -1;
    (void)pthread_mutex_lock(&documents->lock);
    struct held **place = documents_find(documents, path);
    if (place) {
        held_let_go(*place);
        *place = held;
    }
    (void)pthread_mutex_unlock(&documents->lock);
    if (!place)
        free(held);
    return place || !bytes ? 0 : -1;
}

const struct cvm_document *cvm_documents_get(struct cvm_documents *documents, const char *path)
{
    (void)pthread_mutex_lock(&documents->lock);
    struct held **place = documents_find(documents, path);
    struct held *held = place ? *place : NULL;
    if (held)
        held->holders++;
    (void)pthread_mutex_unlock(&documents->lock);
    return held ? &held->document : NULL;
}

void cvm_documents_let_go(struct cvm_documents *documents, const struct cvm_document *document)
{
    if (!document)
        return;
    (void)pthread_mutex_lock(&documents->lock);
    held_let_go(CVM_CONTAINER(document, struct held, document));
    (void)pthread_mutex_unlock(&documents->lock);
}
