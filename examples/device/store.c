/* The folder on disk. A set of credentials is a folder of its own, so that one rename switches all
 * of its files at once.
 *
 *   request.key   the key that a request asks a certificate for
 *   incoming/     an answer that is being written: never read, only thrown away
 *   untried/      a complete answer whose credentials have not connected yet
 *   current/      credentials that have connected
 *   previous/     what was current, about to be removed
 *   clock         the latest time that a server told (clock.c)
 *
 * A kill, or a power cut, at any point leaves this for the next run:
 *   before request.key is renamed into place: nothing was sent; start afresh
 *   after that, until untried/ is in place: the same key asks again, and gets the same certificate
 *   untried/ in place, request.key still there: untried/ counts, the key is removed
 *   in promotion, current/ renamed to previous/ only: untried/ counts, and it has just connected
 *   in promotion, untried/ renamed to current/: previous/ is removed
 * So current/ is always complete, and old credentials stay until new ones have connected. */
#include "store.h"

#include "files.h"
#include "pem.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define REQUEST_KEY "request.key"
#define INCOMING    "incoming"
#define PREVIOUS    "previous"

enum { PEM_SIZE = 65536, KEY_SIZE = 8192 };

static int failed(const struct store *store, const char *name)
{
    return report(EX_CONFIG, "%s/%s: %s; see that the folder is the device's own and writable",
        store->path, name, strerror(errno));
}

/* Finishes what a killed run began; see the list above. */
static int tidy(const struct store *store)
{
    file_tidy(store->folder);
    if (folder_remove(store->folder, INCOMING) != 0) {
        return failed(store, INCOMING);
    }
    if (store_holds(store, STORE_CURRENT) && folder_remove(store->folder, PREVIOUS) != 0) {
        return failed(store, PREVIOUS);
    }
    if (store_holds(store, STORE_UNTRIED) && unlinkat(store->folder, REQUEST_KEY, 0) != 0 &&
        errno != ENOENT) {
        return failed(store, REQUEST_KEY);
    }
    return EX_OK;
}

int store_open(struct store *store, const char *path)
{
    *store = (struct store){.folder = -1, .path = path};
    if (folder_make(path) != 0) {
        return failed(store, "");
    }
    store->folder = folder_open(AT_FDCWD, path);
    if (store->folder < 0) {
        return failed(store, "");
    }
    if (flock(store->folder, LOCK_EX | LOCK_NB) != 0) {
        return report(EX_TEMPFAIL, "%s: another cvm-device works in this folder", path);
    }
    return tidy(store);
}

void store_close(struct store *store)
{
    if (store->folder >= 0) {
        close(store->folder);
    }
}

int store_load_key(const struct store *store, EVP_PKEY **key)
{
    char text[KEY_SIZE];
    *key = NULL;
    if (file_read(store->folder, REQUEST_KEY, text, sizeof text) < 0) {
        return errno == ENOENT ? EX_OK : failed(store, REQUEST_KEY);
    }
    *key = pem_private_key(text);
    OPENSSL_cleanse(text, sizeof text);
    if (*key == NULL) {
        return report(
            EX_DATAERR, "%s/" REQUEST_KEY " holds no private key; remove it", store->path);
    }
    return EX_OK;
}

/* Writes what is in `bio`, and frees it. */
static bool write_bio(int folder, const char *name, BIO *bio)
{
    char *data = NULL;
    const long length = bio == NULL ? 0 : BIO_get_mem_data(bio, &data);
    const bool written = length > 0 && file_write(folder, name, data, (size_t)length) == 0;
    const int error = errno;
    BIO_free(bio);
    errno = error;
    return written;
}

int store_save_key(const struct store *store, EVP_PKEY *key)
{
    const bool written = write_bio(store->folder, REQUEST_KEY, pem_from_private_key(key));
    return written ? EX_OK : failed(store, REQUEST_KEY);
}

bool store_holds(const struct store *store, const char *set)
{
    struct stat status;
    return fstatat(store->folder, set, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool write_set(int folder, const struct credentials *credentials)
{
    const char *endpoint = credentials->endpoint;
    const char *thing_name = credentials->thing_name;
    return write_bio(folder, "key.pem", pem_from_private_key(credentials->key)) &&
           write_bio(folder, "certificate.pem", pem_from_certificates(credentials->chain)) &&
           write_bio(folder, "root_ca.pem", pem_from_certificates(credentials->roots)) &&
           file_write(folder, "endpoint", endpoint, strlen(endpoint)) == 0 &&
           file_write(folder, "thing_name", thing_name, strlen(thing_name)) == 0;
}

int store_save(const struct store *store, const struct credentials *credentials)
{
    if (mkdirat(store->folder, INCOMING, 0700) != 0) {
        return failed(store, INCOMING);
    }
    const int folder = folder_open(store->folder, INCOMING);
    if (folder < 0) {
        return failed(store, INCOMING);
    }
    const bool written = write_set(folder, credentials);
    const int error = errno;
    close(folder);
    errno = error;
    if (!written || folder_rename(store->folder, INCOMING, STORE_UNTRIED) != 0) {
        return failed(store, INCOMING);
    }
    return tidy(store);
}

static bool read_texts(int folder, struct credentials *credentials)
{
    return file_read(folder, "endpoint", credentials->endpoint, ENDPOINT_SIZE) > 0 &&
           file_read(folder, "thing_name", credentials->thing_name, THING_NAME_SIZE) > 0;
}

static bool read_pems(int folder, struct credentials *credentials)
{
    char text[PEM_SIZE];
    if (file_read(folder, "key.pem", text, sizeof text) > 0) {
        credentials->key = pem_private_key(text);
        OPENSSL_cleanse(text, sizeof text);
    }
    if (file_read(folder, "certificate.pem", text, sizeof text) > 0) {
        credentials->chain = pem_certificates(text);
    }
    if (file_read(folder, "root_ca.pem", text, sizeof text) > 0) {
        credentials->roots = pem_certificates(text);
    }
    return credentials->key != NULL && credentials->chain != NULL && credentials->roots != NULL;
}

int store_load(const struct store *store, const char *set, struct credentials *credentials)
{
    const int folder = folder_open(store->folder, set);
    if (folder < 0) {
        return failed(store, set);
    }
    const bool loaded = read_texts(folder, credentials) && read_pems(folder, credentials);
    close(folder);
    if (!loaded) {
        return report(EX_DATAERR, "%s/%s: a file is missing or broken; restore it from a backup",
            store->path, set);
    }
    return EX_OK;
}

int store_promote(const struct store *store)
{
    if (store_holds(store, STORE_CURRENT) &&
        folder_rename(store->folder, STORE_CURRENT, PREVIOUS) != 0) {
        return failed(store, STORE_CURRENT);
    }
    if (folder_rename(store->folder, STORE_UNTRIED, STORE_CURRENT) != 0) {
        return failed(store, STORE_UNTRIED);
    }
    return tidy(store);
}
