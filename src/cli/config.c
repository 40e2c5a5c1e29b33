/* `cvm config` and `cvm version`. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const char CONFIG_USAGE[] = "usage: cvm config [--markdown] [--json]\n"
                                   "Every property with type, default, range and help.\n";

static void print_text(uint32_t i)
{
    const char *range = cvm_property_range(i);
    (void)printf("%s = %s\n    %s\n    %s%s%s\n", cvm_property_name(i), cvm_property_default(i),
        cvm_property_help(i), cvm_property_type(i), *range ? ": " : "", range);
}

/* A cell may not hold the table's own bar. */
static void print_cell(const char *text)
{
    for (; *text; text++)
        (void)printf(*text == '|' ? "\\%c" : "%c", *text);
}

static void print_markdown(uint32_t i)
{
    const char *shown = cvm_property_default(i);
    (void)printf("| `%s` | %s | %s%s%s | ", cvm_property_name(i), cvm_property_type(i),
        *shown ? "`" : "", shown, *shown ? "`" : "");
    print_cell(cvm_property_range(i));
    (void)fputs(" | ", stdout);
    print_cell(cvm_property_help(i));
    (void)fputs(" |\n", stdout);
}

static void print_json(uint32_t i)
{
    /* No text in the table needs an escape; the unit tests see to that. */
    (void)printf(
        "{\"name\":\"%s\",\"type\":\"%s\",\"default\":\"%s\",\"range\":\"%s\",\"help\":\"%s\"}\n",
        cvm_property_name(i), cvm_property_type(i), cvm_property_default(i), cvm_property_range(i),
        cvm_property_help(i));
}

int32_t cli_config(int argc, char **argv)
{
    int32_t markdown = 0, json = 0;
    struct cli_list operands = {.count = 0};
    const struct cli_option options[] = {{"--markdown", 0, NULL, &markdown, NULL},
        {"--json", 0, NULL, &json, NULL}, {NULL, 0, NULL, NULL, NULL}};
    int32_t code = cli_parse(argc, argv, options, CONFIG_USAGE, 0, 0, &operands);
    if (code)
        return code;
    if (markdown)
        (void)puts("| property | type | default | takes | what it is for |\n"
                   "| --- | --- | --- | --- | --- |");
    for (uint32_t i = 0; i < cvm_property_count(); i++) {
        if (markdown)
            print_markdown(i);
        else if (json)
            print_json(i);
        else
            print_text(i);
    }
    return 0;
}

int32_t cli_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    (void)printf("cvm %s\n", cvm_version());
    return 0;
}
