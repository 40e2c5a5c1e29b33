/* How plugins get in: by a call of the program's, or as a module. Names, properties and defaults of
 * their own; and what is told of one that doesn't fit. */
#include "support/harness.h"

#include <unistd.h>

#include "cvm/plugin.h"

/* --- A plugin that does as the test says ------------------------------------------------------ */

static const cvm_store_ops_t *table;
static const char *store_name;
static const cvm_property_row_t *rows;
static uint32_t row_count;
static const char *default_of[3]; /* backend, property, value */
static char told[200];            /* what the host said */
static int32_t answer;
static void *told_user_data;
static int64_t plain_tokens; /* as create() sees the property */

static int32_t plugin(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    int32_t failed = 0;
    told_user_data = user_data;
    if (store_name)
        failed = host->add_store(registry, store_name, table, user_data, told, sizeof told);
    for (uint32_t i = 0; i < row_count && !failed; i++)
        failed = host->add_property(registry, &rows[i], told, sizeof told);
    if (*default_of && !failed)
        failed = host->add_default(
            registry, default_of[0], default_of[1], default_of[2], told, sizeof told);
    return failed ? failed : answer;
}

static cvm_answer_t create(const cvm_host_t *host, cvm_context_t *context, void *user_data,
    const char *location, void **store, char *error, size_t error_size)
{
    (void)store;
    plain_tokens = host->property_number(context, "store.plain_tokens");
    (void)snprintf(error, error_size, "created at '%s' with %s", location, (char *)user_data);
    return CVM_ANSWER_INVALID;
}

static void nothing(void)
{
}

/* A table with all that is needed; nothing of it but create() is called. */
static const cvm_store_ops_t *whole_table(uint32_t flags)
{
    static cvm_store_ops_t whole;
    void (*const function)(void) = nothing;
    for (size_t at = offsetof(cvm_store_ops_t, create); at < sizeof whole; at += sizeof function)
        memcpy((char *)&whole + at, &function, sizeof function);
    whole.size = sizeof whole;
    whole.flags = flags;
    whole.device_fields = CVM_DEVICE_FIELD_COUNT;
    whole.certificate_fields = CVM_CERTIFICATE_FIELD_COUNT;
    whole.create = create;
    return &whole;
}

static int set_up(void **state)
{
    table = whole_table(0);
    store_name = NULL;
    row_count = 0;
    default_of[0] = NULL;
    answer = 0;
    *told = 0;
    return harness_set_up(state);
}

/* The error's text, freed; "" without one. Static until the next call. */
static const char *text_of(cvm_error_t *error)
{
    static char text[300];
    (void)snprintf(text, sizeof text, "%s", error ? cvm_error_text(error) : "");
    cvm_error_free(error);
    return text;
}

static void expect_text(cvm_error_t *error, const char *part)
{
    const char *text = text_of(error);
    if (!strstr(text, part))
        fail_msg("'%s' without '%s'", text, part);
}

static void expect_refused(const char *part)
{
    cvm_conf_t *conf = cvm_conf_new();
    assert_non_null(conf);
    expect_text(cvm_conf_add_plugin(conf, plugin, NULL), part);
    assert_non_null(strstr(told, part));
    cvm_conf_free(conf);
}

/* What cvm_new() says; the configuration stays the caller's. */
static void expect_new(const cvm_conf_t *conf, const char *part)
{
    cvm_t *cvm = NULL;
    expect_text(cvm_new(conf, &cvm), part);
    assert_null(cvm);
}

/* --- Names and tables ------------------------------------------------------------------------- */

static void a_store_gets_in_with_its_user_data(void **state)
{
    char data[] = "its data";
    (void)state;
    store_name = "own";
    cvm_conf_t *conf = cvm_conf_new();
    assert_non_null(conf);
    assert_string_equal(text_of(cvm_conf_add_plugin(conf, plugin, data)), "");
    assert_ptr_equal(told_user_data, data);
    assert_null(cvm_conf_set(conf, "store", "own:here:and there"));
    expect_new(conf, "store: created at 'here:and there' with its data");
    assert_null(cvm_conf_set(conf, "store", "own"));
    expect_new(conf, "store: created at '' with its data");
    assert_null(cvm_conf_set(conf, "store", "other:x"));
    expect_new(conf, "cvm-other.so); there are: file, own");
    cvm_conf_free(conf);
}

