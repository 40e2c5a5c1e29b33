/* What is read of addresses: PROXY headers, X-Forwarded-For and Forwarded, lists of networks, an
 * address as text; each against an independent reading. The input's first byte chooses which. */
#include "fuzz.h"

#include <arpa/inet.h>
#include <string.h>

#include "transports/common/address.h"
#include "transports/http/forwarded.h"
#include "transports/http/proxy.h"

/* Sixteen bytes for an address of one of the families. 0, or -1. */
static int32_t to_bytes(const char *text, int32_t four, int32_t six, uint8_t bytes[16])
{
    static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    memcpy(bytes, MAPPED, sizeof MAPPED);
    if (four && inet_pton(AF_INET, text, bytes + 12) == 1)
        return 0;
    return six && inet_pton(AF_INET6, text, bytes) == 1 ? 0 : -1;
}

/* --- PROXY headers ---------------------------------------------------------------------------- */

static int32_t is_port(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits && digits <= 5 && !text[digits] && strtol(text, NULL, 10) <= 65535;
}

/* "TCP4 source destination port port": one space between, nothing else. Cuts the line up. */
static int32_t is_strict_v1(char *line)
{
    char *fields[6];
    uint8_t bytes[16];
    size_t count = 0;
    for (char *at = line; at && count < 6; count++)
        fields[count] = strsep(&at, " ");
    if (count < 5)
        return 0;
    int32_t four = strcmp(fields[0], "TCP4") == 0, six = strcmp(fields[0], "TCP6") == 0;
    return count == 5 && (four || six) && !to_bytes(fields[1], four, six, bytes) &&
           !to_bytes(fields[2], four, six, bytes) && is_port(fields[3]) && is_port(fields[4]);
}

/* A line that was read as a v1 header. */
static void check_v1(const uint8_t *data, size_t used, const char *client)
{
    char line[108];
    CHECK(used >= 8 && used <= 107 && memcmp(data + used - 2, "\r\n", 2) == 0);
    memcpy(line, data, used);
    line[used - 2] = 0;
    if (strncmp(line, "PROXY UNKNOWN", 13) == 0) {
        CHECK((!line[13] || line[13] == ' ') && !*client);
        return;
    }
    CHECK(!memchr(data, 0, used));
    const char *source = strchr(line + 6, ' ');
    char address[CVM_ADDRESS_SIZE];
    uint8_t told[16], found[16];
    CHECK(source && strcspn(source + 1, " ") < sizeof address);
    (void)snprintf(address, sizeof address, "%.*s", (int)strcspn(source + 1, " "), source + 1);
    CHECK(to_bytes(address, 1, 1, told) == 0 && to_bytes(client, 1, 1, found) == 0);
    CHECK(memcmp(told, found, sizeof told) == 0);
    CHECK(is_strict_v1(line + 6));
}

static void check_v2(const uint8_t *data, size_t used, const char *client)
{
    uint8_t bytes[16];
    CHECK(used >= 16 && used == 16u + (size_t)(data[14] << 8 | data[15]));
    CHECK(data[12] >> 4 == 2 && (data[12] & 15) <= 1);
    if (!*client)
        return;
    CHECK((data[12] & 15) == 1 && !to_bytes(client, 1, 1, bytes));
    if (data[13] == 0x11)
        CHECK(used >= 28 && memcmp(bytes + 12, data + 16, 4) == 0);
    else
        CHECK(data[13] == 0x21 && used >= 52 && memcmp(bytes, data + 16, 16) == 0);
}

/* What is said of a prefix stays true of all longer ones. */
static void check_prefixes(const uint8_t *data, size_t size, int32_t result)
{
    for (size_t length = 1; length < size && length < CVM_LONGEST_PROXY; length++) {
        char client[CVM_ADDRESS_SIZE] = "";
        int32_t earlier = cvm_proxy_read(data, length, client);
        CHECK(earlier <= (int32_t)length);
        if (earlier != PROXY_MORE)
            CHECK(earlier == result);
    }
}

static void check_header(const uint8_t *data, size_t size)
{
    char client[CVM_ADDRESS_SIZE] = "";
    if (!size)
        return;
    if (size > CVM_LONGEST_PROXY) /* as much as is ever looked at */
        size = CVM_LONGEST_PROXY;
    int32_t result = cvm_proxy_read(data, size, client);
    CHECK(result >= PROXY_BAD && result <= (int32_t)size);
    CHECK(result != PROXY_MORE || size < CVM_LONGEST_PROXY);
    if (result > 0 && *data == 'P')
        check_v1(data, (size_t)result, client);
    else if (result > 0)
        check_v2(data, (size_t)result, client);
    else
        CHECK(!*client);
    check_prefixes(data, size, result);
}

/* --- Networks --------------------------------------------------------------------------------- */

#define MOST_NETWORKS 64

struct reading {
    uint32_t count;
    struct {
        uint8_t address[16];
        uint32_t bits;
    } list[MOST_NETWORKS];
};

/* "ADDRESS" or "ADDRESS/BITS". 0, or -1. */
static int32_t read_network(struct reading *reading, char *text)
{
    char *bits = strchr(text, '/');
    if (bits)
        *bits++ = 0;
    uint32_t six = strchr(text, ':') != NULL, most = six ? 128 : 32;
    if (to_bytes(text, !six, (int32_t)six, reading->list[reading->count].address))
        return -1;
    if (bits && (!*bits || bits[strspn(bits, "0123456789")] || strlen(bits) > 60))
        return -1;
    unsigned long value = bits ? strtoul(bits, NULL, 10) : most;
    if (value > most)
        return -1;
    reading->list[reading->count++].bits = (uint32_t)value + (six ? 0 : 96);
    return 0;
}

