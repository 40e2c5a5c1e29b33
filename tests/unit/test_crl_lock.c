/* Who waits for the lock on crl.pem sees whether another one's CRL tells what he wants told. */
#include "support/test.h"

#include <fcntl.h>
#include <unistd.h>

#include "backends/local/crl_lock.h"

static char folder[64], path[96];

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/cvm-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/.crl.lock", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path) || rmdir(folder);
}

static struct crl_lock take(void)
{
    atomic_int must_end = 0;
    struct crl_lock lock = {.fd = -1};
    char why[200] = "";
    assert_int_equal(cvm_crl_lock_take(&lock, folder, &must_end, why, sizeof why), 0);
    return lock;
}

/* As one that began to wait when so many were begun. */
static int32_t is_served_since(struct crl_lock lock, uint64_t ticket)
{
    lock.ticket = ticket;
    return cvm_crl_lock_is_served(&lock);
}

static void write_counts(uint64_t begun, uint64_t done, size_t size)
{
    const uint64_t counts[] = {begun, done};
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, counts, size), size);
    (void)close(fd);
}

static void what_was_begun_after_the_wait_began_serves(void **state)
{
    (void)state;
    struct crl_lock lock = take();
    uint64_t before = lock.ticket;
    assert_false(is_served_since(lock, before));
    cvm_crl_lock_begin(&lock);
    assert_false(is_served_since(lock, before)); /* it may be cut short yet */
    cvm_crl_lock_done(&lock);
    assert_true(is_served_since(lock, before));
    assert_false(is_served_since(lock, before + 1)); /* who came once it was begun */
    cvm_crl_lock_let_go(&lock);
}

static void what_was_cut_short_serves_nobody(void **state)
{
    (void)state;
    struct crl_lock lock = take();
    uint64_t before = lock.ticket;
    cvm_crl_lock_begin(&lock);
    cvm_crl_lock_let_go(&lock); /* as by a kill */
    lock = take();
    assert_false(is_served_since(lock, before));
    assert_int_equal(lock.ticket, before + 1);
    cvm_crl_lock_begin(&lock);
    cvm_crl_lock_done(&lock);
    assert_true(is_served_since(lock, before + 1));
    cvm_crl_lock_let_go(&lock);
}

/* A file that is damaged makes nobody believe that he was served. */
static void what_can_not_be_serves_nobody(void **state)
{
    static const struct {
        uint64_t begun, done;
        size_t size;
    } DAMAGE[] = {{5, UINT64_MAX, 16}, {5, 6, 16}, {0, 1, 16}, {UINT64_MAX, 7, 9}, {0, 0, 0}};
    (void)state;
    for (size_t i = 0; i < LENGTH(DAMAGE); i++) {
        write_counts(DAMAGE[i].begun, DAMAGE[i].done, DAMAGE[i].size);
        struct crl_lock lock = take();
        assert_false(cvm_crl_lock_is_served(&lock));
        cvm_crl_lock_begin(&lock);
        assert_false(cvm_crl_lock_is_served(&lock));
        cvm_crl_lock_done(&lock);
        assert_true(cvm_crl_lock_is_served(&lock));
        cvm_crl_lock_let_go(&lock);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            what_was_begun_after_the_wait_began_serves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_cut_short_serves_nobody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_can_not_be_serves_nobody, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