static void a_name_that_cant_be_is_refused(void **state)
{
    static const char *const NAMES[] = {
        "", "Own", "own store", "own:", "12345678901234567890123456789012"};
    (void)state;
    for (size_t i = 0; i < LENGTH(NAMES); i++) {
        store_name = NAMES[i];
        expect_refused("can't be a store's name");
    }
    store_name = "file";
    expect_refused("there is a store 'file' already");
    store_name = "1234567890123456789012345678901";
    cvm_conf_t *conf = cvm_conf_new();
    assert_string_equal(text_of(cvm_conf_add_plugin(conf, plugin, NULL)), "");
    cvm_conf_free(conf);
}

static void a_table_that_is_none_is_refused(void **state)
{
    cvm_store_ops_t cut = *whole_table(0);
    (void)state;
    store_name = "own";
    table = NULL;
    expect_refused("the table of the store 'own' has 0 bytes");
    table = &cut;
    cut.size = offsetof(cvm_store_ops_t, open) - 1;
    expect_refused("the table of the store 'own' has");
}

static void what_a_longer_table_has_more_is_left_alone(void **state)
{
    struct {
        cvm_store_ops_t known;
        void *more[8];
    } longer;
    char data[] = "more";
    (void)state;
    memset(&longer, 0xff, sizeof longer);
    longer.known = *whole_table(0);
    longer.known.size = sizeof longer;
    table = &longer.known;
    store_name = "own";
    cvm_conf_t *conf = cvm_conf_new();
    assert_null(cvm_conf_add_plugin(conf, plugin, data));
    assert_null(cvm_conf_set(conf, "store", "own"));
    expect_new(conf, "created at '' with more");
    cvm_conf_free(conf);
}

static void many_get_in(void **state)
{
    static char names[100][8];
    (void)state;
    cvm_conf_t *conf = cvm_conf_new();
    for (uint32_t i = 0; i < LENGTH(names); i++) {
        (void)snprintf(names[i], sizeof names[i], "own-%u", i);
        store_name = names[i];
        assert_string_equal(text_of(cvm_conf_add_plugin(conf, plugin, names[i])), "");
    }
    assert_null(cvm_conf_set(conf, "store", "own-99"));
    expect_new(conf, "with own-99");
    cvm_conf_free(conf);
}

static void who_gives_no_reason_is_named(void **state)
{
    (void)state;
    answer = -1;
    cvm_conf_t *conf = cvm_conf_new();
    expect_text(
        cvm_conf_add_plugin(conf, plugin, NULL), "the program's own plugin: it does not want");
    cvm_conf_free(conf);
}

static void a_plugin_that_gives_up_leaves_nothing_behind(void **state)
{
    (void)state;
    cvm_conf_t *conf = cvm_conf_new();
    uint32_t count = cvm_property_count(conf);
    store_name = "own";
    answer = -1;
    for (int i = 0; i < 2; i++) {
        expect_text(cvm_conf_add_plugin(conf, plugin, NULL), "it does not want");
        assert_int_equal(cvm_property_count(conf), count);
    }
    answer = 0;
    assert_string_equal(text_of(cvm_conf_add_plugin(conf, plugin, NULL)), "");
    cvm_conf_free(conf);
}

