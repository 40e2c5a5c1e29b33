/* X-Forwarded-For, and Forwarded (RFC 7239). Both are lists to which each proxy appends what it
 * saw, so that they are read from their ends: what is in front of the first address that is no
 * proxy's, or that can't be read, was written by a stranger. */
#include "forwarded.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BLANKS " \t"

/* A part of the list. */
struct text {
    const char *at;
    size_t length;
};

static struct text trimmed(struct text text)
{
    while (text.length && strchr(BLANKS, *text.at)) {
        text.at++;
        text.length--;
    }
    while (text.length && strchr(BLANKS, text.at[text.length - 1]))
        text.length--;
    return text;
}

/* --- An address ------------------------------------------------------------------------------- */

/* Digits, or a name of the proxy's own choice that begins with "_" (RFC 7239 §6). */
static int32_t is_port(struct text port)
{
    size_t i = port.length && *port.at == '_';
    int32_t is_name = i == 1;
    if (i == port.length || (!is_name && port.length > 5))
        return 0;
    for (; i < port.length; i++)
        if (is_name ? !isalnum((unsigned char)port.at[i]) && !strchr("._-", port.at[i])
                    : !isdigit((unsigned char)port.at[i]))
            return 0;
    return 1;
}

/* Cuts a port off; an IPv6 address without brackets has none. 0, or -1 if what is cut off is none.
 */
static int32_t cut_port(struct text *node)
{
    const char *end = node->at + node->length, *rest = end;
    if (node->length && *node->at == '[') {
        const char *bracket = memchr(node->at, ']', node->length);
        if (!bracket)
            return -1;
        *node = (struct text){node->at + 1, (size_t)(bracket - node->at - 1)};
        rest = bracket + 1;
    } else {
        const char *colon = memchr(node->at, ':', node->length);
        if (colon && !memchr(colon + 1, ':', (size_t)(end - colon - 1))) {
            node->length = (size_t)(colon - node->at);
            rest = colon;
        }
    }
    return rest == end ||
                   (*rest == ':' && is_port((struct text){rest + 1, (size_t)(end - rest - 1)}))
               ? 0
               : -1;
}

/* ADDRESS, ADDRESS:PORT, [ADDRESS] or [ADDRESS]:PORT, in the one form that an address is written
 * in. 0, or -1. */
static int32_t read_node(struct text node, char address[CVM_ADDRESS_SIZE])
{
    struct sockaddr_storage found = {.ss_family = AF_INET6};
    struct sockaddr_in6 *six = (void *)&found;
    if (cut_port(&node) || node.length >= CVM_ADDRESS_SIZE)
        return -1;
    (void)snprintf(address, CVM_ADDRESS_SIZE, "%.*s", (int)node.length, node.at);
    if (cvm_address_bytes(address, six->sin6_addr.s6_addr))
        return -1;
    cvm_address_text(&found, address);
    return 0;
}

/* --- Forwarded -------------------------------------------------------------------------------- */

/* Takes a pair off the front of an element; a semicolon in quotes ends none. */
static struct text take_pair(struct text *element)
{
    size_t length = 0;
    for (int32_t is_quoted = 0;
         length < element->length && (is_quoted || element->at[length] != ';'); length++) {
        if (is_quoted && element->at[length] == '\\' && length + 1 < element->length)
            length++;
        else
            is_quoted ^= element->at[length] == '"';
    }
    struct text pair = {element->at, length};
    length += length < element->length;
    *element = (struct text){element->at + length, element->length - length};
    return trimmed(pair);
}

/* Is the quote at `at` one that a backslash makes a part of its string? */
static int32_t is_escaped(const char *list, const char *at)
{
    size_t backslashes = 0;
    while (at - backslashes > list && at[-1 - (ptrdiff_t)backslashes] == '\\')
        backslashes++;
    return backslashes % 2 != 0;
}

/* The comma in front of the last element of list, which ends at end; NULL if there is none. Quotes
 * are paired from the end: what a device has had quoted there, such as its Host, takes no part, and
 * what it has opened in front pairs with nothing of the proxy's. */
static const char *comma_before(enum cvm_forwarded_header header, const char *list, const char *end)
{
    int32_t is_quoted = 0;
    for (const char *at = end; at > list;) {
        at--;
        if (*at == ',' && !is_quoted)
            return at;
        if (header == FORWARDED_RFC7239 && *at == '"' && !is_escaped(list, at))
            is_quoted = !is_quoted;
    }
    return NULL;
}

/* The value of an element's one "for" in node, without quotes. 0, or -1. */
static int32_t find_for(struct text element, struct text *node)
{
    static const char FOR[] = "for=";
    const size_t name = sizeof FOR - 1;
    int32_t found = 0;
    while (element.length) {
        struct text pair = take_pair(&element);
        if (pair.length < name || strncasecmp(pair.at, FOR, name) != 0)
            continue;
        *node = (struct text){pair.at + name, pair.length - name};
        found++;
    }
    if (found == 1 && node->length >= 2 && *node->at == '"' && node->at[node->length - 1] == '"')
        *node = (struct text){node->at + 1, node->length - 2};
    return found == 1 ? 0 : -1;
}

/* --- The API ---------------------------------------------------------------------------------- */

const char *cvm_forwarded_name(enum cvm_forwarded_header header)
{
    return header == FORWARDED_RFC7239 ? "forwarded" : "x-forwarded-for";
}

void cvm_forwarded_client(enum cvm_forwarded_header header, const char *list,
    const struct cvm_networks *trusted, char client[CVM_ADDRESS_SIZE])
{
    for (const char *end = list + strlen(list), *comma; end > list; end = comma) {
        char address[CVM_ADDRESS_SIZE];
        comma = comma_before(header, list, end);
        const char *begin = comma ? comma + 1 : list;
        struct text node = trimmed((struct text){begin, (size_t)(end - begin)});
        if ((header == FORWARDED_RFC7239 && find_for(node, &node)) || read_node(node, address))
            return;
        memcpy(client, address, sizeof address);
        if (!comma || !cvm_networks_hold(trusted, address))
            return;
    }
}