static int32_t read_networks(struct reading *reading, const char *text)
{
    char *copy = strdup(text), *rest = copy;
    int32_t failed = 0;
    CHECK(copy);
    reading->count = 0;
    for (char *word; !failed && (word = strsep(&rest, ", \t")) && reading->count < MOST_NETWORKS;)
        if (*word)
            failed = strlen(word) >= CVM_ADDRESS_SIZE || read_network(reading, word);
    free(copy);
    return failed ? -1 : 0;
}

static int32_t holds(const struct reading *reading, const uint8_t address[16])
{
    for (uint32_t i = 0; i < reading->count; i++) {
        uint32_t bit = 0;
        while (bit < reading->list[i].bits &&
               !((address[bit / 8] ^ reading->list[i].address[bit / 8]) >> (7 - bit % 8) & 1))
            bit++;
        if (bit == reading->list[i].bits)
            return 1;
    }
    return 0;
}

/* A text of networks, then texts of addresses to look for. */
static void check_networks(struct fuzz_bytes *bytes)
{
    struct cvm_networks networks;
    struct reading reading;
    char *text = fuzz_text(bytes, '\n');
    int32_t error = cvm_networks_parse(&networks, text);
    int32_t failed = read_networks(&reading, text);
    free(text);
    if (reading.count < MOST_NETWORKS)
        CHECK(!error == !failed);
    while (!error && reading.count < MOST_NETWORKS && bytes->left) {
        uint8_t address[16];
        text = fuzz_text(bytes, '\n');
        int32_t expected = !to_bytes(text, 1, 1, address) && holds(&reading, address);
        CHECK(cvm_networks_hold(&networks, text) == expected);
        free(text);
    }
    if (!error)
        cvm_networks_clear(&networks);
}

/* --- X-Forwarded-For and Forwarded ------------------------------------------------------------ */

/* Whatever a stranger has written in front, the address that was found stays; where quotes pair. */
static void check_prefix(enum cvm_forwarded_header header, const char *list,
    const struct cvm_networks *trusted, const char *client)
{
    static const char FRONT[] = "for=203.0.113.9;host=\"a, for=198.51.100.1, ";
    char again[CVM_ADDRESS_SIZE] = "before";
    size_t quotes = 0, size = sizeof FRONT + strlen(list);
    for (const char *at = list; *at; at++)
        quotes += *at == '"';
    if (quotes % 2 || strchr(list, '\\'))
        return;
    char *longer = malloc(size);
    CHECK(longer);
    (void)snprintf(longer, size, "%s%s", FRONT, list);
    cvm_forwarded_client(header, longer, trusted, again);
    CHECK(strcmp(again, client) == 0);
    free(longer);
}

/* The client is as it was, or an address that stands in the list, in its one form. */
static void check_forwarded(struct fuzz_bytes *bytes)
{
    struct cvm_networks trusted;
    char client[CVM_ADDRESS_SIZE] = "before";
    int32_t header = fuzz_byte(bytes) & 1;
    char *networks = fuzz_text(bytes, '\n'), *list = fuzz_text(bytes, '\n');
    (void)cvm_networks_parse(&trusted, networks);
    cvm_forwarded_client((enum cvm_forwarded_header)header, list, &trusted, client);
    if (strcmp(client, "before") != 0) {
        uint8_t address[16];
        struct sockaddr_storage socket = {.ss_family = AF_INET6};
        char text[CVM_ADDRESS_SIZE];
        CHECK(to_bytes(client, 1, 1, address) == 0);
        memcpy(&((struct sockaddr_in6 *)(void *)&socket)->sin6_addr, address, 16);
        cvm_address_text(&socket, text);
        CHECK(strcmp(text, client) == 0);
        if (!cvm_networks_hold(&trusted, client))
            check_prefix((enum cvm_forwarded_header)header, list, &trusted, client);
    }
    cvm_networks_clear(&trusted);
    free(networks);
    free(list);
}

/* --- Addresses -------------------------------------------------------------------------------- */

/* An address as text reads back as the same sixteen bytes. */
static void check_text(struct fuzz_bytes *bytes)
{
    struct sockaddr_storage address = {.ss_family = fuzz_byte(bytes) & 1 ? AF_INET : AF_INET6};
    uint8_t raw[16] = {0}, back[16] = {0};
    char text[CVM_ADDRESS_SIZE] = "";
    size_t first = address.ss_family == AF_INET ? 12 : 0;
    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = fuzz_byte(bytes);
    if (first)
        memcpy(&((struct sockaddr_in *)(void *)&address)->sin_addr, raw + first, 4);
    else
        memcpy(&((struct sockaddr_in6 *)(void *)&address)->sin6_addr, raw, 16);
    cvm_address_text(&address, text);
    CHECK(cvm_address_bytes(text, back) == 0);
    CHECK(memcmp(raw + first, back + first, sizeof raw - first) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_bytes bytes = {data, size};
    switch (fuzz_byte(&bytes) % 4) {
    case 0:
        check_header(bytes.at, bytes.left);
        break;
    case 1:
        check_networks(&bytes);
        break;
    case 2:
        check_forwarded(&bytes);
        break;
    default:
        check_text(&bytes);
        break;
    }
    return 0;
}