static void a_location_is_a_path_if_the_table_says_so(void **state)
{
    static const char LINE[] = "store = own:devices\n";
    (void)state;
    store_name = "own";
    for (uint32_t is_path = 0; is_path < 2; is_path++) {
        for (uint32_t is_late = 0; is_late < 2; is_late++) {
            char path[128];
            table = whole_table(is_path ? CVM_LOCATION_IS_PATH : 0);
            (void)snprintf(path, sizeof path, "%s/cvm.conf", harness_folder());
            FILE *file = fopen(path, "w");
            assert_non_null(file);
            (void)fputs(LINE, file);
            (void)fclose(file);
            cvm_conf_t *conf = cvm_conf_new();
            if (!is_late)
                assert_null(cvm_conf_add_plugin(conf, plugin, NULL));
            assert_null(cvm_conf_load(conf, path));
            if (is_late)
                assert_null(cvm_conf_add_plugin(conf, plugin, NULL));
            (void)snprintf(
                path, sizeof path, is_path ? "own:%s/devices" : "own:devices", harness_folder());
            assert_string_equal(cvm_conf_get(conf, "store"), path);
            cvm_conf_free(conf);
        }
    }
}

/* --- Properties of its own -------------------------------------------------------------------- */

#define ROW(name, type, preset, range)                                                             \
    {                                                                                              \
        sizeof(cvm_property_row_t), 0, name, type, preset, range, "Help."                          \
    }
static const cvm_property_row_t OWN_ROWS[] = {ROW("own.text", CVM_TYPE_TEXT, "a text", NULL),
    ROW("own.wait", CVM_TYPE_DURATION, "5s", "1s to 1min"),
    ROW("own.how", CVM_TYPE_CHOICE, "fast", "slow|fast"),
    {sizeof(cvm_property_row_t), CVM_PROPERTY_SECRET, "own.password", CVM_TYPE_TEXT, "", NULL,
        "Help."}};

static cvm_conf_t *conf_with_rows(void)
{
    cvm_conf_t *conf = cvm_conf_new();
    store_name = "own";
    rows = OWN_ROWS;
    row_count = LENGTH(OWN_ROWS);
    assert_non_null(conf);
    assert_string_equal(text_of(cvm_conf_add_plugin(conf, plugin, NULL)), "");
    return conf;
}

static void a_plugins_properties_are_set_and_checked(void **state)
{
    (void)state;
    cvm_conf_t *conf = conf_with_rows();
    assert_string_equal(cvm_conf_get(conf, "own.text"), "a text");
    assert_int_equal(cvm_conf_number(conf, "own.wait"), 5000);
    assert_null(cvm_conf_set(conf, "own.wait", "10s"));
    assert_int_equal(cvm_conf_number(conf, "own.wait"), 10000);
    expect_text(
        cvm_conf_set(conf, "own.wait", "2min"), "own.wait does not take '2min'; it takes 1s to");
    expect_text(cvm_conf_set(conf, "own.other", "1"), "there is no property 'own.other'");
    assert_null(cvm_conf_set(conf, "own.how", "slow"));
    assert_int_equal(cvm_conf_number(conf, "own.how"), 0);
    assert_null(cvm_conf_set(conf, "own.password_file", "secret"));
    cvm_conf_free(conf);
}

static void they_are_listed_behind_the_librarys(void **state)
{
    (void)state;
    uint32_t count = cvm_property_count(NULL);
    cvm_conf_t *conf = conf_with_rows();
    assert_int_equal(cvm_property_count(conf), count + 5);
    assert_string_equal(cvm_property_name(conf, count), "own.text");
    assert_string_equal(cvm_property_type(conf, count + 2), "choice");
    assert_string_equal(cvm_property_range(conf, count + 2), "slow|fast");
    assert_string_equal(cvm_property_default(conf, count + 1), "5s");
    assert_string_equal(cvm_property_help(conf, count + 1), "Help.");
    assert_string_equal(cvm_property_name(conf, count + 3), "own.password");
    assert_true(cvm_property_is_secret(conf, count + 3));
    assert_string_equal(cvm_property_name(conf, count + 4), "own.password_file");
    assert_false(cvm_property_is_secret(conf, count + 4));
    assert_false(cvm_property_needs_restart(conf, count)); /* it does not say so */
    assert_true(cvm_property_needs_restart(conf, 0));
    assert_null(cvm_property_name(conf, count + 5));
    assert_null(cvm_property_name(NULL, count));
    cvm_conf_free(conf);
}

