/* Reloading over a local CA: the caller is told what could not be had, and a CRL that was asked for
 * is newer than the question. */
#include "support/faults.h"
#include "support/harness.h"

#include <sys/stat.h>
#include <unistd.h>

#include <openssl/bn.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#define UID "DEVICE001"

static const char *path_of(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", harness_folder(), name);
    return path;
}

/* An instance over a CA of its own, whose first CRL is there. */
static cvm_t *start(void)
{
    const struct setting settings[] = {
        {"store", "faulty"}, {"platform", harness_make_ca()}, {NULL, NULL}};
    cvm_t *cvm = instance_start(settings);
    struct finish finish = {.calls = 0};
    assert_null(cvm_reload(cvm, finished, &finish)); /* whatever CRL is due is made by then */
    turn_until(&finish.calls, 1);
    assert_string_equal(finish.name, "ok");
    return cvm;
}

static uint64_t crl_number(void)
{
    uint64_t number = 0;
    FILE *file = fopen(path_of("ca/crl.pem"), "r");
    if (!file)
        return 0;
    X509_CRL *crl = PEM_read_X509_CRL(file, NULL, NULL, NULL);
    (void)fclose(file);
    assert_non_null(crl);
    ASN1_INTEGER *found = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    assert_true(found && ASN1_INTEGER_get_uint64(&number, found));
    ASN1_INTEGER_free(found);
    X509_CRL_free(crl);
    return number;
}

static void reload(cvm_t *cvm, struct finish *finish)
{
    *finish = (struct finish){.calls = 0};
    assert_null(cvm_reload(cvm, finished, finish));
    assert_int_equal(finish->calls, 0);
    turn_until(&finish->calls, 1);
}

/* --- What the caller is told ------------------------------------------------------------------ */

static void a_reload_makes_a_newer_crl(void **state)
{
    struct finish finish;
    (void)state;
    cvm_t *cvm = start();
    uint64_t before = crl_number();
    assert_true(before > 0);
    reload(cvm, &finish);
    assert_string_equal(finish.name, "ok");
    assert_true(crl_number() > before);
    assert_int_equal(unlink(path_of("ca/crl.pem")), 0); /* one that was lost is made again */
    reload(cvm, &finish);
    assert_string_equal(finish.name, "ok");
    assert_true(crl_number() > before + 1);
    instance_end(cvm);
}

static void a_broken_ca_is_told_and_the_old_one_kept(void **state)
{
    static const char *const FILES[] = {"ca/issuing.key", "ca/issuing.pem", "ca/root.pem"};
    struct finish finish;
    struct outcome outcome;
    char kept[160];
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    for (size_t i = 0; i < LENGTH(FILES); i++) {
        (void)snprintf(kept, sizeof kept, "%s.kept", path_of(FILES[i]));
        if (rename(path_of(FILES[i]), kept))
            fail_msg("there is no %s", FILES[i]);
        reload(cvm, &finish);
        assert_string_not_equal(finish.name, "ok");
        if (!strstr(finish.text, FILES[i]))
            fail_msg("'%s' does not name %s", finish.text, FILES[i]);
        assert_int_equal(rename(kept, path_of(FILES[i])), 0);
    }
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok"); /* it works as before */
    outcome_clear(&outcome);
    reload(cvm, &finish);
    assert_string_equal(finish.name, "ok");
    instance_end(cvm);
}

/* crl.pem is a folder, which no file can take the place of. */
static void a_crl_that_can_not_be_written_is_told(void **state)
{
    struct finish finish;
    (void)state;
    cvm_t *cvm = start();
    assert_int_equal(unlink(path_of("ca/crl.pem")), 0);
    assert_int_equal(mkdir(path_of("ca/crl.pem"), 0700), 0);
    reload(cvm, &finish);
    assert_string_not_equal(finish.name, "ok");
    if (!strstr(finish.text, "crl.pem"))
        fail_msg("'%s' does not name crl.pem", finish.text);
    assert_int_equal(rmdir(path_of("ca/crl.pem")), 0);
    reload(cvm, &finish);
    assert_string_equal(finish.name, "ok");
    assert_true(crl_number() > 0);
    instance_end(cvm);
}

