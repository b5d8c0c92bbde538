/* What must not be seen is left out of texts, in whatever form it comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/redact.h"
#include "base/str.h"

#define N(array) (sizeof(array) / sizeof *(array))
#define DOTS "\xe2\x80\xa6"
#define TOKEN "r8_0123456789abcdefghij"
#define JWT "eyJhbGciOiJIUzI1NiJ9.eyJ1cmwiOiJ1c2VyX2Fzc2V0cy94LnBuZyJ9.c2lnbmF0dXJl"

/* clang-format off */
static const struct {
    const char *from, *to;
} cases[] = {
    { NULL, "" }, { "", "" }, { "plain text? yes", "plain text? yes" },
    { "100% of 5%", "100% of 5%" }, { "C:\\new\\users \"x\"", "C:\\new\\users \"x\"" },
    /* Secrets: raw, encoded, escaped, cut. */
    { "Bearer " TOKEN, "Bearer " DOTS },
    { "no" TOKEN "no", "no" DOTS "no" },
    { "r8%5F0123456789abcdefghij", DOTS },
    { "r8\\u005f0123456789abcdefghij", DOTS },
    { "p@ss/word%1&x!", DOTS },
    { "p%40ss%2Fword%251%26x%21", DOTS }, { "p%40ss%2fword%251%26x%21", DOTS },
    { "p%2540ss%252Fword%25251%2526x%2521", DOTS },
    { "\"p@ss\\/word%1&x!\"", "\"" DOTS "\"" },
    { "cut: r8_0123456789", "cut: " DOTS }, { "cut: r8_012", "cut: r8_012" },
    { "the word short ends", "the word " DOTS " ends" }, { "shorter, tooshort", "shorter, tooshort" },
    { "'short'", "'" DOTS "'" }, { "abc", "abc" },
    { "apikey: " JWT, "apikey: " DOTS }, { "eyJust a word. Yes", "eyJust a word. Yes" },
    /* Queries. */
    { "for url: https://h/a/b.png?token=abc", "for url: https://h/a/b.png?" DOTS },
    { "HTTPS://H/A?TOKEN=abc next", "HTTPS://H/A?" DOTS " next" },
    { "\"https://h/a?x\" and", "\"https://h/a?" DOTS "\" and" },
    { "Is it https://h/a? No", "Is it https://h/a? No" },
    { "https://h/a?it's&token=abc)", "https://h/a?" DOTS },
    { "https:\\/\\/h\\/a?token=abc\\\"}", "https:\\/\\/h\\/a?" DOTS "\\\"}" },
    { "https:\\/\\/h\\/a\\u003ftoken\\u003dabc\\nline", "https:\\/\\/h\\/a\\u003f" DOTS "\\nline" },
    { "u=https%3A%2F%2Fh%2Fa%3Ftoken%3Dabc%26b x", "u=https%3A%2F%2Fh%2Fa%3F" DOTS " x" },
    { "https%253A%252F%252Fh%252Fa%253Ftoken%253Dabc", "https%253A%252F%252Fh%252Fa%253F" DOTS },
    { "with url: /object/sign/b/x.png?token=abc (Caused by", "with url: /object/sign/b/x.png?" DOTS " (Caused by" },
    { "x?X-Amz-Signature=abc&y", "x?" DOTS }, { "why? a=b", "why? a=b" },
    { "https://h/a#access_token=abc", "https://h/a#" DOTS }, { "https://h/a#billing", "https://h/a#billing" },
    { "ftp://h/a?b https://h/c?d", "ftp://h/a?" DOTS " https://h/c?" DOTS },
    /* Users and passwords. */
    { "postgresql://user:pw@host:5432/db", "postgresql://" DOTS "@host:5432/db" },
    { "postgresql://user:p/w?@host/db?sslmode=require", "postgresql://" DOTS "@host/db?" DOTS },
    { "https://key@host/a@b", "https://" DOTS "@host/a@b" },
    { "https://u:p@ss@host/", "https://" DOTS "@host/" },
    { "http://host:80/a@b.png", "http://host:80/a@b.png" },
    { "postgres%3A%2F%2Fu%3Apw%40host", "postgres%3A%2F%2F" DOTS "%40host" },
    { "no scheme u:pw@host", "no scheme u:pw@host" },
};
/* clang-format on */