static void a_row_that_cant_be_is_refused(void **state)
{
    static const struct {
        cvm_property_row_t row;
        const char *why;
    } BAD[] = {
        {ROW("http.own", CVM_TYPE_TEXT, "", NULL), "can't be a property's name"},
        {ROW("store.own", CVM_TYPE_TEXT, "", NULL), "can't be a property's name"},
        {ROW("own", CVM_TYPE_TEXT, "", NULL), "can't be a property's name"},
        {ROW("own.Text", CVM_TYPE_TEXT, "", NULL), "can't be a property's name"},
        {ROW(NULL, CVM_TYPE_TEXT, "", NULL), "can't be a property's name"},
        {ROW(".own", CVM_TYPE_TEXT, "", NULL), "can't be a property's name"},
        {ROW("own.", CVM_TYPE_TEXT, "", NULL), "can't be a property's name"},
        {ROW("own..text", CVM_TYPE_TEXT, "", NULL), "can't be a property's name"},
        {ROW("own.text", CVM_TYPE_TEXT, "a\nb", NULL), "a line end"},
        {ROW("own.count", CVM_TYPE_COUNT, "1", "0000000000000000000000000000000000001 to 9"),
            "its own default"},
        {{sizeof(cvm_property_row_t), CVM_PROPERTY_SECRET, "own.word", CVM_TYPE_TEXT, "secret",
             NULL, ""},
            "a secret has no default"},
        {ROW("own.wait", CVM_TYPE_DURATION, "5s", NULL), "a number has a range"},
        {ROW("own.wait", CVM_TYPE_DURATION, "5s", "1s"), "a number has a range"},
        {ROW("own.how", CVM_TYPE_CHOICE, "a", NULL), "a choice has a range"},
        {ROW("own.wait", CVM_TYPE_DURATION, "2min", "1s to 1min"), "its own default"},
        {ROW("own.new", CVM_TYPE_CHOICE + 1, "", NULL),
            "of a type that this release does not know"},
        {{sizeof(cvm_property_row_t), CVM_PROPERTY_SECRET, "own.count", CVM_TYPE_COUNT, "1",
             "1 to 2", ""},
            "a secret that is no text"},
        {{8, 0, "own.text", CVM_TYPE_TEXT, "", NULL, ""}, "too short"},
        {ROW("own.123456789012345678901234567890123456789012345678901234567", CVM_TYPE_TEXT, "",
             NULL),
            "can't be a property's name"},
    };
    static const cvm_property_row_t FILE_IS_TAKEN[] = {
        ROW("own.word_file", CVM_TYPE_TEXT, "", NULL),
        {sizeof(cvm_property_row_t), CVM_PROPERTY_SECRET, "own.word", CVM_TYPE_TEXT, "", NULL, ""}};
    static const cvm_property_row_t TWICE[] = {
        ROW("own.text", CVM_TYPE_TEXT, "", NULL), ROW("own.text", CVM_TYPE_TEXT, "", NULL)};
    (void)state;
    row_count = 1;
    for (size_t i = 0; i < LENGTH(BAD); i++) {
        rows = &BAD[i].row;
        expect_refused(BAD[i].why);
    }
    rows = TWICE;
    row_count = LENGTH(TWICE);
    expect_refused("can't be a property's name: it is taken");
    rows = FILE_IS_TAKEN;
    row_count = LENGTH(FILE_IS_TAKEN);
    expect_refused("can't be a property's name: it is taken");
}

static char nested[160];

static int32_t add_another(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    (void)host;
    (void)registry;
    cvm_error_t *error = cvm_conf_add_plugin(user_data, plugin, NULL);
    (void)snprintf(nested, sizeof nested, "%s", cvm_error_name(error));
    cvm_error_free(error);
    return -1;
}