static void a_store_that_does_not_answer_is_told(void **state)
{
    struct finish finish;
    (void)state;
    cvm_t *cvm = start();
    uint64_t before = crl_number();
    faults_plan("scan", 1, FAULT_UNAVAILABLE);
    reload(cvm, &finish);
    assert_string_not_equal(finish.name, "ok");
    assert_int_equal(crl_number(), before);
    reload(cvm, &finish);
    assert_string_equal(finish.name, "ok");
    assert_true(crl_number() > before);
    instance_end(cvm);
}

static void a_log_that_can_not_be_reopened_is_told(void **state)
{
    char folder[128], file[160];
    struct finish finish = {.calls = 0};
    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/logs", harness_folder());
    (void)snprintf(file, sizeof file, "%s/log", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    const struct setting settings[] = {{"log.file", file}, {NULL, NULL}};
    cvm_t *cvm = instance_start(settings);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rmdir(folder), 0);
    reload(cvm, &finish);
    assert_string_not_equal(finish.name, "ok");
    assert_non_null(strstr(finish.text, file));
    instance_end(cvm);
}

/* --- At the same time ------------------------------------------------------------------------- */

static void reloads_at_once_all_complete(void **state)
{
    struct finish finishes[4];
    (void)state;
    cvm_t *cvm = start();
    uint64_t before = crl_number();
    for (size_t i = 0; i < LENGTH(finishes); i++) {
        finishes[i] = (struct finish){.calls = 0};
        assert_null(cvm_reload(cvm, finished, &finishes[i]));
    }
    for (size_t i = 0; i < LENGTH(finishes); i++) {
        turn_until(&finishes[i].calls, 1);
        assert_string_equal(finishes[i].name, "ok");
    }
    assert_true(crl_number() > before);
    instance_end(cvm);
}

/* The CRL that is being made may have been begun before the question: another one follows. */
static void a_reload_during_a_publication_gets_a_newer_crl(void **state)
{
    struct finish first = {.calls = 0}, second = {.calls = 0};
    (void)state;
    cvm_t *cvm = start();
    uint64_t before = crl_number();
    faults_plan("scan", 1, FAULT_HOLD_AFTER);
    assert_null(cvm_reload(cvm, finished, &first));
    turn_until_held(1);
    assert_null(cvm_reload(cvm, finished, &second));
    turn_for(50);
    assert_int_equal(first.calls + second.calls, 0);
    faults_release();
    turn_until(&first.calls, 1);
    turn_until(&second.calls, 1);
    assert_string_equal(first.name, "ok");
    assert_string_equal(second.name, "ok");
    assert_true(crl_number() >= before + 2);
    instance_end(cvm);
}

/* Likewise during a revocation's; and a stop completes what is under way. */
static void a_stop_completes_a_reload(void **state)
{
    struct finish revoking = {.calls = 0}, reloading = {.calls = 0};
    struct outcome outcome;
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    outcome_clear(&outcome);
    faults_plan("scan", 2, FAULT_HOLD_AFTER); /* the reconciler's comes first */
    assert_null(cvm_device_revoke(cvm, UID, NULL, finished, &revoking));
    turn_until_held(1);
    assert_null(cvm_reload(cvm, finished, &reloading));
    int is_stopped = 0;
    instance_stop(cvm, &is_stopped);
    faults_release();
    turn_until(&is_stopped, 1);
    assert_int_equal(revoking.calls, 1);
    assert_int_equal(reloading.calls, 1);
    instance_free(cvm);
}

static void a_reload_wants_a_started_instance(void **state)
{
    char why[200] = "";
    (void)state;
    cvm_t *cvm = instance_new(harness_conf(NULL), why, sizeof why);
    assert_non_null(cvm);
    cvm_error_t *error = cvm_reload(cvm, finished, NULL);
    assert_string_equal(cvm_error_name(error), "conflict");
    cvm_error_free(error);
    instance_end(cvm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_reload_makes_a_newer_crl),
        TEST(a_broken_ca_is_told_and_the_old_one_kept),
        TEST(a_crl_that_can_not_be_written_is_told),
        TEST(a_store_that_does_not_answer_is_told),
        TEST(a_log_that_can_not_be_reopened_is_told),
        TEST(reloads_at_once_all_complete),
        TEST(a_reload_during_a_publication_gets_a_newer_crl),
        TEST(a_stop_completes_a_reload),
        TEST(a_reload_wants_a_started_instance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
