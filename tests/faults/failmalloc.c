/*
 * libcvm-failmalloc.so, for LD_PRELOAD: fails the Nth allocation of a process, so that each place
 * where memory can run out is reached in turn. For glibc 2.35 or newer.
 *
 *   CVM_FAIL_AT             which one fails; none if not set
 *   CVM_FAIL_KEEP           if set, all that follow fail as well
 *   CVM_FAIL_FROM_LIBRARY   texts separated by ":"; only calls straight from a module whose path
 *                           holds one of them count, e.g. "libcvm:libcrypto"; the program itself
 *                           goes by its name
 *   CVM_FAIL_ARMED_FILE     counts only while this file exists
 *   CVM_FAIL_COUNT_FILE     the number of counted calls is written here at exit
 *   CVM_FAIL_SHARED         a file of 16 bytes: which one fails (64 bits), and how many were
 *                           counted; the test may set them while the process runs
 *
 * Counted: malloc, calloc, realloc, reallocarray, aligned_alloc, posix_memalign, strdup, strndup,
 * of all threads. What other functions of libc allocate (asprintf, getline, fopen) counts as libc's
 * own: "libc.so".
 */
#include "failmalloc.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INTERPOSED __attribute__((visibility("default")))
#define CALLER     __builtin_return_address(0)

/* glibc's own names for what is interposed here: no dlsym is needed, which may itself allocate. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

struct numbers {
    _Atomic int64_t fail_at, counted;
};

static struct numbers own, *numbers = &own;
static _Atomic bool started;
static bool keep_failing;
static const char *libraries;
static const char *armed_file;

static void share(const char *name)
{
    int fd = open(name, O_RDWR | O_CLOEXEC);
    void *memory =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof own, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        _exit(99);
    numbers = memory;
    close(fd);
}

__attribute__((constructor)) static void start(void)
{
    const char *at = getenv("CVM_FAIL_AT"), *shared = getenv("CVM_FAIL_SHARED");
    if (shared != NULL)
        share(shared);
    libraries = getenv("CVM_FAIL_FROM_LIBRARY");
    armed_file = getenv("CVM_FAIL_ARMED_FILE");
    keep_failing = getenv("CVM_FAIL_KEEP") != NULL;
    if (at != NULL)
        numbers->fail_at = strtoll(at, NULL, 10);
    started = true;
}

__attribute__((destructor)) static void report(void)
{
    const char *name = getenv("CVM_FAIL_COUNT_FILE");
    if (name == NULL)
        return;
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    dprintf(fd, "%lld\n", (long long)numbers->counted);
    close(fd);
}

INTERPOSED void failmalloc_arm(int64_t nth)
{
    numbers->fail_at = 0;
    numbers->counted = 0;
    numbers->fail_at = nth;
}

INTERPOSED int64_t failmalloc_count(void)
{
    return numbers->counted;
}

/* Is one of the texts, separated by ":", part of the name? */
static bool name_holds_any(const char *name, const char *texts)
{
    while (*texts != '\0') {
        size_t length = strcspn(texts, ":");
        if (length > 0 && memmem(name, strlen(name), texts, length) != NULL)
            return true;
        texts += length + (texts[length] == ':');
    }
    return false;
}

/* _dl_find_object takes no lock and allocates nothing, so that it may be asked inside malloc. */
static bool from_library(void *caller)
{
    struct dl_find_object found;
    if (libraries == NULL)
        return true;
    if (_dl_find_object(caller, &found) != 0)
        return false;
    const char *name = found.dlfo_link_map->l_name;
    return name_holds_any(name[0] == '\0' ? program_invocation_short_name : name, libraries);
}

static bool armed(void)
{
    if (armed_file == NULL)
        return true;
    int saved = errno;
    bool found = syscall(SYS_faccessat, AT_FDCWD, armed_file, F_OK) == 0;
    errno = saved;
    return found;
}

/* Counts this call. True, with errno set, if it is one that fails. */
static bool fails(void *caller)
{
    if (!started || !from_library(caller) || !armed())
        return false;
    int64_t number = atomic_fetch_add(&numbers->counted, 1) + 1;
    int64_t at = numbers->fail_at;
    if (at <= 0 || number < at || (number > at && !keep_failing))
        return false;
    errno = ENOMEM;
    return true;
}

INTERPOSED void *malloc(size_t size)
{
    return fails(CALLER) ? NULL : __libc_malloc(size);
}

INTERPOSED void *calloc(size_t count, size_t size)
{
    return fails(CALLER) ? NULL : __libc_calloc(count, size);
}

INTERPOSED void *realloc(void *old, size_t size)
{
    return fails(CALLER) ? NULL : __libc_realloc(old, size);
}

INTERPOSED void *reallocarray(void *old, size_t count, size_t size)
{
    size_t total;
    if (fails(CALLER))
        return NULL;
    if (__builtin_mul_overflow(count, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(old, total);
}

INTERPOSED void *aligned_alloc(size_t alignment, size_t size)
{
    return fails(CALLER) ? NULL : __libc_memalign(alignment, size);
}

INTERPOSED int posix_memalign(void **result, size_t alignment, size_t size)
{
    int saved = errno;
    if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0)
        return EINVAL;
    void *memory = fails(CALLER) ? NULL : __libc_memalign(alignment, size);
    errno = saved;
    if (memory == NULL)
        return ENOMEM;
    *result = memory;
    return 0;
}

static char *copy(const char *text, size_t length)
{
    char *result = __libc_malloc(length + 1);
    if (result == NULL)
        return NULL;
    memcpy(result, text, length);
    result[length] = '\0';
    return result;
}

INTERPOSED char *strdup(const char *text)
{
    return fails(CALLER) ? NULL : copy(text, strlen(text));
}

INTERPOSED char *strndup(const char *text, size_t length)
{
    return fails(CALLER) ? NULL : copy(text, strnlen(text, length));
}