static void a_plugin_adds_no_other(void **state)
{
    (void)state;
    cvm_conf_t *conf = cvm_conf_new();
    uint32_t count = cvm_property_count(conf);
    rows = OWN_ROWS;
    row_count = LENGTH(OWN_ROWS);
    expect_text(cvm_conf_add_plugin(conf, add_another, conf), "does not want to be used");
    assert_string_equal(nested, "conflict");
    assert_int_equal(cvm_property_count(conf), count);
    assert_null(cvm_conf_get(conf, "own.wait"));
    cvm_conf_free(conf);
}

/* A wrong value is told once; a right one mends it. */
static void what_was_wrong_can_be_mended(void **state)
{
    (void)state;
    cvm_conf_t *conf = cvm_conf_new();
    rows = OWN_ROWS;
    row_count = LENGTH(OWN_ROWS);
    store_name = "own";
    assert_null(cvm_conf_set(conf, "own.wait", "1h"));
    expect_text(cvm_conf_add_plugin(conf, plugin, NULL), "own.wait does not take '1h'");
    assert_null(cvm_conf_set(conf, "own.wait", "7s"));
    assert_null(cvm_conf_load_modules(conf));
    assert_int_equal(cvm_conf_number(conf, "own.wait"), 7000);
    cvm_conf_free(conf);
}

/* What is set before the plugin is known waits for it. */
static void what_came_before_it_is_set_when_it_comes(void **state)
{
    (void)state;
    cvm_conf_t *conf = cvm_conf_new();
    assert_null(cvm_conf_set(conf, "own.wait", "7s"));
    assert_null(cvm_conf_set(conf, "own.wait", "8s"));
    assert_int_equal(setenv("CVM_OWN_HOW", "slow", 1), 0);
    assert_null(cvm_conf_load_environment(conf, NULL, NULL));
    store_name = "own";
    rows = OWN_ROWS;
    row_count = LENGTH(OWN_ROWS);
    assert_string_equal(text_of(cvm_conf_add_plugin(conf, plugin, NULL)), "");
    assert_int_equal(cvm_conf_number(conf, "own.wait"), 8000);
    assert_string_equal(cvm_conf_get(conf, "own.how"), "slow");
    assert_int_equal(unsetenv("CVM_OWN_HOW"), 0);
    cvm_conf_free(conf);
}

/* ... and is told with its place if it is wrong, or if nothing comes. */
static void what_waits_keeps_its_place(void **state)
{
    static const char *const LINES[] = {"# x\nown.wait = 1h\n", "# x\nown.none = 1\n"};
    static const char *const WORDS[] = {"own.wait does not take '1h'",
        "there is no property 'own.none', and no module or plugin that has one"};
    char path[128], place[160];
    (void)state;
    (void)snprintf(path, sizeof path, "%s/cvm.conf", harness_folder());
    (void)snprintf(place, sizeof place, "%s:2: ", path);
    store_name = "own";
    rows = OWN_ROWS;
    row_count = LENGTH(OWN_ROWS);
    for (size_t i = 0; i < LENGTH(LINES); i++) {
        cvm_conf_t *conf = cvm_conf_new();
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        (void)fputs(LINES[i], file);
        (void)fclose(file);
        assert_null(cvm_conf_load(conf, path));
        cvm_error_t *error = cvm_conf_add_plugin(conf, plugin, NULL);
        if (!error)
            error = cvm_conf_load_modules(conf);
        assert_non_null(strstr(cvm_error_text(error), place));
        expect_text(error, WORDS[i]);
        cvm_conf_free(conf);
    }
}

static void a_secret_is_not_repeated(void **state)
{
    char text[300];
    (void)state;
    cvm_conf_t *conf = conf_with_rows();
    assert_null(cvm_conf_set(conf, "own.password", "hunter2"));
    assert_string_equal(cvm_conf_get(conf, "own.password"), "hunter2");
    assert_null(cvm_conf_set(conf, "store", "own:hunter2"));
    (void)snprintf(text, sizeof text, "%s", text_of(cvm_conf_set(conf, "store", "NO:hunter2")));
    assert_null(strstr(text, "hunter2"));
    cvm_conf_free(conf);
}

