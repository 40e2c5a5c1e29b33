/* The configuration: each type's texts, files with line numbers, the environment, paths. */
#include "support/test.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conf.h"
#include "error.h"
#include "properties.h"

extern char **environ;

#define SECOND  INT64_C(1000)
#define MINUTE  (60 * SECOND)
#define HOUR    (60 * MINUTE)
#define DAY     (24 * HOUR)
#define REFUSED INT64_MIN

static const struct {
    const char *name, *value;
    int64_t number;
} VALUES[] = {
    {"request.deadline", "100ms", 100},
    {"request.deadline", "99ms", REFUSED}, /* below its range */
    {"request.deadline", "15s", 15 * SECOND},
    {"request.deadline", "5min", 5 * MINUTE},
    {"request.deadline", "300001ms", REFUSED}, /* above it */
    {"request.deadline", "6min", REFUSED},
    {"request.deadline", "0", REFUSED},
    {"request.deadline", "15", REFUSED}, /* no unit */
    {"request.deadline", "15S", REFUSED},
    {"request.deadline", "15 s", REFUSED},
    {"request.deadline", " 15s", REFUSED},
    {"request.deadline", "15s ", REFUSED},
    {"request.deadline", "-15s", REFUSED},
    {"request.deadline", "+15s", REFUSED},
    {"request.deadline", "1.5s", REFUSED},
    {"request.deadline", "0x10s", REFUSED},
    {"request.deadline", "", REFUSED},
    {"request.deadline", "s", REFUSED},
    {"request.deadline", "1d2h", REFUSED},
    {"registration.retry_window", "0", 0}, /* nought needs no unit */
    {"registration.retry_window", "0s", 0},
    {"registration.retry_window", "2h", 2 * HOUR},
    {"registration.retry_window", "30d", 30 * DAY},
    {"registration.retry_window", "31d", REFUSED},
    {"certificate.validity", "1h", HOUR},
    {"certificate.validity", "10y", 3650 * DAY},
    {"certificate.validity", "50y", 50 * 365 * DAY},
    {"certificate.validity", "51y", REFUSED},
    {"certificate.validity", "9223372036854775807y", REFUSED}, /* past 64 bits */
    {"certificate.validity", "99999999999999999999s", REFUSED},
    {"registration.retry_max", "0", 0},
    {"registration.retry_max", "100", 100},
    {"registration.retry_max", "101", REFUSED},
    {"registration.retry_max", "3s", REFUSED},
    {"limit.connections", "10k", 10240},
    {"limit.connections", "1M", REFUSED}, /* 1048576 */
    {"limit.connections", "1", 1},
    {"limit.connections", "0", REFUSED},
    {"limit.connections", "1K", REFUSED},
    {"limit.failures_per_address", "60/min", 60},
    {"limit.failures_per_address", "2/s", 120},
    {"limit.failures_per_address", "0", 0},
    {"limit.failures_per_address", "60", REFUSED},
    {"limit.failures_per_address", "60/h", REFUSED},
    {"store.plain_tokens", "true", 1},
    {"store.plain_tokens", "on", 1},
    {"store.plain_tokens", "false", 0},
    {"store.plain_tokens", "off", 0},
    {"store.plain_tokens", "True", REFUSED},
    {"store.plain_tokens", "1", REFUSED},
    {"store.plain_tokens", "", REFUSED},
    {"server_key.type", "p256", 0},
    {"server_key.type", "rsa2048", 1},
    {"server_key.type", "rsa", REFUSED},
    {"server_key.type", "p256|rsa2048", REFUSED},
    {"server_key.type", "", REFUSED},
    {"log.level", "debug", 3},
    {"store", "file:x.db", 0},
    {"store", "x.db", REFUSED},
    {"http.listen", "off", 0},
    {"http.listen", "127.0.0.1:0", 0},
    {"http.listen", "[::]:8443", 0},
    {"http.listen", "127.0.0.1:8443, [::1]:8443", 0},
    {"http.listen", "127.0.0.1:65536", REFUSED},
    {"http.listen", "127.0.0.1", REFUSED},
    {"http.listen", ":8443", REFUSED},
    {"http.listen", "::1:8443", REFUSED},
    {"http.listen", "localhost:8443", REFUSED},
    {"http.listen", "127.0.0.1:84x", REFUSED},
    {"http.listen", "127.0.0.1:8443,off", REFUSED},
    {"http.listen", "", REFUSED},
    {"http.listen", ",", REFUSED},
    {"mqtt.endpoint", "mqtt.example.com", 0},
    {"mqtt.endpoint", "a_b.example.com:8884", 0},
    {"mqtt.endpoint", "192.0.2.1:1", 0},
    {"mqtt.endpoint", "[2001:db8::1]:65535", 0},
    {"mqtt.endpoint", "", REFUSED},
    {"mqtt.endpoint", "mqtts://mqtt.example.com", REFUSED},
    {"mqtt.endpoint", "mqtt.example.com/path", REFUSED},
    {"mqtt.endpoint", "mqtt.example.com:99999", REFUSED},
    {"mqtt.endpoint", "mqtt.example.com:0", REFUSED},
    {"mqtt.endpoint", "mqtt.example.com:", REFUSED},
    {"mqtt.endpoint", ":8883", REFUSED},
    {"mqtt.endpoint", "mqtt example", REFUSED},
    {"mqtt.endpoint", "1.2.3.999", REFUSED},
    {"mqtt.endpoint", "10.0.0", REFUSED},
    {"mqtt.endpoint", "2001:db8::1:99999", REFUSED},
    {"mqtt.endpoint", "[2001:db8::1", REFUSED},
    {"mqtt.endpoint", "[mqtt.example.com]:1", REFUSED},
    {"mqtt.endpoint", "*.example.com", REFUSED},
    {"mqtt.endpoint", "-a.example.com", REFUSED},
    {"mqtt.endpoint", "a..example.com", REFUSED},
    {"http.trusted_proxies", "", 0},
    {"http.trusted_proxies", "10.0.0.0/8, ::1 192.0.2.1", 0},
    {"http.trusted_proxies", "10.0.0", REFUSED},
    {"http.trusted_proxies", "10.0.0.0/33", REFUSED},
    {"http.trusted_proxies", "proxy.example.com", REFUSED},
    {"thing.name_format", "%DEVICE_UID%", 0},
    {"thing.name_format", "thing", REFUSED},
    {"thing.name_format", "my thing %DEVICE_UID%", REFUSED},
    {"policy.name", "cvm-device_+=,.@", 0},
    {"policy.name", "", REFUSED},
    {"policy.name", "my policy", REFUSED},
};

