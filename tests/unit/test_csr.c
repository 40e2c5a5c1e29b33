/* A CSR is the same thing as PEM and as DER: tests/data/csrs, as real tools write them. */
#include "support/test.h"

#include "core/csr.h"
#include "core/key.h"

#define REQUESTS 45

static const char *path_of(const char *name)
{
    static char path[512];
    const char *slash = strrchr(__FILE__, '/');
    (void)snprintf(
        path, sizeof path, "%.*s/../data/csrs/%s", (int)(slash - __FILE__), __FILE__, name);
    return path;
}

/* The file, with a NUL behind it. */
static size_t read_request(const char *name, char text[CVM_LONGEST_CSR + 1])
{
    FILE *file = fopen(path_of(name), "rb");
    assert_non_null(file);
    size_t length = fread(text, 1, CVM_LONGEST_CSR, file);
    (void)fclose(file);
    text[length] = 0;
    return length;
}

/* What becomes of it: the key's hash, or why not. */
static const char *outcome_of(const char *csr, size_t length)
{
    static char outcomes[2][200];
    static uint32_t turn;
    char *outcome = outcomes[turn++ % 2];
    struct cvm_key key = {.spki = NULL};
    const char *why = NULL;
    int32_t failed = cvm_key_from_csr(&key, csr, length, &why);
    (void)snprintf(outcome, sizeof outcomes[0], "%s", failed ? why : key.sha256);
    cvm_key_clear(&key);
    return outcome;
}

static void the_same_comes_of_pem_and_der(void **state)
{
    char line[512], text[CVM_LONGEST_CSR + 1];
    unsigned char der[CVM_LONGEST_CSR + 1];
    uint32_t count = 0, taken = 0;
    FILE *index = fopen(path_of("index.csv"), "r");
    (void)state;
    assert_non_null(index);
    while (fgets(line, sizeof line, index)) {
        const char *why = NULL;
        long length;
        line[strcspn(line, ",")] = 0;
        if (strcmp(line, "file") == 0)
            continue;
        size_t text_length = read_request(line, text);
        count++;
        if (cvm_csr_from_pem(text, der, &length, &why))
            continue; /* the name of a PEM, but none */
        der[length] = 0;
        const char *of_pem = outcome_of(text, text_length);
        assert_string_equal(outcome_of((const char *)der, (size_t)length), of_pem);
        taken += strlen(of_pem) == 64;
    }
    (void)fclose(index);
    assert_int_equal(count, REQUESTS);
    assert_in_range(taken, 20, REQUESTS);
}

/* BER has many forms of one thing; DER, and so a hash or a signature over it, has one. */
static void a_length_in_more_bytes_than_it_needs_is_refused(void **state)
{
    char text[CVM_LONGEST_CSR + 1];
    unsigned char der[CVM_LONGEST_CSR + 2];
    const char *why = NULL;
    long length;
    (void)state;
    (void)read_request("p384.pem", text);
    assert_int_equal(cvm_csr_from_pem(text, der, &length, &why), 0);
    assert_int_equal(der[0], 0x30);
    assert_in_range(der[1], 0x81, 0x82);
    size_t rest = (size_t)length - 1;
    memmove(der + 3, der + 2, rest - 1);
    der[1]++;
    der[2] = 0;
    der[length + 1] = 0;
    assert_string_equal(
        outcome_of((const char *)der, (size_t)length + 1), "the CSR does not parse");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_comes_of_pem_and_der),
        cmocka_unit_test(a_length_in_more_bytes_than_it_needs_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
