/*
 * The flow on the local platform, end to end: each line of "Asked again", the operator's verbs with
 * what they do to certificates, many at once, two servers, and what a crash leaves to be carried
 * out.
 */
#include "support/faults.h"
#include "support/harness.h"
#include "support/store_file.h"

#include "base/clock.h"

#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/json.h"

#define UID "DEVICE001"

/* An instance over the local CA of the test's folder; further settings may follow. */
static cvm_t *start_with(const char *name, const char *value)
{
    char platform[128];
    (void)snprintf(platform, sizeof platform, "local:%s/ca", harness_folder());
    if (access(platform + strlen("local:"), F_OK) != 0)
        (void)harness_make_ca();
    const struct setting settings[] = {{"platform", platform}, {name, value}, {NULL, NULL}};
    return instance_start(settings);
}

/* A server, on the store that there is. */
static cvm_t *start_server_with(const char *name, const char *value)
{
    char platform[128];
    (void)snprintf(platform, sizeof platform, "local:%s/ca", harness_folder());
    const struct setting settings[] = {
        {"role", "server"}, {"platform", platform}, {name, value}, {NULL, NULL}};
    return instance_start(settings);
}

static cvm_t *start(void)
{
    return start_with(NULL, NULL);
}

static void expect(cvm_t *cvm, const char *csr, const char *name)
{
    struct outcome outcome;
    (void)register_now(cvm, UID, csr, &outcome);
    if (strcmp(outcome.name, name) != 0)
        fail_msg("%s (%s), not %s", outcome.name, outcome.text, name);
    outcome_clear(&outcome);
}

/* Registers, and copies the certificate's id. */
static void expect_issued(cvm_t *cvm, const char *csr, char id[65])
{
    struct outcome outcome;
    (void)register_now(cvm, UID, csr, &outcome);
    if (strcmp(outcome.name, "ok") != 0)
        fail_msg("%s (%s)", outcome.name, outcome.text);
    (void)snprintf(id, 65, "%s", outcome.certificate_id);
    outcome_clear(&outcome);
}

static const char *state_of(cvm_t *cvm, const char *id)
{
    static char state[16];
    struct view view;
    device_view(cvm, UID, &view);
    (void)snprintf(state, sizeof state, "none");
    for (uint32_t i = 0; i < view.certificate_count; i++)
        if (strcmp(view.certificates[i].id, id) == 0)
            (void)snprintf(state, sizeof state, "%s", view.certificates[i].state);
    return state;
}

/* --- What a device gets ----------------------------------------------------------------------- */

static EVP_PKEY *public_key_of_certificate(const char *pem, char id[65])
{
    unsigned char digest[32];
    unsigned length;
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    assert_non_null(certificate);
    assert_true(X509_digest(certificate, EVP_sha256(), digest, &length));
    for (unsigned i = 0; i < length; i++)
        (void)snprintf(id + 2 * (size_t)i, 3, "%02x", digest[i]);
    EVP_PKEY *key = X509_get_pubkey(certificate);
    X509_free(certificate);
    BIO_free(bio);
    return key;
}

static void the_certificate_fits_the_key_and_its_id(void **state)
{
    struct outcome outcome;
    char id[65];
    (void)state;
    for (int with_csr = 0; with_csr < 2; with_csr++) {
        char *csr = with_csr ? make_csr() : NULL;
        cvm_t *cvm = start();
        (void)device_remove(cvm, UID, 1);
        assert_string_equal(device_add(cvm, UID), "ok");
        assert_string_equal(register_now(cvm, UID, csr, &outcome), "ok");
        BIO *bio = BIO_new_mem_buf(with_csr ? csr : outcome.private_key, -1);
        X509_REQ *request = with_csr ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
        EVP_PKEY *key = with_csr ? X509_REQ_get_pubkey(request)
                                 : PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        EVP_PKEY *certified = public_key_of_certificate(outcome.certificate, id);
        assert_int_equal(EVP_PKEY_eq(key, certified), 1);
        assert_string_equal(id, outcome.certificate_id);
        assert_string_equal(outcome.thing_name, "thing_" UID);
        assert_string_equal(state_of(cvm, id), "current");
        X509_REQ_free(request);
        EVP_PKEY_free(key);
        EVP_PKEY_free(certified);
        BIO_free(bio);
        outcome_clear(&outcome);
        instance_end(cvm);
        free(csr);
    }
}

/* --- Asked again ------------------------------------------------------------------------------ */

static void the_same_key_gets_the_same_certificate(void **state)
{
    char first[65], second[65];
    (void)state;
    char *csr = make_csr();
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    expect_issued(cvm, csr, first);
    for (int i = 0; i < 5; i++) { /* however often */
        expect_issued(cvm, csr, second);
        assert_string_equal(first, second);
    }
    instance_end(cvm);
    cvm = start(); /* and by whatever server */
    expect_issued(cvm, csr, second);
    assert_string_equal(first, second);
    instance_end(cvm);
    free(csr);
}

static void another_key_or_none_is_refused_and_audited(void **state)
{
    char id[65];
    (void)state;
    char *csr = make_csr(), *other = make_csr();
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    expect_issued(cvm, csr, id);
    expect(cvm, other, "already_registered");
    assert_int_equal(lines_with("audit", "\"other_key\""), 1);
    expect(cvm, NULL, "already_registered");
    assert_int_equal(lines_with("audit", "\"other_key\""), 2);
    assert_string_equal(state_of(cvm, id), "current");
    instance_end(cvm);
    free(csr);
    free(other);
}

/* The same key gets another certificate, and the one that it had is revoked. */
static void expect_another(cvm_t *cvm, const char *csr, const char *id)
{
    char other[65];
    sql("UPDATE devices SET last_issued_at = last_issued_at - 20000");
    expect_issued(cvm, csr, other);
    assert_string_not_equal(other, id);
    assert_string_equal(state_of(cvm, other), "current");
    assert_string_equal(reconcile(cvm), "ok");
    assert_string_equal(state_of(cvm, id), "revoked");
}

