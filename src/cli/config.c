/* `cvm config` and `cvm version`. */
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cli.h"

static const char CONFIG_USAGE[] = "usage: cvm config [--markdown] [--json]\n"
                                   "Every property with type, default, range and help.\n";
static const char VERSION_USAGE[] = "usage: cvm version [--json]\n";

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

static int32_t print_json(uint32_t i)
{
    cJSON *object = cJSON_CreateObject();
    if (cli_json_text(object, "name", cvm_property_name(i)) ||
        cli_json_text(object, "type", cvm_property_type(i)) ||
        cli_json_text(object, "default", cvm_property_default(i)) ||
        cli_json_text(object, "range", cvm_property_range(i)) ||
        cli_json_text(object, "help", cvm_property_help(i))) {
        cJSON_Delete(object);
        object = NULL;
    }
    return cli_print_json(object);
}

int32_t cli_config(int argc, char **argv)
{
    int32_t markdown = 0, json = 0;
    struct cli_list operands = {.count = 0};
    const struct cli_option options[] = {{"--markdown", 0, NULL, &markdown, NULL},
        {"--json", 0, NULL, &json, NULL}, {NULL, 0, NULL, NULL, NULL}};
    int32_t code = cli_parse(argc, argv, options, CONFIG_USAGE, 0, 0, &operands);
    if (!code && markdown && json)
        code = cli_fail(EX_USAGE, "--markdown or --json, one of them");
    if (code)
        return code;
    if (markdown)
        (void)puts("| property | type | default | takes | what it is for |\n"
                   "| --- | --- | --- | --- | --- |");
    for (uint32_t i = 0; i < cvm_property_count() && !code; i++) {
        if (markdown)
            print_markdown(i);
        else if (json)
            code = print_json(i);
        else
            print_text(i);
    }
    return code;
}

int32_t cli_version(int argc, char **argv)
{
    int32_t json = 0;
    struct cli_list operands = {.count = 0};
    const struct cli_option options[] = {
        {"--json", 0, NULL, &json, NULL}, {NULL, 0, NULL, NULL, NULL}};
    int32_t code = cli_parse(argc, argv, options, VERSION_USAGE, 0, 0, &operands);
    if (code)
        return code;
    if (json)
        (void)printf("{\"version\":\"%s\"}\n", cvm_version());
    else
        (void)printf("cvm %s\n", cvm_version());
    return 0;
}
