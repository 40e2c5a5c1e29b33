/* Listening: all of the listeners or none of them. */
#include "support/harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* A socket that listens on a loopback port; 0 for any. -1 if it is taken. */
static int listen_on(uint16_t port, char address[32])
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t size = sizeof name;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&name, sizeof name) || listen(fd, 1)) {
        (void)close(fd);
        return -1;
    }
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    (void)snprintf(address, 32, "127.0.0.1:%u", ntohs(name.sin_port));
    return fd;
}

static uint16_t port_of(const char *address)
{
    return (uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10);
}

static int connects(const char *address)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port_of(address))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int failed = connect(fd, (struct sockaddr *)&name, sizeof name);
    (void)close(fd);
    return !failed;
}

/* The listener's thread may need a moment to let go of it. */
static void expect_free(uint16_t port)
{
    char address[32];
    int fd = -1;
    for (int turns = 0; turns < 1000 && (fd = listen_on(port, address)) < 0; turns++)
        turn();
    if (fd < 0)
        fail_msg("port %u is not free", port);
    (void)close(fd);
}

static void a_listener_that_fails_closes_the_others(void **state)
{
    char first[32], second[32];
    (void)state;
    int taken = listen_on(0, second);
    int probe = listen_on(0, first);
    (void)close(probe);
    const struct setting settings[] = {
        {"http.listen", first}, {"ops.listen", second}, {NULL, NULL}};
    cvm_t *cvm = instance_start(settings);
    cvm_error_t *error = cvm_listen(cvm);
    assert_non_null(error);
    assert_int_equal(cvm_error_code(error), CVM_CODE_UNAVAILABLE);
    assert_non_null(strstr(cvm_error_text(error), second));
    cvm_error_free(error);
    assert_null(cvm_listener(cvm, 0));
    expect_free(port_of(first));

    error = cvm_listen(cvm); /* it is taken still */
    assert_non_null(error);
    cvm_error_free(error);
    expect_free(port_of(first));
    (void)close(taken);
    error = cvm_listen(cvm);
    if (error)
        fail_msg("%s", cvm_error_text(error));
    assert_non_null(strstr(cvm_listener(cvm, 0), first));
    assert_non_null(strstr(cvm_listener(cvm, 1), second));
    assert_null(cvm_listener(cvm, 2));
    assert_true(connects(first) && connects(second));
    error = cvm_listen(cvm);
    assert_string_equal(cvm_error_name(error), "conflict");
    cvm_error_free(error);
    instance_end(cvm);
    assert_false(connects(first) || connects(second));
}

/* A stop while the listeners that were given up are closing. */
static void a_stop_after_a_listener_failed_ends(void **state)
{
    char taken_address[32];
    (void)state;
    int taken = listen_on(0, taken_address);
    const struct setting settings[] = {
        {"http.listen", "127.0.0.1:0"}, {"ops.listen", taken_address}, {NULL, NULL}};
    cvm_t *cvm = instance_start(settings);
    cvm_error_t *error = cvm_listen(cvm);
    assert_non_null(error);
    cvm_error_free(error);
    instance_end(cvm);
    (void)close(taken);
}

/* The second address of one listener is taken. */
static void all_addresses_of_a_listener_or_none(void **state)
{
    char first[32], second[32], both[70], ignored[32];
    (void)state;
    int taken = listen_on(0, second);
    int probe = listen_on(0, first);
    (void)close(probe);
    (void)snprintf(both, sizeof both, "%s, %s", first, second);
    const struct setting settings[] = {{"http.listen", both}, {NULL, NULL}};
    cvm_t *cvm = instance_start(settings);
    cvm_error_t *error = cvm_listen(cvm);
    assert_non_null(error);
    cvm_error_free(error);
    assert_null(cvm_listener(cvm, 0));
    int fd = listen_on(port_of(first), ignored);
    assert_true(fd >= 0);
    (void)close(fd);
    (void)close(taken);
    assert_null(cvm_listen(cvm));
    assert_true(connects(first) && connects(second));
    instance_end(cvm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_listener_that_fails_closes_the_others),
        TEST(a_stop_after_a_listener_failed_ends),
        TEST(all_addresses_of_a_listener_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