/* --- Defaults of the library's properties ----------------------------------------------------- */

static void expect_plain_tokens(const char *store, const char *set, int64_t wanted)
{
    char data[] = "own data";
    cvm_conf_t *conf = cvm_conf_new();
    store_name = "own";
    assert_string_equal(text_of(cvm_conf_add_plugin(conf, plugin, data)), "");
    store_name = "other";
    default_of[0] = NULL;
    assert_string_equal(text_of(cvm_conf_add_plugin(conf, plugin, data)), "");
    assert_null(cvm_conf_set(conf, "store", store));
    if (set)
        assert_null(cvm_conf_set(conf, "store.plain_tokens", set));
    plain_tokens = -1;
    expect_new(conf, "with own data");
    assert_int_equal(plain_tokens, wanted);
    assert_int_equal(cvm_conf_number(conf, "store.plain_tokens"), set && strcmp(set, "true") == 0);
    default_of[0] = "own";
    cvm_conf_free(conf);
}

static void a_store_has_defaults_of_its_own(void **state)
{
    (void)state;
    default_of[0] = "own";
    default_of[1] = "store.plain_tokens";
    default_of[2] = "true";
    expect_plain_tokens("own:x", NULL, 1);
    expect_plain_tokens("own:x", "false", 0);
    expect_plain_tokens("other:x", NULL, 0);
    expect_plain_tokens("other:x", "true", 1);
    default_of[2] = "perhaps";
    expect_refused("'store.plain_tokens' has no such default: perhaps");
    default_of[1] = "store.none";
    default_of[2] = "true";
    expect_refused("'store.none' has no such default");
}

/* --- Modules ---------------------------------------------------------------------------------- */

/* A configuration of these lines, in the test's folder. */
static cvm_conf_t *conf_of(const char *lines)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/cvm.conf", harness_folder());
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(lines, file);
    (void)fclose(file);
    cvm_conf_t *conf = cvm_conf_new();
    assert_non_null(conf);
    assert_string_equal(text_of(cvm_conf_load(conf, path)), "");
    return conf;
}

static void a_module_is_loaded_with_its_properties(void **state)
{
    char wanted[200];
    (void)state;
    cvm_conf_t *conf = conf_of("store = modular:devices\nmodular.word = a word\n"
                               "module = " MODULES "/module_0.so\n");
    (void)snprintf(wanted, sizeof wanted, "the module's store, '%s/devices', modular.word = a word",
        harness_folder());
    assert_string_equal(cvm_conf_get(conf, "store"), "modular:devices"); /* nobody knows it yet */
    expect_new(conf, wanted);
    assert_int_equal(cvm_property_count(conf), cvm_property_count(NULL)); /* it loaded a copy */
    assert_string_equal(text_of(cvm_conf_load_modules(conf)), "");
    assert_string_equal(cvm_property_name(conf, cvm_property_count(conf) - 1), "modular.word");
    assert_string_equal(text_of(cvm_conf_load_modules(conf)), "");
    expect_new(conf, wanted);
    expect_text(cvm_conf_set(conf, "later.word", "1"), "there is no property 'later.word'");
    cvm_conf_free(conf);
}

static void what_a_modules_property_does_not_take_is_named(void **state)
{
    char wanted[200];
    (void)state;
    cvm_conf_t *conf =
        conf_of("module = " MODULES "/module_0.so\n\nmodular.none = a word\nstore = modular:x\n");
    (void)snprintf(wanted, sizeof wanted, "%s/cvm.conf:3: there is no property 'modular.none'",
        harness_folder());
    expect_new(conf, wanted);
    cvm_conf_free(conf);
}

static void a_module_that_does_not_fit_is_refused(void **state)
{
    static const char *const WHY[] = {"older release", "newer release", "too short",
        "'No Name' can't be a store's name", "exports no cvm_module"};
    (void)state;
    for (uint32_t kind = 1; kind <= LENGTH(WHY); kind++) {
        char lines[300], path[200];
        (void)snprintf(path, sizeof path, MODULES "/module_%u.so", kind);
        (void)snprintf(lines, sizeof lines, "module = %s\n", path);
        cvm_conf_t *conf = conf_of(lines);
        expect_new(conf, WHY[kind - 1]);
        expect_new(conf, path);
        cvm_conf_free(conf);
    }
}