/* What devices are told is written in one form, however it was set. */
static void an_endpoint_is_kept_as_devices_are_told_it(void **state)
{
    static const char *const FORMS[][2] = {{"mqtt.example.com:8883", "mqtt.example.com"},
        {"2001:db8::1", "[2001:db8::1]"}, {"[2001:db8::1]", "[2001:db8::1]"},
        {"[2001:db8::1]:8883", "[2001:db8::1]"}, {"[2001:db8::1]:08884", "[2001:db8::1]:8884"},
        {"192.0.2.1:8883", "192.0.2.1"}};
    (void)state;
    for (size_t i = 0; i < LENGTH(FORMS); i++) {
        cvm_conf_t *conf = cvm_conf_new();
        assert_null(cvm_conf_set(conf, "mqtt.endpoint", FORMS[i][0]));
        assert_string_equal(cvm_conf_get(conf, "mqtt.endpoint"), FORMS[i][1]);
        cvm_conf_free(conf);
    }
}

/* The property, and what it takes; but not what may be a password. */
static void an_error_says_what_is_taken(void **state)
{
    static const char *const ERRORS[][3] = {
        {"workers", "abc", "workers does not take 'abc'; it takes 1 to 64 (with k, M, G)"},
        {"store", "Post gres",
            "store does not take what it is set to; it takes NAME | NAME:LOCATION"},
        {"http.trusted_proxies", "10.0.0",
            "http.trusted_proxies does not take '10.0.0'; it takes ADDRESS[/BITS], ..."},
        {"mqtt.endpoint", "mqtts://a",
            "mqtt.endpoint does not take 'mqtts://a'; it takes HOST | HOST:PORT | [ADDRESS]:PORT"},
        {"http.proxy_protocol", "yes",
            "http.proxy_protocol does not take 'yes'; it takes true | false | on | off"},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(ERRORS); i++) {
        cvm_conf_t *conf = cvm_conf_new();
        cvm_error_t *error = cvm_conf_set(conf, ERRORS[i][0], ERRORS[i][1]);
        assert_string_equal(cvm_error_text(error), ERRORS[i][2]);
        cvm_error_free(error);
        cvm_conf_free(conf);
    }
}