static int set_up(void **state) {
    (void) state;
    return redact_add(TOKEN) < 0 || redact_add("p@ss/word%1&x!") < 0 || redact_add("short") < 0 ||
           redact_add("abc") < 0 || redact_add(NULL) < 0;
}

static int tear_down(void **state) {
    (void) state;
    redact_done();
    return 0;
}

static void test_cases(void **state) {
    (void) state;
    for (size_t i = 0; i < N(cases); i++) {
        char to[200];

        print_message("# %s\n", cases[i].from ? cases[i].from : "NULL");
        assert_ptr_equal(redact_text(to, sizeof to, cases[i].from), to);
        assert_string_equal(to, cases[i].to);
    }
}

/* Nothing of a secret gets past a small room, and no character is cut. */
static void test_room(void **state) {
    static const char text[] = "a\xe2\x82\xac https://u:pw@h/a?b=c " TOKEN "\xf0\x9f\xaa\x91";

    (void) state;
    for (size_t room = 0; room < sizeof text + 8; room++) {
        char to[sizeof text + 8];

        memset(to, 'X', sizeof to);
        redact_text(to, room, text);
        for (size_t k = room; k < sizeof to; k++)
            assert_int_equal(to[k], 'X');
        if (room == 0)
            continue;
        assert_true(strlen(to) < room);
        assert_true(str_is_utf8(to, strlen(to)));
        assert_null(strstr(to, "r8_"));
        assert_null(strstr(to, "pw"));
        assert_null(strstr(to, "b=c"));
    }
}

/* The newest are remembered, and no one twice. */
static void test_many(void **state) {
    char secret[40], to[80];

    (void) state;
    for (int i = 0; i < 3 * REDACT_SECRETS_MAX; i++) {
        (void) snprintf(secret, sizeof secret, "the-secret-number-%03d", i);
        assert_int_equal(redact_add(secret), 0);
        assert_int_equal(redact_add(secret), 0);
        assert_string_equal(redact_text(to, sizeof to, secret), DOTS);
    }
    assert_string_equal(redact_text(to, sizeof to, "the-secret-number-064"), DOTS);
}

/* Whoever makes a text to be shown goes through it. */
static void test_shown(void **state) {
    char to[80];
    Fault fault;

    (void) state;
    assert_string_equal(str_clean(to, sizeof to, "a\n" TOKEN), "a " DOTS);
    fault_set(&fault, FAULT_MODEL_ERROR, "prediction failed: %250s https://h/a?token=abc", TOKEN);
    assert_null(strstr(fault.detail, "r8_"));
    fault_set(&fault, FAULT_MODEL_ERROR, "%245s%s", "", TOKEN); /* that the end would cut */
    assert_null(strstr(fault.detail, "r8_"));
}

/* A text of any length takes time that a turn of the loop has. */
static void test_long(void **state) {
    static const char *const pieces[] = { "%", "%25", "e",    "eyJ", "?", "?a=", "://",
                                          ":", "\\",  "://:", "a",   "@", "x@ ", "r8_" };
    size_t size = 1024 * 1024;
    char *text = malloc(size + 1), to[2048];

    (void) state;
    assert_non_null(text);
    text[size] = '\0';
    for (size_t i = 0; i < N(pieces); i++) {
        for (size_t at = 0; at < size; at++)
            text[at] = pieces[i][at % strlen(pieces[i])];
        redact_text(to, sizeof to, text);
        assert_true(strlen(to) < sizeof to);
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cases, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shown, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long, set_up, tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