static void an_expired_certificate_is_not_answered_again(void **state)
{
    char id[65];
    (void)state;
    char *csr = make_csr();
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    expect_issued(cvm, csr, id);
    sql("UPDATE certificates SET not_after = 1");
    expect(cvm, csr, "in_progress"); /* it was issued a moment ago */
    expect_another(cvm, csr, id);
    assert_int_equal(lines_with("audit", "\"other_key\""), 0); /* it is its own key */
    instance_end(cvm);
    free(csr);
}

/* One that a clock has made that was ahead is of no use to the device, now or for years. */
static void a_certificate_of_the_future_is_not_answered_again(void **state)
{
    char id[65];
    (void)state;
    char *csr = make_csr();
    cvm_t *cvm = start();
    cvm_clock_turn(INT64_C(19) * 365 * 86400000, 0);
    assert_string_equal(device_add(cvm, UID), "ok");
    expect_issued(cvm, csr, id);
    cvm_clock_turn(0, 0);
    expect_another(cvm, csr, id);
    char *other = make_csr();
    expect(cvm, other, "already_registered");
    instance_end(cvm);
    free(csr);
    free(other);
}

static void a_servers_key_is_made_again_for_a_while(void **state)
{
    char ids[5][65];
    struct outcome outcome;
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    expect_issued(cvm, NULL, ids[0]);
    (void)register_now(cvm, UID, NULL, &outcome); /* sooner than after 20 s */
    assert_string_equal(outcome.name, "in_progress");
    assert_in_range(outcome.retry_after_s, 15, 20);
    outcome_clear(&outcome);
    for (int i = 1; i <= 3; i++) {
        sql("UPDATE devices SET last_issued_at = last_issued_at - 20000");
        expect_issued(cvm, NULL, ids[i]);
        assert_string_not_equal(ids[i], ids[i - 1]);
        assert_string_equal(state_of(cvm, ids[i]), "current");
        assert_string_equal(reconcile(cvm), "ok");
        assert_string_equal(state_of(cvm, ids[i - 1]), "revoked");
    }
    assert_int_equal(lines_with("audit", "\"reissued\""), 3);
    sql("UPDATE devices SET last_issued_at = last_issued_at - 20000");
    expect(cvm, NULL, "already_registered"); /* three times are enough */
    assert_int_equal(lines_with("audit", "\"other_key\""), 0);
    instance_end(cvm);
}

static void the_window_closes(void **state)
{
    char id[65];
    (void)state;
    char *csr = make_csr();
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    expect_issued(cvm, NULL, id);
    expect(cvm, csr, "already_registered"); /* with a CSR, at any time */
    assert_int_equal(lines_with("audit", "\"other_key\""), 1);
    sql("UPDATE devices SET last_issued_at = last_issued_at - 600001,"
        " first_issued_at = first_issued_at - 600001");
    expect(cvm, NULL, "already_registered");
    instance_end(cvm);
    cvm = start_with("registration.retry_window", "0");
    sql("UPDATE devices SET first_issued_at = first_issued_at + 600001");
    expect(cvm, NULL, "already_registered");
    instance_end(cvm);
    free(csr);
}

/* The clock was set back by a day: nobody waits until it has caught up. */
static void a_clock_that_was_set_back_locks_nobody_out(void **state)
{
    char id[65];
    struct outcome outcome;
    (void)state;
    char *csr = make_csr();
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    sql("UPDATE devices SET lease_owner = 'somebody', lease_until = 4000000000000");
    expect_issued(cvm, NULL, id);
    sql("UPDATE devices SET last_issued_at = last_issued_at + 86400000,"
        " first_issued_at = first_issued_at + 86400000");
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    outcome_clear(&outcome);
    instance_end(cvm);
    free(csr);
}

static int64_t crl_bytes(void)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/ca/crl.pem", harness_folder());
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    (void)fseek(file, 0, SEEK_END);
    long size = ftell(file);
    (void)fclose(file);
    return size;
}

static void reconciled(void *user_data, const cvm_error_t *error)
{
    assert_null(error);
    ++*(int *)user_data;
}

