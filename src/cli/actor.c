/* Who runs the command, for the audit. */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define LONGEST_NAME 64

static char command[2 * LONGEST_NAME];

void cli_name_command(const char *verb, const char *of_verb)
{
    (void)snprintf(
        command, sizeof command, "%.60s%s%.60s", verb, of_verb ? " " : "", of_verb ? of_verb : "");
}

/* Root is mostly somebody else, by sudo. */
static void print_user(uid_t uid, char *text, size_t size)
{
    const struct passwd *entry = getpwuid(uid);
    const char *sudo = uid == 0 ? getenv("SUDO_USER") : NULL;
    (void)snprintf(text, size, "%.60s", entry ? entry->pw_name : "");
    if (sudo && *sudo)
        (void)snprintf(text, size, "root (sudo: %.60s)", sudo);
}

cvm_error_t *cli_set_actor(cvm_t *cvm)
{
    char user[2 * LONGEST_NAME], uid[24];
    print_user(getuid(), user, sizeof user);
    (void)snprintf(uid, sizeof uid, "%lu", (unsigned long)getuid());
    return cvm_set_actor(cvm, user, uid, command);
}