static void values_are_taken_or_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(VALUES); i++) {
        cvm_conf_t *conf = cvm_conf_new();
        const char *before = cvm_conf_get(conf, VALUES[i].name);
        cvm_error_t *error = cvm_conf_set(conf, VALUES[i].name, VALUES[i].value);
        if ((error != NULL) != (VALUES[i].number == REFUSED))
            fail_msg("%s = '%s': %s", VALUES[i].name, VALUES[i].value, cvm_error_text(error));
        if (error) {
            assert_int_equal(cvm_error_code(error), CVM_CODE_CONFIGURATION);
            assert_non_null(strstr(cvm_error_text(error), VALUES[i].name));
            assert_string_equal(cvm_conf_get(conf, VALUES[i].name), before);
        } else {
            assert_string_equal(cvm_conf_get(conf, VALUES[i].name), VALUES[i].value);
            if (cvm_conf_number(conf, VALUES[i].name) != VALUES[i].number)
                fail_msg("%s = '%s': another number", VALUES[i].name, VALUES[i].value);
        }
        cvm_error_free(error);
        cvm_conf_free(conf);
    }
}

static void every_default_is_a_value_that_is_taken(void **state)
{
    (void)state;
    cvm_conf_t *conf = cvm_conf_new();
    assert_int_equal(cvm_property_count(NULL), CVM_PROPERTY_COUNT);
    for (uint32_t i = 0; i < CVM_PROPERTY_COUNT; i++) {
        const char *name = cvm_property_name(NULL, i);
        int64_t number = cvm_conf_number(conf, name);
        cvm_error_t *error = cvm_conf_set(conf, name, cvm_property_default(NULL, i));
        if (error || cvm_conf_number(conf, name) != number)
            fail_msg("%s: %s", name, cvm_error_text(error));
        assert_true(*cvm_property_help(NULL, i) && *cvm_property_type(NULL, i));
        assert_non_null(cvm_property_range(NULL, i));
        for (uint32_t j = 0; j < i; j++)
            assert_string_not_equal(name, cvm_property_name(NULL, j));
    }
    assert_null(cvm_property_name(NULL, CVM_PROPERTY_COUNT));
    assert_null(cvm_property_help(NULL, CVM_PROPERTY_COUNT));
    assert_null(cvm_property_range(NULL, CVM_PROPERTY_COUNT));
    assert_null(cvm_property_type(NULL, CVM_PROPERTY_COUNT));
    assert_null(cvm_property_default(NULL, CVM_PROPERTY_COUNT));
    cvm_conf_free(conf);
}

static void an_unknown_name_is_an_error(void **state)
{
    (void)state;
    cvm_conf_t *conf = cvm_conf_new();
    cvm_error_t *error = cvm_conf_set(conf, "http.lisden", "off");
    assert_int_equal(cvm_error_code(error), CVM_CODE_CONFIGURATION);
    assert_non_null(strstr(cvm_error_text(error), "http.lisden"));
    cvm_error_free(error);
    assert_null(cvm_conf_get(conf, "http.lisden"));
    assert_int_equal(cvm_conf_number(conf, "http.lisden"), 0);
    cvm_conf_free(conf);
}

/* --- Files ------------------------------------------------------------------------------------ */

static cvm_error_t *parse(cvm_conf_t *conf, const char *text, size_t length)
{
    return cvm_conf_parse(conf, text, length, "the.conf", "/etc/cvm");
}

static void a_file_is_read_line_by_line(void **state)
{
    static const char TEXT[] = "\xef\xbb\xbf# a comment\r\n"
                               "\n"
                               "   # another one\n"
                               "  ca.crl_command\t=  a # b = c  \r\n"
                               "mqtt.root_ca=\n"
                               "registration.retry_max = 1\n"
                               "registration.retry_max = 2\n"
                               "log.file = cvm.log"; /* no end of line */
    (void)state;
    cvm_conf_t *conf = cvm_conf_new();
    cvm_error_t *error = parse(conf, TEXT, sizeof TEXT - 1);
    assert_null(error);
    assert_string_equal(cvm_conf_get(conf, "ca.crl_command"), "a # b = c");
    assert_string_equal(cvm_conf_get(conf, "mqtt.root_ca"), "");
    assert_int_equal(cvm_conf_number(conf, "registration.retry_max"), 2);
    assert_string_equal(cvm_conf_get(conf, "log.file"), "/etc/cvm/cvm.log");
    cvm_conf_free(conf);
}

#define LONG_VALUE 5000