/* It has the first revision again, but is another one. */
static void a_device_that_was_added_anew_is_not_registered_as_the_old_one(void **state)
{
    struct outcome outcome = {.calls = 0};
    (void)state;
    cvm_t *cvm = start_with("store", "faulty");
    assert_string_equal(device_add(cvm, UID), "ok");
    faults_plan("swap", 1, FAULT_HOLD_BEFORE);
    register_start(cvm, UID, token_of(UID), NULL, 0, &outcome);
    turn_until_held(1);
    sql("DELETE FROM devices");
    sql("INSERT INTO devices (device_uid, device_token, is_enabled, is_registered, is_revoked,"
        " is_suspended, revision) VALUES ('" UID "', 'sha256:other', 1, 0, 0, 0, 1)");
    faults_release();
    outcome_wait(&outcome);
    assert_string_equal(outcome.name, "not_authorized");
    assert_int_equal(sql_number("SELECT is_registered FROM devices"), 0);
    assert_int_equal(sql_number("SELECT count(*) FROM certificates"), 0);
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* The reason that the operator gave is not written over by what was under way. */
static void a_reason_that_was_given_meanwhile_stays(void **state)
{
    (void)state;
    char id[65];
    cvm_t *cvm = start_with("store", "faulty");
    assert_string_equal(device_add(cvm, UID), "ok");
    expect_issued(cvm, NULL, id);
    sql("UPDATE certificates SET state = 'retiring', revoke_after = 0, reason = 'superseded'");
    faults_plan("swap", 1, FAULT_HOLD_BEFORE);
    int is_done = 0;
    assert_null(cvm_reconcile(cvm, reconciled, &is_done));
    turn_until_held(1);
    sql("UPDATE certificates SET reason = 'keyCompromise'");
    faults_release();
    turn_until(&is_done, 1);
    assert_string_equal(state_of(cvm, id), "revoked");
    assert_int_equal(
        sql_number("SELECT count(*) FROM certificates WHERE reason = 'keyCompromise'"), 1);
    instance_end(cvm);
}

/* The CRL of a store that was lost is not replaced by one that knows of nothing. */
static void another_stores_crl_is_not_replaced(void **state)
{
    (void)state;
    char id[65];
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    expect_issued(cvm, NULL, id);
    assert_string_equal(device_revoke(cvm, UID, NULL), "ok");
    assert_string_equal(device_reset(cvm, UID), "ok");
    sql("DELETE FROM meta"); /* a backup from before the first CRL: it knows of revocations */
    assert_string_equal(device_enable(cvm, UID), "ok");
    sql("DELETE FROM meta"); /* one that knows of nothing */
    sql("DELETE FROM certificates");
    int64_t before = crl_bytes();
    assert_string_equal(device_disable(cvm, UID), "not_carried_out");
    assert_int_equal(crl_bytes(), before);
    instance_end(cvm);
}

/* What another CA has issued stays due; it is told, and holds nothing of ours up. */
static void what_another_ca_issued_can_not_be_revoked_by_this_one(void **state)
{
    (void)state;
    char id[65], ours[65];
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    expect_issued(cvm, NULL, id);
    sql("UPDATE certificates SET issuer = '00'");
    assert_string_equal(device_revoke(cvm, UID, NULL), "not_carried_out");
    assert_string_equal(state_of(cvm, id), "retiring");
    assert_string_equal(device_add(cvm, "OURS"), "ok");
    struct outcome outcome;
    assert_string_equal(register_now(cvm, "OURS", NULL, &outcome), "ok");
    memcpy(ours, outcome.certificate_id, sizeof ours);
    outcome_clear(&outcome);
    assert_string_equal(device_revoke(cvm, "OURS", NULL), "ok");
    assert_int_equal(sql_number("SELECT count(*) FROM certificates WHERE certificate_id = '%s'"
                                " AND state = 'revoked'",
                         ours),
        1);
    assert_int_equal(lines_with("log", "of issuer 00 are in no CRL"), 1);
    assert_string_equal(reconcile(cvm), "platform_unavailable");
    assert_string_equal(state_of(cvm, id), "retiring");
    instance_end(cvm);
}

static void a_key_belongs_to_one_device(void **state)
{
    struct outcome outcome;
    char id[65];
    (void)state;
    char *csr = make_csr();
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(device_add(cvm, "OTHER"), "ok");
    expect_issued(cvm, csr, id);
    assert_string_equal(register_now(cvm, "OTHER", csr, &outcome), "invalid_csr");
    assert_int_equal(outcome.retryable, 0);
    outcome_clear(&outcome);
    assert_int_equal(sql_number("SELECT count(*) FROM certificates"), 1);
    instance_end(cvm);
    free(csr);
}

/* --- Proof ------------------------------------------------------------------------------------ */

/* Who may not register learns nothing. */
static void all_who_may_not_register_get_one_answer(void **state)
{
    struct outcome first, other;
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(device_add(cvm, "DISABLED"), "ok");
    assert_string_equal(device_disable(cvm, "DISABLED"), "ok");
    assert_string_equal(device_add(cvm, "REVOKED"), "ok");
    assert_string_equal(device_revoke(cvm, "REVOKED", NULL), "ok");
    const struct {
        const char *uid, *token;
    } cases[] = {{UID, "wrong"}, {"NOBODY", "wrong"}, {"DISABLED", "token-of-DISABLED"},
        {"DISABLED", "wrong"}, {"REVOKED", "token-of-REVOKED"}, {"REVOKED", "wrong"}};
    for (size_t i = 0; i < LENGTH(cases); i++) {
        register_start(cvm, cases[i].uid, cases[i].token, NULL, 0, i ? &other : &first);
        outcome_wait(i ? &other : &first);
        assert_string_equal(first.name, "not_authorized");
        if (!i)
            continue;
        assert_string_equal(other.name, first.name);
        assert_string_equal(other.text, first.text);
        assert_string_equal(other.step, first.step);
        assert_int_equal(other.retry_after_s, first.retry_after_s);
        assert_int_equal(other.retryable, first.retryable);
        outcome_clear(&other);
    }
    outcome_clear(&first);
    instance_end(cvm);
    assert_int_equal(lines_with("log", "detail=wrong_token"), 3);
    assert_int_equal(lines_with("log", "detail=unknown_device"), 1);
    assert_int_equal(lines_with("log", "detail=disabled"), 1);
    assert_int_equal(lines_with("log", "detail=revoked"), 1);
    assert_int_equal(lines_with("log", "token-of-"), 0);
}

/* --- The operator's verbs --------------------------------------------------------------------- */

static void a_disabled_device_keeps_its_certificate(void **state)
{
    char id[65], same[65];
    (void)state;
    char *csr = make_csr();
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    expect_issued(cvm, csr, id);
    assert_string_equal(device_disable(cvm, UID), "ok");
    assert_string_equal(device_disable(cvm, UID), "ok"); /* again */
    expect(cvm, csr, "not_authorized");
    assert_string_equal(state_of(cvm, id), "current");
    assert_int_equal(sql_number("SELECT is_suspended FROM devices"), 1);
    assert_string_equal(device_enable(cvm, UID), "ok");
    assert_int_equal(sql_number("SELECT is_suspended FROM devices"), 0);
    expect_issued(cvm, csr, same);
    assert_string_equal(id, same);
    instance_end(cvm);
    free(csr);
}

static void a_reset_allows_one_new_registration(void **state)
{
    char old[65], new[65];
    (void)state;
    char *csr = make_csr(), *other = make_csr();
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    expect_issued(cvm, csr, old);
    assert_string_equal(device_reset(cvm, UID), "ok");
    assert_string_equal(state_of(cvm, old), "current"); /* until the new one is recorded */
    expect_issued(cvm, other, new);
    assert_string_equal(reconcile(cvm), "ok");
    assert_string_equal(state_of(cvm, old), "revoked");
    assert_string_equal(state_of(cvm, new), "current");
    expect(cvm, csr, "already_registered");
    assert_string_equal(device_reset(cvm, UID), "ok");
    expect_issued(cvm, other, old); /* the same key may have a new certificate */
    assert_string_not_equal(old, new);
    instance_end(cvm);
    free(csr);
    free(other);
}

static void a_revoked_device_needs_a_reset(void **state)
{
    char id[65], new[65];
    struct view view;
    (void)state;
    char *csr = make_csr();
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    expect_issued(cvm, csr, id);
    assert_string_equal(device_revoke(cvm, UID, "certificateHold"), "invalid_request");
    assert_string_equal(device_revoke(cvm, UID, "privilegeWithdrawn"), "ok");
    assert_string_equal(state_of(cvm, id), "revoked"); /* when it returned */
    device_view(cvm, UID, &view);
    assert_string_equal(view.certificates[0].reason, "privilegeWithdrawn");
    assert_true(view.is_revoked && !view.is_enabled);
    expect(cvm, csr, "not_authorized");
    assert_string_equal(device_enable(cvm, UID), "ok");
    expect(cvm, csr, "not_authorized"); /* enable alone is not enough */
    assert_string_equal(device_reset(cvm, UID), "ok");
    expect_issued(cvm, csr, new);
    assert_string_not_equal(id, new);
    assert_string_equal(state_of(cvm, id), "revoked");
    instance_end(cvm);
    free(csr);
}

static void a_removed_devices_certificates_are_revoked(void **state)
{
    char id[65];
    struct view view;
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_remove(cvm, UID, 0), "no_such_device");
    assert_string_equal(device_add(cvm, UID), "ok");
    expect_issued(cvm, NULL, id);
    assert_string_equal(device_remove(cvm, UID, 0), "device_registered");
    assert_string_equal(device_remove(cvm, UID, 1), "ok");
    device_view(cvm, UID, &view);
    assert_string_equal(view.name, "no_such_device");
    assert_int_equal(sql_number("SELECT count(*) FROM certificates WHERE state = 'revoked'"
                                " AND reason = 'cessationOfOperation'"),
        1);
    assert_string_equal(device_add(cvm, UID), "ok"); /* it may come back, as a new one */
    expect_issued(cvm, NULL, id);
    instance_end(cvm);
}

