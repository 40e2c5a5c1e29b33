/* An account's quotas: slots in time, what throttling teaches, and who may begin. On a clock of the
 * test's own. */
#include "support/test.h"

#include <string.h>

#include "backends/aws_iot/operations.h"

static uint64_t clock_ms = 1000000;
static int64_t share = 100;

uint64_t __wrap_cvm_monotonic_ms(void);

uint64_t __wrap_cvm_monotonic_ms(void)
{
    return clock_ms;
}

static int64_t property_number(cvm_context_t *context, const char *name)
{
    (void)context;
    if (strcmp(name, "aws.quota_share") == 0)
        return share;
    return strcmp(name, "aws.quota_update_certificate") == 0 ? 600 : 900; /* a minute */
}

static const cvm_host_t HOST = {.size = sizeof HOST, .property_number = property_number};

/* In its place: one of its parts points to another. */
static void make_quotas(struct iot_quotas *quotas, int64_t per_cent)
{
    share = per_cent;
    cvm_iot_quotas_init(quotas, &HOST, NULL);
}

/* So many calls one after the other, each in its slot: how long that takes. */
static uint64_t take_many(struct aws_pace *pace, uint32_t count)
{
    uint64_t begun_ms = clock_ms;
    while (count--) {
        clock_ms += (uint64_t)cvm_aws_pace_wait_ms(pace);
        cvm_aws_pace_take(pace);
    }
    return clock_ms - begun_ms;
}

static void calls_come_at_their_rate(void **state)
{
    static const double RATES[] = {0.1, 1, 10, 15, 300, 3000};
    (void)state;
    for (size_t i = 0; i < LENGTH(RATES); i++) {
        struct aws_pace pace;
        cvm_aws_pace_init(&pace, RATES[i], NULL);
        double took_ms = (double)take_many(&pace, 601), ideal_ms = 600 * 1000 / RATES[i];
        assert_true(took_ms > ideal_ms - 2 && took_ms < ideal_ms + 2);
    }
}

static void throttling_lowers_a_rate_and_never_raises_it(void **state)
{
    static const double QUOTAS[] = {0.01, 0.2, 10};
    (void)state;
    for (size_t i = 0; i < LENGTH(QUOTAS); i++) {
        struct aws_pace pace;
        cvm_aws_pace_init(&pace, QUOTAS[i], NULL);
        for (uint32_t second = 0; second < 100; second++, clock_ms += 1000) {
            cvm_aws_pace_throttled(&pace);
            double once = pace.rate;
            cvm_aws_pace_throttled(&pace); /* one event with the first */
            assert_true(pace.rate <= QUOTAS[i] && pace.rate == once && pace.rate > 0);
        }
        for (uint32_t call = 0; call < 1000; call++)
            cvm_aws_pace_succeeded(&pace);
        assert_true(pace.rate == QUOTAS[i]);
    }
}

/* However slow the whole has become, its part leaves two thirds of it to the others. */
static void a_part_takes_its_part(void **state)
{
    struct iot_quotas quotas;
    make_quotas(&quotas, 100);
    struct aws_pace *update = &quotas.paces[IOT_UPDATE_CERTIFICATE],
                    *retire = &quotas.paces[IOT_RETIRE_CERTIFICATE];
    (void)state;
    for (uint32_t second = 0; second < 6; second++, clock_ms += 1000)
        cvm_aws_pace_throttled(update);
    double took_ms = (double)take_many(retire, 60);
    assert_true(took_ms >= 59 * 3 * 1000 / update->rate - 2);
    assert_true(cvm_aws_pace_wait_ms(update) <= (int64_t)(1000 / update->rate) + 1);
}

static void as_many_begin_as_the_narrowest_call_takes(void **state)
{
    struct iot_quotas quotas;
    make_quotas(&quotas, 50);
    uint32_t begun = 0, retry_after_s = 0;
    int64_t wait_ms;
    (void)state;
    for (uint32_t tenth = 0; tenth < 300; tenth++, clock_ms += 100)
        for (uint32_t i = 0; i < 5; i++)
            begun += !cvm_iot_admit(&quotas, 15000, &wait_ms, &retry_after_s);
    /* 5 a second are its share of UpdateCertificate: 30 s, and what waits at the end. */
    assert_in_range(begun, 130, 170);
}

static void who_is_sent_away_is_told_a_time_of_his_own(void **state)
{
    struct iot_quotas quotas;
    make_quotas(&quotas, 100);
    uint32_t before_s = 0, told = 0;
    int64_t wait_ms;
    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t retry_after_s = 0;
        if (!cvm_iot_admit(&quotas, 15000, &wait_ms, &retry_after_s))
            continue;
        assert_true(retry_after_s >= before_s && retry_after_s >= 1 && retry_after_s <= 301);
        before_s = retry_after_s;
        told++;
    }
    assert_true(told > 900 && before_s > 90);
}

/* With little time, with none, and with as long as it takes. */
static void an_idle_account_takes_everybody_at_once(void **state)
{
    static const int64_t LEFT_MS[] = {-1, 0, 100, 3000, 15000};
    (void)state;
    for (size_t i = 0; i < LENGTH(LEFT_MS); i++) {
        struct iot_quotas quotas;
        make_quotas(&quotas, 100);
        uint32_t retry_after_s = 0;
        int64_t wait_ms = -1;
        assert_int_equal(cvm_iot_admit(&quotas, LEFT_MS[i], &wait_ms, &retry_after_s), 0);
        assert_int_equal(wait_ms, 0);
    }
}

/* A queue in front of a call of the flow's middle counts too. */
static void a_queue_before_any_call_keeps_the_next_ones_out(void **state)
{
    struct iot_quotas quotas;
    make_quotas(&quotas, 100);
    uint32_t retry_after_s = 0;
    int64_t wait_ms;
    (void)state;
    for (uint32_t i = 0; i < 1000; i++)
        cvm_aws_pace_take(&quotas.paces[IOT_UPDATE_CERTIFICATE]);
    assert_int_equal(cvm_iot_admit(&quotas, 15000, &wait_ms, &retry_after_s), -1);
    assert_in_range(retry_after_s, 90, 110);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_come_at_their_rate),
        cmocka_unit_test(throttling_lowers_a_rate_and_never_raises_it),
        cmocka_unit_test(a_part_takes_its_part),
        cmocka_unit_test(as_many_begin_as_the_narrowest_call_takes),
        cmocka_unit_test(who_is_sent_away_is_told_a_time_of_his_own),
        cmocka_unit_test(an_idle_account_takes_everybody_at_once),
        cmocka_unit_test(a_queue_before_any_call_keeps_the_next_ones_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