static void a_bad_line_is_named(void **state)
{
    static const struct {
        const char *text;
        size_t length; /* 0: up to its NUL */
        const char *place;
    } FILES[] = {
        {"nonsense", 0, "the.conf:1: "},
        {"\n# x\nnosuch = 1\n", 0, "the.conf:3: "},
        {"\nlog.such = 1\n", 0, "the.conf:2: "},
        {"workers = 1\nworkers = 0\n", 0, "the.conf:2: "},
        {"workers = 1\nworkers = \n", 0, "the.conf:2: "},
        {"= 1", 0, "the.conf:1: "},
        {"workers = 1\n\nworkers = 2\0\n", 27, "the.conf:3: "},
        {"request.deadline = 15s # a comment?\n", 0, "the.conf:1: "},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(FILES); i++) {
        cvm_conf_t *conf = cvm_conf_new();
        size_t length = FILES[i].length ? FILES[i].length : strlen(FILES[i].text);
        cvm_error_t *error = parse(conf, FILES[i].text, length);
        assert_int_equal(cvm_error_code(error), CVM_CODE_CONFIGURATION);
        if (strncmp(cvm_error_text(error), FILES[i].place, strlen(FILES[i].place)) != 0)
            fail_msg("'%s' does not begin with '%s'", cvm_error_text(error), FILES[i].place);
        assert_null(strchr(cvm_error_text(error), '\n'));
        cvm_error_free(error);
        cvm_conf_free(conf);
    }
}

static void a_line_has_a_longest_length(void **state)
{
    char text[LONG_VALUE];
    (void)state;
    cvm_conf_t *conf = cvm_conf_new();
    memset(text, 'x', sizeof text);
    memcpy(text, "ca.crl_command=", 15);
    assert_null(parse(conf, text, 4095));
    cvm_error_t *error = parse(conf, text, 4096);
    assert_non_null(strstr(cvm_error_text(error), "the.conf:1: "));
    cvm_error_free(error);
    cvm_conf_free(conf);
}

static void relative_paths_begin_at_the_file(void **state)
{
    static const struct {
        const char *line, *name, *value;
    } PATHS[] = {
        {"store = file:devices.db", "store", "file:/etc/cvm/devices.db"},
        {"store = file:/var/devices.db", "store", "file:/var/devices.db"},
        {"platform = local:../ca", "platform", "local:/etc/cvm/../ca"},
        {"store = dynamodb:TABLE", "store", "dynamodb:TABLE"},
        {"http.tls_certificate = tls/server.pem", "http.tls_certificate",
            "/etc/cvm/tls/server.pem"},
        {"http.tls_certificate = /tls/server.pem", "http.tls_certificate", "/tls/server.pem"},
        {"http.tls_certificate =", "http.tls_certificate", ""},
        {"mqtt.endpoint = host", "mqtt.endpoint", "host"}, /* no path */
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(PATHS); i++) {
        cvm_conf_t *conf = cvm_conf_new();
        assert_null(parse(conf, PATHS[i].line, strlen(PATHS[i].line)));
        assert_string_equal(cvm_conf_get(conf, PATHS[i].name), PATHS[i].value);
        cvm_conf_free(conf);
    }
}

static void paths_from_elsewhere_stay_as_they_are(void **state)
{
    (void)state;
    cvm_conf_t *conf = cvm_conf_new();
    assert_null(cvm_conf_set(conf, "store", "file:devices.db"));
    assert_null(cvm_conf_set(conf, "log.file", "cvm.log"));
    assert_string_equal(cvm_conf_get(conf, "store"), "file:devices.db");
    assert_string_equal(cvm_conf_get(conf, "log.file"), "cvm.log");
    cvm_conf_free(conf);
}

static void a_file_that_can_not_be_read_is_named(void **state)
{
    static const char *const PATHS[] = {"/nonexistent/cvm.conf", "/"};
    (void)state;
    for (size_t i = 0; i < LENGTH(PATHS); i++) {
        cvm_conf_t *conf = cvm_conf_new();
        cvm_error_t *error = cvm_conf_load(conf, PATHS[i]);
        assert_int_equal(cvm_error_code(error), CVM_CODE_CONFIGURATION);
        assert_non_null(strstr(cvm_error_text(error), PATHS[i]));
        cvm_error_free(error);
        cvm_conf_free(conf);
    }
}

static void a_copy_is_independent(void **state)
{
    (void)state;
    cvm_conf_t *conf = cvm_conf_new();
    assert_null(cvm_conf_set(conf, "policy.name", "one"));
    assert_null(cvm_conf_set(conf, "workers", "7"));
    cvm_conf_t *copy = cvm_conf_copy(conf);
    assert_null(cvm_conf_set(conf, "policy.name", "two"));
    assert_string_equal(cvm_conf_get(copy, "policy.name"), "one");
    assert_int_equal(cvm_conf_number(copy, "workers"), 7);
    cvm_conf_free(conf);
    cvm_conf_free(copy);
    cvm_conf_free(NULL);
}

/* --- Environment ------------------------------------------------------------------------------ */