static void verbs_refuse_what_is_no_device(void **state)
{
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, "no uid"), "invalid_request");
    assert_string_equal(
        device_add(cvm, "TOO_LONG_FOR_A_COMMON_NAME_TOO_LONG_FOR_A_COMMON_NAME_XXXXX"),
        "invalid_request");
    assert_string_equal(device_enable(cvm, "NOBODY"), "no_such_device");
    assert_string_equal(device_disable(cvm, "NOBODY"), "no_such_device");
    assert_string_equal(device_reset(cvm, "NOBODY"), "no_such_device");
    assert_string_equal(device_revoke(cvm, "NOBODY", NULL), "no_such_device");
    assert_string_equal(device_enable(cvm, ""), "invalid_request");
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(device_add(cvm, UID), "device_exists");
    instance_end(cvm);
}

/* --- Many at once ----------------------------------------------------------------------------- */

enum { MANY = 50 };

static struct outcome outcomes[1000];

/* All at once for one device; returns how many succeeded. */
static uint32_t register_many(cvm_t *const *servers, uint32_t server_count, char **csrs)
{
    uint32_t winners = 0;
    for (uint32_t i = 0; i < MANY; i++)
        register_start(
            servers[i % server_count], UID, token_of(UID), csrs ? csrs[i] : NULL, 0, &outcomes[i]);
    for (uint32_t i = 0; i < MANY; i++) {
        outcome_wait(&outcomes[i]);
        if (strcmp(outcomes[i].name, "ok") == 0) {
            winners++;
            continue;
        }
        if (csrs && strcmp(outcomes[i].name, "already_registered") == 0)
            continue; /* it came when the winner had finished */
        assert_string_equal(outcomes[i].name, "in_progress");
        assert_in_range(outcomes[i].retry_after_s, 1, 20);
    }
    assert_int_equal(sql_number("SELECT count(*) FROM certificates WHERE state = 'current'"), 1);
    assert_int_equal(sql_number("SELECT count(*) FROM certificates"), 1);
    return winners;
}

static void clear_many(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        outcome_clear(&outcomes[i]);
}

