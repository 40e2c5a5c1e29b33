/* The devices of a run: their ids, and the tokens that prove them. */
#ifndef CVM_BENCH_DEVICES_H
#define CVM_BENCH_DEVICES_H

#include <stdbool.h>
#include <stdint.h>

#define DEVICE_UID_SIZE   129
#define DEVICE_TOKEN_SIZE 65
#define DEVICE_SALT_SIZE  257

struct devices {
    const char *prefix;
    int prefix_length;
    int width; /* of the number, filled up with zeros */
    const char *suffix;
    char salt[DEVICE_SALT_SIZE];
};

struct device {
    char uid[DEVICE_UID_SIZE];
    char token[DEVICE_TOKEN_SIZE];
};

/* `uid_format` holds one %d or %0Nd and must outlive `devices`; `salt_file` may be NULL where no
 * token is needed. Says on stderr what is wrong. */
bool devices_init(struct devices *devices, const char *uid_format, const char *salt_file);

void devices_get(const struct devices *devices, uint64_t number, struct device *device);

/* Writes the CSV file that `cvm device import` reads. */
bool devices_write(const struct devices *devices, const char *file, uint64_t first, uint64_t count);

#endif
