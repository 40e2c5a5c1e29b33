/* The head of an HTTP answer: whole, or nothing of it. */
#include "support/test.h"

#include "transports/http/head.h"

#define SIZE 512

static void a_head_is_printed(void **state)
{
    (void)state;
    char text[SIZE];
    const struct cvm_head head = {405, 1, "application/json", "Allow: POST\r\n", 17};
    size_t length = cvm_head_print(&head, text, sizeof text);
    assert_int_equal(length, strlen(text));
    assert_ptr_equal(strstr(text, "HTTP/1.1 405 Method Not Allowed\r\nDate: "), text);
    assert_non_null(strstr(text, "\r\nContent-Type: application/json\r\nContent-Length: 17\r\n"));
    assert_non_null(strstr(text, "\r\nAllow: POST\r\nConnection: close\r\n\r\n"));
}

/* Whatever is missing for it, even one byte. */
static void what_does_not_fit_is_not_printed(void **state)
{
    (void)state;
    char text[SIZE], extra[2 * SIZE];
    struct cvm_head head = {200, 0, "application/json", NULL, 0};
    size_t length = cvm_head_print(&head, text, sizeof text);
    assert_true(length > 0);
    assert_int_equal(cvm_head_print(&head, text, length + 1), length);
    for (size_t size = 1; size <= length; size++)
        assert_int_equal(cvm_head_print(&head, text, size), 0);
    memset(extra, 'x', sizeof extra - 1);
    extra[sizeof extra - 1] = 0;
    head.extra = extra;
    assert_int_equal(cvm_head_print(&head, text, sizeof text), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_printed),
        cmocka_unit_test(what_does_not_fit_is_not_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