static void of_fifty_at_once_one_wins(void **state)
{
    char *csrs[MANY];
    for (int how = 0; how < 3; how++) {
        char *one = make_csr();
        cvm_t *servers[] = {start(), start()};
        assert_string_equal(device_add(servers[0], UID), "ok");
        for (int i = 0; i < MANY; i++)
            csrs[i] = how == 1 ? strdup(one) : make_csr();
        /* 0: the server makes the keys; 1: the same CSR; 2: another one each. */
        uint32_t winners = register_many(servers, 2, how ? csrs : NULL);
        if (how == 1)
            for (uint32_t i = 0; i < MANY; i++)
                if (*outcomes[i].certificate_id)
                    assert_int_equal(sql_number("SELECT count(*) FROM certificates WHERE"
                                                " certificate_id = '%s'",
                                         outcomes[i].certificate_id),
                        1);
        if (how == 1)
            assert_true(winners >= 1);
        else
            assert_int_equal(winners, 1);
        clear_many(MANY);
        for (int i = 0; i < MANY; i++)
            free(csrs[i]);
        free(one);
        instance_end(servers[0]);
        instance_end(servers[1]);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

static void a_thousand_at_once_for_a_thousand_devices(void **state)
{
    const uint32_t count = 1000;
    (void)state;
    cvm_t *cvm = start();
    sql("BEGIN");
    sql("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)"
        " INSERT INTO devices (device_uid, device_token, is_enabled, is_registered, is_revoked,"
        " is_suspended, revision) SELECT 'D' || i, 'token-of-D' || i, 1, 0, 0, 0, 1 FROM n");
    sql("COMMIT");
    instance_end(cvm);
    cvm = start_with("store.plain_tokens", "true");
    for (uint32_t i = 0; i < count; i++) {
        char uid[16];
        (void)snprintf(uid, sizeof uid, "D%u", i);
        register_start(cvm, uid, token_of(uid), NULL, 0, &outcomes[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        outcome_wait(&outcomes[i]);
        assert_string_equal(outcomes[i].name, "ok");
        assert_int_equal(outcomes[i].calls, 1);
    }
    clear_many(count);
    assert_int_equal(
        sql_number("SELECT count(DISTINCT device_uid) FROM certificates WHERE state = 'current'"),
        count);
    instance_end(cvm);
}

/* --- What a crash leaves ---------------------------------------------------------------------- */

/* Keys of RSA take long: more than a few of them at once are refused rather than kept waiting until
 * their callers have gone, and nothing else waits behind them. */
static void many_rsa_keys_at_once_hold_nothing_up(void **state)
{
    enum { KEYS = 200 };
    static struct outcome asked[KEYS];
    const struct setting settings[] = {{"platform", harness_make_ca()},
        {"server_key.type", "rsa2048"}, {"request.deadline", "5min"}, {NULL, NULL}};
    struct outcome again;
    uint32_t made = 0, refused = 0;
    char uid[16];
    int before = 0, refused_one = -1;
    (void)state;
    char *csr = make_csr();
    cvm_t *cvm = instance_start(settings);
    assert_string_equal(device_add(cvm, UID), "ok");
    expect(cvm, csr, "ok");
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(uid, sizeof uid, "RSA%d", i);
        assert_string_equal(device_add(cvm, uid), "ok");
    }
    turn_for(1100); /* a CRL a second: the next one need not wait for that */
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(uid, sizeof uid, "RSA%d", i);
        register_start(cvm, uid, token_of(uid), NULL, 0, &asked[i]);
    }
    assert_string_equal(device_revoke(cvm, UID, NULL), "ok");
    for (int i = 0; i < KEYS; i++)
        before += asked[i].calls && strcmp(asked[i].name, "ok") == 0;
    for (int i = 0; i < KEYS; i++) {
        outcome_wait(&asked[i]);
        if (strcmp(asked[i].name, "ok") == 0) {
            made++;
        } else {
            assert_string_equal(asked[i].name, "overloaded");
            assert_true(asked[i].retryable);
            assert_in_range(asked[i].retry_after_s, 1, 60);
            refused++;
            refused_one = i;
        }
        outcome_clear(&asked[i]);
    }
    assert_int_equal(made + refused, KEYS);
    assert_in_range(made, 16, KEYS - 1);
    assert_in_range(before, 0, made - 1);
    (void)snprintf(uid, sizeof uid, "RSA%d", refused_one);
    assert_string_equal(register_now(cvm, uid, NULL, &again), "ok");
    outcome_clear(&again);
    instance_end(cvm);
    free(csr);
}

/* The record says that it is due, and the process that wrote that is gone: the next one does it. */
static void what_is_due_is_carried_out_by_the_next(void **state)
{
    char id[65];
    int64_t before;
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    expect_issued(cvm, NULL, id);
    instance_end(cvm);
    before = crl_bytes();
    sql("UPDATE certificates SET state = 'retiring', revoke_after = 1, reason = 'superseded'");
    sql("UPDATE devices SET is_enabled = 0"); /* and so is a suspension */
    cvm = start_server_with("reconcile.interval", "10ms");
    for (int i = 0; i < 500 && sql_number("SELECT is_suspended FROM devices") == 0; i++)
        turn_for(10);
    assert_string_equal(state_of(cvm, id), "revoked");
    assert_int_equal(sql_number("SELECT is_suspended FROM devices"), 1);
    assert_true(crl_bytes() > before);
    instance_end(cvm);
    sql("UPDATE devices SET is_enabled = 1");
    cvm = start();
    assert_string_equal(reconcile(cvm), "ok");
    assert_int_equal(sql_number("SELECT is_suspended FROM devices"), 0);
    instance_end(cvm);
}

static void more_than_a_page_is_carried_out(void **state)
{
    (void)state;
    cvm_t *cvm = start();
    sql("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 599)"
        " INSERT INTO certificates (certificate_id, device_uid, state, serial, issuer, not_after,"
        " revoke_after, reason) SELECT 'C' || i, 'D' || i, 'retiring', i + 1, '', 4000000000000, i,"
        " 'superseded' FROM n");
    assert_string_equal(reconcile(cvm), "ok");
    assert_int_equal(sql_number("SELECT count(*) FROM certificates WHERE state = 'revoked'"), 600);
    instance_end(cvm);
}

/* --- Answers as HTTP sends them --------------------------------------------------------------- */

static cJSON *body_of(const struct outcome *outcome)
{
    const char *why = NULL;
    cJSON *tree = cvm_json_object(outcome->body, strlen(outcome->body), &why);
    if (!tree)
        fail_msg("%s: %s", why, outcome->body);
    return tree;
}

static const char *text_in(const cJSON *tree, const char *name)
{
    const cJSON *payload = cJSON_GetObjectItemCaseSensitive(tree, "payload");
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(payload, name));
    return text ? text : "";
}

static void handle_token(cvm_t *cvm, const char *token, struct outcome *outcome)
{
    char payload[200];
    (void)snprintf(
        payload, sizeof payload, "{\"device_uid\":\"%s\",\"device_token\":\"%s\"}", UID, token);
    handle_start(cvm, "application/json", payload, outcome);
    outcome_wait(outcome);
}

static void payloads_are_answered_as_the_contract_says(void **state)
{
    static const struct {
        const char *media_type, *payload, *code;
        int32_t status;
    } CASES[] = {
        {"application/json", "{\"device_uid\":\"NOBODY\",\"device_token\":\"x\"}", "not_authorized",
            403},
        {"Application/JSON; charset=utf-8", "{\"device_uid\":\"NOBODY\",\"device_token\":\"x\"}",
            "not_authorized", 403},
        {NULL, "{\"device_uid\":\"NOBODY\"}", "invalid_request", 400},
        {"", "{\"device_uid\":\"NO BODY\",\"device_token\":\"x\"}", "invalid_request", 400},
        {"", "nonsense", "invalid_request", 400},
        {"", "", "invalid_request", 400},
        {"text/plain", "{}", "invalid_request", 400},
        {"application/cose", "{}", "unsupported_media_type", 415},
        {"application/jsonx", "{}", "unsupported_media_type", 415},
        {"application/json",
            "{\"device_uid\":\"DEVICE001\",\"device_token\":\"token-of-DEVICE001\","
            "\"csr\":\"nonsense\"}",
            "invalid_csr", 422},
    };
    struct outcome outcome;
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    for (size_t i = 0; i < LENGTH(CASES); i++) {
        handle_start(cvm, CASES[i].media_type, CASES[i].payload, &outcome);
        outcome_wait(&outcome);
        assert_string_equal(outcome.name, CASES[i].code);
        assert_int_equal(outcome.http_status, CASES[i].status);
        cJSON *tree = body_of(&outcome);
        assert_string_equal(text_in(tree, "code"), CASES[i].code);
        assert_true(*text_in(tree, "request_id"));
        cJSON_Delete(tree);
        outcome_clear(&outcome);
    }
    handle_token(cvm, token_of(UID), &outcome);
    assert_int_equal(outcome.http_status, 200);
    cJSON *tree = body_of(&outcome);
    assert_string_equal(text_in(tree, "thing_name"), "thing_" UID);
    assert_string_equal(text_in(tree, "endpoint"), "localhost");
    assert_string_equal(text_in(tree, "certificate_id"), outcome.certificate_id);
    assert_true(*text_in(tree, "server_time"));
    cJSON_Delete(tree);
    outcome_clear(&outcome);
    instance_end(cvm);

    cvm = start_with("http.legacy_status", "true");
    handle_token(cvm, "wrong", &outcome);
    assert_int_equal(outcome.http_status, 200);
    tree = body_of(&outcome);
    assert_int_equal(cJSON_GetObjectItemCaseSensitive(tree, "statusCode")->valueint, 403);
    cJSON_Delete(tree);
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* --- Refused, limited, interrupted ------------------------------------------------------------ */

static void never_called(void *user_data, const cvm_result_t *result)
{
    (void)result;
    ++*(int *)user_data;
}

static void what_is_too_much_is_refused_and_never_completes(void **state)
{
    int calls = 0;
    (void)state;
    cvm_t *cvm = start_with("limit.requests", "2");
    assert_string_equal(device_add(cvm, UID), "ok");
    register_start(cvm, UID, token_of(UID), NULL, 0, &outcomes[0]);
    register_start(cvm, "NOBODY", "x", NULL, 0, &outcomes[1]);
    cvm_request_t *request = cvm_request_new();
    for (int i = 0; i < 3; i++) {
        cvm_error_t *error = cvm_register(cvm, request, never_called, &calls, NULL);
        assert_string_equal(cvm_error_name(error), "overloaded");
        assert_int_equal(cvm_error_retryable(error), 1);
        cvm_error_free(error);
        error = cvm_handle(cvm, NULL, "", "{}", 2, never_called, &calls, NULL);
        assert_string_equal(cvm_error_name(error), "overloaded");
        cvm_error_free(error);
    }
    outcome_wait(&outcomes[0]);
    outcome_wait(&outcomes[1]);
    assert_string_equal(outcomes[0].name, "ok");
    register_start(cvm, UID, "x", NULL, 0, &outcomes[2]); /* there is room again */
    outcome_wait(&outcomes[2]);
    assert_int_equal(calls, 0);
    clear_many(3);
    cvm_request_free(request);
    instance_end(cvm);
}

static void result_of_peer(void *user_data, const cvm_result_t *result)
{
    struct outcome *outcome = user_data;
    const cvm_error_t *error = cvm_result_error(result);
    (void)snprintf(outcome->name, sizeof outcome->name, "%s", cvm_error_name(error));
    outcome->retry_after_s = cvm_error_retry_after_s(error);
    outcome->calls++;
}

static const char *try_from(
    cvm_t *cvm, const char *peer, const char *uid, const char *token, struct outcome *outcome)
{
    *outcome = (struct outcome){.calls = 0};
    cvm_request_t *request = cvm_request_new();
    assert_null(cvm_request_set_uid(request, uid));
    assert_null(cvm_request_set_token(request, token));
    assert_null(cvm_request_set_peer(request, peer));
    assert_null(cvm_register(cvm, request, result_of_peer, outcome, NULL));
    turn_until(&outcome->calls, 1);
    cvm_request_free(request);
    return outcome->name;
}

/* Failures are limited by address, and nobody is locked out by others' failures. */
static void the_right_token_always_passes(void **state)
{
    static const char *const UIDS[] = {UID, "NOBODY", "DISABLED"};
    struct outcome outcome;
    (void)state;
    char *csr = make_csr();
    cvm_t *cvm = start_with("limit.failures_per_address", "3/min");
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(device_add(cvm, "DISABLED"), "ok");
    assert_string_equal(device_disable(cvm, "DISABLED"), "ok");
    for (int i = 0; i < 3; i++)
        assert_string_equal(try_from(cvm, "192.0.2.1", UID, "wrong", &outcome), "not_authorized");
    for (size_t i = 0; i < LENGTH(UIDS); i++) { /* the same for all three */
        assert_string_equal(
            try_from(cvm, "192.0.2.1", UIDS[i], "wrong", &outcome), "too_many_requests");
        assert_in_range(outcome.retry_after_s, 1, 21);
    }
    assert_string_equal(try_from(cvm, "192.0.2.2", UID, "wrong", &outcome), "not_authorized");
    assert_string_equal(try_from(cvm, "192.0.2.1", UID, token_of(UID), &outcome), "ok");
    for (int i = 0; i < 20; i++) /* who sets no address has limits of his own */
        assert_string_equal(try_from(cvm, "", UID, "wrong", &outcome), "not_authorized");
    instance_end(cvm);
    free(csr);
}

/* Whatever is cancelled, expires or is stopped, and whenever: each accepted call completes once. */
static void each_accepted_call_completes_once(void **state)
{
    enum { CALLS = 300, DEVICES = 40 };
    uint64_t random = test_seed();
    int is_stopped = 0;
    (void)state;
    cvm_t *cvm = start();
    print_message("           seed %llu\n", (unsigned long long)test_seed());
    for (uint32_t i = 0; i < DEVICES; i++) {
        char uid[16];
        (void)snprintf(uid, sizeof uid, "D%u", i);
        assert_string_equal(device_add(cvm, uid), "ok");
    }
    for (uint32_t i = 0; i < CALLS; i++) {
        char uid[16];
        (void)snprintf(uid, sizeof uid, "D%u", (unsigned)(test_random(&random) % DEVICES));
        uint32_t deadline_ms = test_random(&random) % 3 ? 0 : 1 + (uint32_t)(random % 5);
        register_start(cvm, uid, token_of(uid), NULL, deadline_ms, &outcomes[i]);
        if (test_random(&random) % 4 == 0)
            cvm_cancel(cvm, outcomes[test_random(&random) % (i + 1)].id);
        if (test_random(&random) % 16 == 0)
            turn();
    }
    instance_stop(cvm, &is_stopped);
    for (uint32_t i = 0; i < CALLS; i += 7)
        cvm_cancel(cvm, outcomes[i].id);
    turn_until(&is_stopped, 1);
    for (uint32_t i = 0; i < CALLS; i++) {
        assert_int_equal(outcomes[i].calls, 1);
        assert_false(outcomes[i].inside);
        if (strcmp(outcomes[i].name, "ok") != 0)
            assert_true(outcomes[i].retryable);
    }
    clear_many(CALLS);
    instance_free(cvm);
    assert_int_equal(sql_number("SELECT count(*) FROM (SELECT 1 FROM certificates WHERE"
                                " state = 'current' GROUP BY device_uid HAVING count(*) > 1)"),
        0);
}

/* --- Import ----------------------------------------------------------------------------------- */

static void imported(void *user_data, const cvm_error_t *error, cvm_batch_t *batch)
{
    assert_null(error);
    assert_non_null(batch);
    ++*(int *)user_data;
}

static void a_batch_is_imported(void **state)
{
    static const char HASH[] = "ecab892722df5937d055dd496cdff41ac6bdece2cfc18b31e896960e52df5787";
    int calls = 0;
    (void)state;
    cvm_t *cvm = start();
    cvm_batch_t *batch = cvm_batch_new(3);
    assert_null(cvm_batch_new(0));
    assert_null(cvm_batch_new(10001));
    assert_null(cvm_batch_add(batch, "D1", HASH, 1));
    assert_null(cvm_batch_add(batch, "D2", HASH, 0));
    cvm_error_t *error = cvm_batch_add(batch, "D 3", HASH, 1);
    assert_string_equal(cvm_error_name(error), "invalid_request");
    cvm_error_free(error);
    error = cvm_batch_add(batch, "D3", "nohash", 1);
    assert_string_equal(cvm_error_name(error), "invalid_request");
    cvm_error_free(error);
    assert_null(cvm_batch_add(batch, "D1", HASH, 1));
    error = cvm_batch_add(batch, "D4", HASH, 1);
    assert_string_equal(cvm_error_name(error), "invalid_request"); /* it is full */
    cvm_error_free(error);
    assert_null(cvm_import(cvm, batch, 0, imported, &calls));
    assert_int_equal(calls, 0);
    turn_until(&calls, 1);
    assert_int_equal(cvm_batch_count(batch), 3);
    assert_string_equal(cvm_batch_uid(batch, 1), "D2");
    assert_int_equal(cvm_batch_row(batch, 0), CVM_ROW_INSERTED);
    assert_int_equal(cvm_batch_row(batch, 2), CVM_ROW_UNCHANGED);
    assert_int_equal(cvm_batch_row(batch, 3), -1);
    cvm_batch_clear(batch);
    assert_int_equal(cvm_batch_count(batch), 0);
    cvm_batch_free(batch);
    cvm_batch_free(NULL);
    assert_int_equal(lines_with("audit", "\"2 devices\""), 1);
    instance_end(cvm);
}

struct listing {
    int calls;
    uint32_t count;
    char first[129], last[129], cursor[257];
};

static void listed(void *user_data, const cvm_error_t *error, const cvm_device_t *const *devices,
    uint32_t count, const char *cursor)
{
    struct listing *listing = user_data;
    assert_null(error);
    listing->calls++;
    listing->count = count;
    (void)snprintf(listing->cursor, sizeof listing->cursor, "%s", cursor ? cursor : "");
    if (count) {
        (void)snprintf(listing->first, sizeof listing->first, "%s", cvm_device_uid(devices[0]));
        (void)snprintf(
            listing->last, sizeof listing->last, "%s", cvm_device_uid(devices[count - 1]));
    }
}

static void devices_are_listed_in_pages(void **state)
{
    static const char *const UIDS[] = {"B", "A", "C", "D", "E"};
    struct listing listing = {.calls = 0};
    (void)state;
    cvm_t *cvm = start();
    for (size_t i = 0; i < LENGTH(UIDS); i++)
        assert_string_equal(device_add(cvm, UIDS[i]), "ok");
    assert_null(cvm_device_list(cvm, "", 3, listed, &listing));
    turn_until(&listing.calls, 1);
    assert_int_equal(listing.count, 3);
    assert_string_equal(listing.first, "A");
    assert_string_equal(listing.last, "C");
    assert_null(cvm_device_list(cvm, listing.cursor, 3, listed, &listing));
    turn_until(&listing.calls, 2);
    assert_int_equal(listing.count, 2);
    assert_string_equal(listing.cursor, "");
    assert_null(cvm_device_list(cvm, NULL, 5, listed, &listing));
    turn_until(&listing.calls, 3);
    assert_int_equal(listing.count, 5);
    cvm_error_t *error = cvm_device_list(cvm, "", 1001, listed, &listing);
    assert_string_equal(cvm_error_name(error), "invalid_request");
    cvm_error_free(error);
    instance_end(cvm);
}

/* The device's own, which it has revoked for that, and comes with again once it was reset. */
static void a_compromised_key_is_not_even_its_devices(void **state)
{
    (void)state;
    char *csr = make_csr(), *other = make_csr();
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    expect(cvm, csr, "ok");
    assert_string_equal(device_revoke(cvm, UID, "keyCompromise"), "ok");
    assert_string_equal(device_reset(cvm, UID), "ok");
    assert_string_equal(device_enable(cvm, UID), "ok");
    expect(cvm, csr, "invalid_csr");
    expect(cvm, other, "ok");
    free(csr);
    free(other);
    instance_end(cvm);
}

/* --- What is published ------------------------------------------------------------------------ */

/* The first time it fails, which leaves a mark. */
static const char *failing_command(void)
{
    static char command[256];
    (void)snprintf(command, sizeof command,
        "cd '%s' && if test -e failed; then touch done; else touch failed; exit 1; fi",
        harness_folder());
    return command;
}

/* The broker did not hear of it: by the next look (an eighth of its validity) it does, though
 * nothing has changed, and no new one is due before half of that is over. */
static void a_crl_that_was_not_handed_over_is_handed_over_later(void **state)
{
    char done[128];
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    expect(cvm, NULL, "ok");
    instance_end(cvm);
    char platform[128];
    (void)snprintf(platform, sizeof platform, "local:%s/ca", harness_folder());
    const struct setting settings[] = {{"role", "server"}, {"platform", platform},
        {"ca.crl_validity", "40s"}, {"ca.crl_command", failing_command()}, {NULL, NULL}};
    (void)snprintf(done, sizeof done, "%s/done", harness_folder());
    cvm = instance_start(settings);
    int is_done = 0;
    for (int i = 0; i < 150 && !is_done; i++) {
        turn_for(100);
        is_done = access(done, F_OK) == 0;
    }
    assert_true(is_done);
    instance_end(cvm);
}

/* Of issuers whose key is not here so many are told. */
static void issuers_that_are_told_are_bounded(void **state)
{
    static char text[1 << 16];
    uint32_t count = 0;
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    expect(cvm, NULL, "ok");
    for (int i = 0; i < 12; i++)
        sql("INSERT INTO certificates (certificate_id, device_uid, state, serial, issuer, "
            "not_after,"
            " reason) VALUES ('F%d', 'F%d', 'revoked', '0%d', '%02x', 4000000000000, 'superseded')",
            i, i, i, i + 16);
    assert_string_equal(device_revoke(cvm, UID, NULL), "ok");
    (void)cvm_metrics(cvm, text, sizeof text);
    for (const char *at = text; (at = strstr(at, "\ncvm_crl_unsigned_rows{")); at++)
        count++;
    assert_int_equal(count, 8);
    instance_end(cvm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_certificate_fits_the_key_and_its_id),
        TEST(the_same_key_gets_the_same_certificate),
        TEST(another_key_or_none_is_refused_and_audited),
        TEST(an_expired_certificate_is_not_answered_again),
        TEST(a_certificate_of_the_future_is_not_answered_again),
        TEST(a_servers_key_is_made_again_for_a_while),
        TEST(the_window_closes),
        TEST(a_clock_that_was_set_back_locks_nobody_out),
        TEST(a_device_that_was_added_anew_is_not_registered_as_the_old_one),
        TEST(a_reason_that_was_given_meanwhile_stays),
        TEST(another_stores_crl_is_not_replaced),
        TEST(what_another_ca_issued_can_not_be_revoked_by_this_one),
        TEST(a_key_belongs_to_one_device),
        TEST(all_who_may_not_register_get_one_answer),
        TEST(a_disabled_device_keeps_its_certificate),
        TEST(a_reset_allows_one_new_registration),
        TEST(a_revoked_device_needs_a_reset),
        TEST(a_removed_devices_certificates_are_revoked),
        TEST(verbs_refuse_what_is_no_device),
        TEST(of_fifty_at_once_one_wins),
        TEST(a_thousand_at_once_for_a_thousand_devices),
        TEST(many_rsa_keys_at_once_hold_nothing_up),
        TEST(what_is_due_is_carried_out_by_the_next),
        TEST(more_than_a_page_is_carried_out),
        TEST(payloads_are_answered_as_the_contract_says),
        TEST(what_is_too_much_is_refused_and_never_completes),
        TEST(the_right_token_always_passes),
        TEST(each_accepted_call_completes_once),
        TEST(a_batch_is_imported),
        TEST(devices_are_listed_in_pages),
        TEST(a_compromised_key_is_not_even_its_devices),
        TEST(a_crl_that_was_not_handed_over_is_handed_over_later),
        TEST(issuers_that_are_told_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