static void warn(void *user_data, const char *text)
{
    char *all = user_data;
    (void)strncat(all, text, 400);
}

static cvm_error_t *load(cvm_conf_t *conf, const char *const *variables, char *warnings)
{
    char **before = environ;
    environ = (char **)(uintptr_t)variables;
    cvm_error_t *error = cvm_conf_load_environment(conf, warnings ? warn : NULL, warnings);
    environ = before;
    return error;
}

static void variables_set_properties(void **state)
{
    static const char *const VARIABLES[] = {"PATH=/bin", "CVM_HTTP_LISTEN=127.0.0.1:1",
        "CVM_HTTP_TLS_CERTIFICATE=a.pem", "CVM_CA_CRL_COMMAND=a=b", "CVM", "CVM_NOTHING", NULL};
    (void)state;
    cvm_conf_t *conf = cvm_conf_new();
    char warnings[1000] = "";
    assert_null(load(conf, VARIABLES, warnings));
    assert_string_equal(cvm_conf_get(conf, "http.listen"), "127.0.0.1:1");
    assert_string_equal(cvm_conf_get(conf, "http.tls_certificate"), "a.pem");
    assert_string_equal(cvm_conf_get(conf, "ca.crl_command"), "a=b");
    assert_string_equal(warnings, "");
    cvm_conf_free(conf);
}

static void a_variable_without_a_property_is_a_warning(void **state)
{
    static const char *const VARIABLES[] = {
        "CVM_NO_SUCH=1", "CVM_http_listen=off", "CVM_WORKERS=3", NULL};
    (void)state;
    cvm_conf_t *conf = cvm_conf_new();
    char warnings[1000] = "";
    assert_null(load(conf, VARIABLES, warnings));
    assert_non_null(strstr(warnings, "CVM_NO_SUCH"));
    assert_non_null(strstr(warnings, "CVM_http_listen"));
    assert_int_equal(cvm_conf_number(conf, "workers"), 3);
    assert_null(load(conf, VARIABLES, NULL)); /* nobody to warn */
    cvm_conf_free(conf);
}

static void a_variable_with_a_bad_value_is_an_error(void **state)
{
    static const char *const VARIABLES[] = {"CVM_WORKERS=none", NULL};
    (void)state;
    cvm_conf_t *conf = cvm_conf_new();
    cvm_error_t *error = load(conf, VARIABLES, NULL);
    assert_int_equal(cvm_error_code(error), CVM_CODE_CONFIGURATION);
    assert_string_equal(cvm_error_text(error),
        "the variable CVM_WORKERS: workers does not take 'none'; it takes 1 to 64 (with k, M, G)");
    cvm_error_free(error);
    cvm_conf_free(conf);
}

/* The library's own look-up of a name that is none is a bug: a debug build stops. */
static void an_own_look_up_of_nothing_stops_a_debug_build(void **state)
{
    (void)state;
    cvm_conf_t *conf = cvm_conf_new();
    assert_int_equal(cvm_conf_number(conf, "no.such"), 0); /* the public one answers */
    assert_null(cvm_conf_get(conf, "no.such"));
    assert_string_equal(cvm_conf_own(conf, "log.level"), "info");
    assert_int_equal(cvm_conf_own_number(conf, "workers"), 1);
#ifndef NDEBUG
    pid_t child = fork();
    int status = 0;
    if (child == 0) {
        (void)close(STDERR_FILENO);
        (void)signal(SIGABRT, SIG_DFL);
        (void)cvm_conf_own_number(conf, "no.such");
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
#endif
    cvm_conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_taken_or_refused),
        cmocka_unit_test(every_default_is_a_value_that_is_taken),
        cmocka_unit_test(an_endpoint_is_kept_as_devices_are_told_it),
        cmocka_unit_test(an_error_says_what_is_taken),
        cmocka_unit_test(an_unknown_name_is_an_error),
        cmocka_unit_test(a_file_is_read_line_by_line),
        cmocka_unit_test(a_bad_line_is_named),
        cmocka_unit_test(a_line_has_a_longest_length),
        cmocka_unit_test(relative_paths_begin_at_the_file),
        cmocka_unit_test(paths_from_elsewhere_stay_as_they_are),
        cmocka_unit_test(a_file_that_can_not_be_read_is_named),
        cmocka_unit_test(a_copy_is_independent),
        cmocka_unit_test(variables_set_properties),
        cmocka_unit_test(a_variable_without_a_property_is_a_warning),
        cmocka_unit_test(an_own_look_up_of_nothing_stops_a_debug_build),
        cmocka_unit_test(a_variable_with_a_bad_value_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