/* Of two modules the second fails: the true reason is told as often as it is asked for. */
static void modules_get_in_all_or_none(void **state)
{
    (void)state;
    cvm_conf_t *conf = conf_of("modular.word = kept\nstore = modular:x\n");
    assert_null(cvm_conf_set(conf, "module", MODULES "/module_0.so:/no/such.so"));
    for (int i = 0; i < 2; i++) {
        expect_text(cvm_conf_load_modules(conf), "/no/such.so");
        expect_new(conf, "/no/such.so");
    }
    assert_null(cvm_conf_set(conf, "module", MODULES "/module_0.so"));
    expect_new(conf, "modular.word = kept");
    assert_string_equal(text_of(cvm_conf_load_modules(conf)), "");
    cvm_conf_free(conf);
}

static void what_is_no_module_is_refused(void **state)
{
    (void)state;
    cvm_conf_t *conf = conf_of("module = /no/such/module.so\n");
    expect_new(conf, "module: /no/such/module.so: cannot open");
    assert_null(cvm_conf_set(conf, "module", "/dev/null"));
    expect_new(conf, "module: /dev/null: ");
    assert_null(cvm_conf_set(conf, "module", MODULES "/module_0.so:" MODULES "/module_0.so"));
    expect_new(conf, "ca/root.pem"); /* twice is once */
    cvm_conf_free(conf);
}

/* With modules it is not known before they are loaded. */
static void a_variable_that_names_nothing_is_told_in_the_log(void **state)
{
    static const struct setting SETTINGS[] = {
        {"module", MODULES "/module_0.so"}, {"store", "modular:x"}, {NULL, NULL}};
    (void)state;
    assert_int_equal(setenv("CVM_MODULAR_NONE", "1", 1), 0);
    assert_int_equal(setenv("CVM_MODULAR_WORD", "of the environment", 1), 0);
    cvm_conf_t *conf = harness_conf(SETTINGS);
    assert_string_equal(text_of(cvm_conf_load_environment(conf, NULL, NULL)), "");
    expect_new(conf, "modular.word = of the environment");
    assert_int_equal(lines_with("log", "CVM_MODULAR_NONE names no property"), 1);
    assert_int_equal(lines_with("log", "CVM_MODULAR_WORD"), 0);
    assert_int_equal(unsetenv("CVM_MODULAR_NONE") | unsetenv("CVM_MODULAR_WORD"), 0);
    cvm_conf_free(conf);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_store_gets_in_with_its_user_data),
        TEST(a_name_that_cant_be_is_refused),
        TEST(a_table_that_is_none_is_refused),
        TEST(what_a_longer_table_has_more_is_left_alone),
        TEST(many_get_in),
        TEST(who_gives_no_reason_is_named),
        TEST(a_location_is_a_path_if_the_table_says_so),
        TEST(a_plugins_properties_are_set_and_checked),
        TEST(they_are_listed_behind_the_librarys),
        TEST(a_row_that_cant_be_is_refused),
        TEST(a_plugin_adds_no_other),
        TEST(what_was_wrong_can_be_mended),
        TEST(what_came_before_it_is_set_when_it_comes),
        TEST(what_waits_keeps_its_place),
        TEST(a_secret_is_not_repeated),
        TEST(a_store_has_defaults_of_its_own),
        TEST(a_module_is_loaded_with_its_properties),
        TEST(what_a_modules_property_does_not_take_is_named),
        TEST(a_module_that_does_not_fit_is_refused),
        TEST(modules_get_in_all_or_none),
        TEST(a_plugin_that_gives_up_leaves_nothing_behind),
        TEST(what_is_no_module_is_refused),
        TEST(a_variable_that_names_nothing_is_told_in_the_log),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
