/* `cvm config` and `cvm version`. */
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "cli.h"

static const char CONFIG_USAGE[] =
    "usage: cvm config [-c FILE] [--markdown] [--json]\n"
    "Every property with type, default, range and help; with -c, also "
    "those of\nthe modules that FILE names.\n";
static const char VERSION_USAGE[] = "usage: cvm version [--json]\n";

static void print_text(const cvm_conf_t *conf, uint32_t i)
{
    const char *range = cvm_property_range(conf, i);
    (void)printf("%s = %s\n    %s\n    %s%s%s\n", cvm_property_name(conf, i),
        cvm_property_default(conf, i), cvm_property_help(conf, i), cvm_property_type(conf, i),
        *range ? ": " : "", range);
}

/* A cell may not hold the table's own bar. */
static void print_cell(const char *text)
{
    for (; *text; text++)
        (void)printf(*text == '|' ? "\\%c" : "%c", *text);
}

static void print_markdown(const cvm_conf_t *conf, uint32_t i)
{
    const char *shown = cvm_property_default(conf, i);
    (void)printf("| `%s` | %s | %s%s%s | ", cvm_property_name(conf, i), cvm_property_type(conf, i),
        *shown ? "`" : "", shown, *shown ? "`" : "");
    print_cell(cvm_property_range(conf, i));
    (void)fputs(" | ", stdout);
    print_cell(cvm_property_help(conf, i));
    (void)fputs(" |\n", stdout);
}

static int32_t print_json(const cvm_conf_t *conf, uint32_t i)
{
    cJSON *object = cJSON_CreateObject();
    if (cli_json_text(object, "name", cvm_property_name(conf, i)) ||
        cli_json_text(object, "type", cvm_property_type(conf, i)) ||
        cli_json_text(object, "default", cvm_property_default(conf, i)) ||
        cli_json_text(object, "range", cvm_property_range(conf, i)) ||
        cli_json_text(object, "help", cvm_property_help(conf, i))) {
        cJSON_Delete(object);
        object = NULL;
    }
    return cli_print_json(object);
}

/* A configuration with the modules that the file names. 0 or an exit code. */
static int32_t load_configured(const char *path, cvm_conf_t **conf)
{
    int32_t code = cli_configure(path, NULL, conf);
    return code ? code : cli_error(NULL, cvm_conf_load_modules(*conf));
}

static int32_t print_all(const cvm_conf_t *conf, int32_t markdown, int32_t json)
{
    int32_t code = 0;
    if (markdown)
        (void)puts("| property | type | default | takes | what it is for |\n"
                   "| --- | --- | --- | --- | --- |");
    for (uint32_t i = 0; i < cvm_property_count(conf) && !code; i++) {
        if (markdown)
            print_markdown(conf, i);
        else if (json)
            code = print_json(conf, i);
        else
            print_text(conf, i);
    }
    return code;
}

int32_t cli_config(int argc, char **argv)
{
    int32_t markdown = 0, json = 0;
    const char *path = NULL;
    cvm_conf_t *conf = NULL;
    struct cli_list operands = {.count = 0};
    const struct cli_option options[] = {{"--config", 1, &path, NULL, NULL},
        {"--markdown", 0, NULL, &markdown, NULL}, {"--json", 0, NULL, &json, NULL},
        {NULL, 0, NULL, NULL, NULL}};
    int32_t code = cli_parse(argc, argv, options, CONFIG_USAGE, 0, 0, &operands);
    if (!code && markdown && json)
        code = cli_fail(EX_USAGE, "--markdown or --json, one of them");
    if (!code && path)
        code = load_configured(path, &conf);
    if (!code)
        code = print_all(conf, markdown, json);
    cvm_conf_free(conf);
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
