/* The device's folder: which credentials it holds, and how new ones take the place of old ones. */
#ifndef CVM_DEVICE_STORE_H
#define CVM_DEVICE_STORE_H

#include "credentials.h"

#include <stdbool.h>

struct store {
    int folder;
    const char *path;
};

#define STORE_UNTRIED "untried" /* received, but they have not connected yet */
#define STORE_CURRENT "current" /* they have connected */

/* Makes or opens the folder, alone: a second client on it is turned away. 0 or an exit status,
 * reported, as for all below. */
int store_open(struct store *store, const char *path);
void store_close(struct store *store);

/* The request's key, kept from before the first request until the answer is stored. *key is NULL if
 * there is none. */
int store_load_key(const struct store *store, EVP_PKEY **key);
int store_save_key(const struct store *store, EVP_PKEY *key);

/* `set` is STORE_UNTRIED or STORE_CURRENT. */
bool store_holds(const struct store *store, const char *set);
int store_load(const struct store *store, const char *set, struct credentials *credentials);

/* Stores an answer's credentials as untried. */
int store_save(const struct store *store, const struct credentials *credentials);

/* The untried credentials have connected: they become the current ones. */
int store_promote(const struct store *store);

#endif
