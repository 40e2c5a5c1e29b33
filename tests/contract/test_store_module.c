/* A store of somebody else's (examples/store_module), in process and as a module that was built
 * with nothing of ours but cvm/plugin.h: a device's life on it. */
#include "support/harness.h"

#include "cvm/plugin.h"

#define UID "DEVICE001"

int32_t memory_plugin(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);

static cvm_t *start(int is_module)
{
    char why[256] = "";
    struct finish start = {0};
    cvm_conf_t *conf = harness_conf(NULL);
    if (is_module)
        assert_null(cvm_conf_set(conf, "module", MODULES "/memory.so"));
    else
        assert_null(cvm_conf_add_plugin(conf, memory_plugin, NULL));
    assert_null(cvm_conf_set(conf, "store", "memory:"));
    assert_null(cvm_conf_set(conf, "platform", harness_make_ca()));
    cvm_t *cvm = instance_new(conf, why, sizeof why);
    if (!cvm)
        fail_msg("%s", why);
    assert_null(cvm_start(cvm, finished, &start));
    turn_until(&start.calls, 1);
    assert_string_equal(start.name, "ok");
    return cvm;
}

static void expect(cvm_t *cvm, const char *csr, const char *name)
{
    struct outcome outcome = {0};
    assert_string_equal(register_now(cvm, UID, csr, &outcome), name);
    if (strcmp(name, "ok") == 0)
        assert_non_null(strstr(outcome.certificate, "BEGIN CERTIFICATE"));
    outcome_clear(&outcome);
}

static void live_on(int is_module)
{
    struct view view;
    char *csr = make_csr(), *other = make_csr();
    cvm_t *cvm = start(is_module);
    expect(cvm, csr, "store_unavailable"); /* there is no device at all */
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(device_add(cvm, UID), "device_exists");
    expect(cvm, csr, "ok");
    expect(cvm, csr, "ok"); /* the same again */
    expect(cvm, other, "already_registered");
    assert_string_equal(device_disable(cvm, UID), "ok");
    expect(cvm, csr, "not_authorized");
    assert_string_equal(device_enable(cvm, UID), "ok");
    assert_string_equal(device_reset(cvm, UID), "ok");
    expect(cvm, other, "ok");
    assert_string_equal(reconcile(cvm), "ok");
    device_view(cvm, UID, &view);
    assert_int_equal(view_count(&view, "current"), 1);
    assert_int_equal(view_count(&view, "revoked"), 1);
    assert_string_equal(device_revoke(cvm, UID, NULL), "ok");
    device_view(cvm, UID, &view);
    assert_int_equal(view_count(&view, "revoked"), 2);
    assert_string_equal(device_remove(cvm, UID, 1), "ok");
    assert_string_equal(device_remove(cvm, UID, 1), "no_such_device");
    instance_end(cvm);
    free(csr);
    free(other);
}

static void in_process(void **state)
{
    (void)state;
    live_on(0);
}

static void as_a_module(void **state)
{
    (void)state;
    live_on(1);
}

struct listing {
    int is_done;
    uint32_t count;
    char cursor[512];
};

static void on_page(void *user_data, const cvm_error_t *error, const cvm_device_t *const *devices,
    uint32_t count, const char *cursor)
{
    struct listing *listing = user_data;
    (void)devices;
    assert_null(error);
    listing->count += count;
    (void)snprintf(listing->cursor, sizeof listing->cursor, "%s", cursor ? cursor : "");
    listing->is_done = 1;
}

/* More than one page: nothing twice, nothing left out, never more than was asked for. */
static void by_the_page(void **state)
{
    enum { DEVICES = 25, PAGE = 10 };
    struct listing listing = {0};
    uint32_t pages = 0;
    (void)state;
    cvm_t *cvm = start(0);
    for (int i = 0; i < DEVICES; i++) {
        char uid[32];
        (void)snprintf(uid, sizeof uid, "D%d", i);
        assert_string_equal(device_add(cvm, uid), "ok");
    }
    do {
        listing.is_done = 0;
        assert_null(cvm_device_list(cvm, listing.cursor, PAGE, on_page, &listing));
        turn_until(&listing.is_done, 1);
        pages++;
    } while (*listing.cursor && pages < 10);
    assert_int_equal(pages, 3);
    assert_int_equal(listing.count, DEVICES);
    instance_end(cvm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {TEST(in_process), TEST(as_a_module), TEST(by_the_page)};
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
