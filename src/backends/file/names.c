/* Names made of the store's own. */
#include "names.h"

#include <stdio.h>
#include <sys/stat.h>

const char *cvm_store_name(char name[STORE_NAME_SIZE], const char *path, const char *suffix)
{
    (void)snprintf(name, STORE_NAME_SIZE, "%.4096s%s", path, suffix);
    return name;
}

int cvm_store_has(const char *path, const char *suffix)
{
    char name[STORE_NAME_SIZE];
    struct stat status;
    return stat(cvm_store_name(name, path, suffix), &status) == 0 && status.st_size > 0;
}

int cvm_store_has_log(const char *path)
{
    return cvm_store_has(path, LOG_SUFFIX) || cvm_store_has(path, JOURNAL_SUFFIX);
}
