/* Device ids by a format, tokens by SHA-256(SALT + "//" + UID), and the CSV of both. */
#include "devices.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WIDTH 20

/* Takes `%d`, `%Nd` and `%0Nd` apart, so that no format from outside ever reaches printf. */
static bool parse_format(struct devices *devices, const char *format)
{
    const char *percent = strchr(format, '%');
    char *end = NULL;

    if (!percent)
        return false;
    devices->prefix = format;
    devices->prefix_length = (int)(percent - format);
    devices->width = (int)strtol(percent + 1, &end, 10);
    devices->suffix = end + 1;
    return *end == 'd' && devices->width >= 0 && devices->width <= MAX_WIDTH &&
           !strchr(devices->suffix, '%') &&
           (size_t)devices->prefix_length + strlen(devices->suffix) + MAX_WIDTH < DEVICE_UID_SIZE;
}

/* One newline at the file's end is not part of the salt. */
static bool read_salt(struct devices *devices, const char *name)
{
    FILE *file = fopen(name, "rb");
    size_t length = 0;
    bool whole = false;

    if (!file)
        return false;
    length = fread(devices->salt, 1, DEVICE_SALT_SIZE - 1, file);
    whole = fgetc(file) == EOF && !ferror(file);
    (void)fclose(file);
    if (length > 0 && devices->salt[length - 1] == '\n')
        length--;
    devices->salt[length] = '\0';
    return whole && length > 0;
}

bool devices_init(struct devices *devices, const char *uid_format, const char *salt_file)
{
    if (!parse_format(devices, uid_format)) {
        (void)fprintf(stderr, "cvm-load: --uid-format needs one %%d or %%0Nd: %s\n", uid_format);
        return false;
    }
    if (salt_file && !read_salt(devices, salt_file)) {
        (void)fprintf(stderr, "cvm-load: no salt can be read from %s\n", salt_file);
        return false;
    }
    return true;
}

static void write_hex(const unsigned char *bytes, size_t count, char *hex)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < count; i++) {
        *hex++ = digits[bytes[i] >> 4];
        *hex++ = digits[bytes[i] & 15];
    }
    *hex = '\0';
}

void devices_get(const struct devices *devices, uint64_t number, struct device *device)
{
    char text[DEVICE_SALT_SIZE + DEVICE_UID_SIZE + 2];
    unsigned char digest[SHA256_DIGEST_LENGTH];
    int length = 0;

    (void)snprintf(device->uid, sizeof device->uid, "%.*s%0*" PRIu64 "%s", devices->prefix_length,
        devices->prefix, devices->width, number, devices->suffix);
    length = snprintf(text, sizeof text, "%s//%s", devices->salt, device->uid);
    SHA256((const unsigned char *)text, (size_t)length, digest);
    write_hex(digest, sizeof digest, device->token);
}

bool devices_write(const struct devices *devices, const char *name, uint64_t first, uint64_t count)
{
    FILE *file = fopen(name, "w");
    struct device device;
    bool written = false;

    if (file) {
        (void)fputs("device_uid,device_token\n", file);
        for (uint64_t i = 0; i < count; i++) {
            devices_get(devices, first + i, &device);
            (void)fprintf(file, "%s,%s\n", device.uid, device.token);
        }
        written = !ferror(file);
        written = fclose(file) == 0 && written;
    }
    if (!written)
        (void)fprintf(stderr, "cvm-load: can't write %s\n", name);
    return written;
}
