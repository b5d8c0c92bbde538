/* What PostgreSQL's errors mean for us. libpq makes no error for who asks for one, so its one function that is used is
 * ours here: a result is a table of fields. */
#include <string.h>

#include "io/db_errors.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

typedef struct Error {
    const char *state, *severity, *context, *source;
} Error;

char *PQresultErrorField(const PGresult *res, int field) {
    const Error *e = (const Error *) res;

    return (char *) (field == PG_DIAG_SQLSTATE                ? e->state
                     : field == PG_DIAG_SEVERITY_NONLOCALIZED ? e->severity
                     : field == PG_DIAG_CONTEXT               ? e->context
                     : field == PG_DIAG_SOURCE_FUNCTION       ? e->source
                                                              : NULL);
}

static const PGresult *result(const Error *e) {
    return (const PGresult *) e;
}

#define RAISED "PL/pgSQL function public.theirs() line 1 at RAISE"

static const struct {
    Error error;
    bool reconnect, passing, of_statement;
} cases[] = {
    /* libpq's own: the connection is gone */
    { { NULL, NULL, NULL, NULL }, true, false, false },
    { { "", "ERROR", NULL, NULL }, true, false, false },
    /* the server goes down, or is another than it was */
    { { "57P01", "FATAL", NULL, "ProcessInterrupts" }, true, true, false },
    { { "57P02", "FATAL", NULL, NULL }, true, true, false },
    { { "57P03", "FATAL", NULL, NULL }, true, true, false },
    { { "57P05", "FATAL", NULL, NULL }, true, true, false },
    { { "08006", "FATAL", NULL, NULL }, true, false, false },
    { { "08P01", "ERROR", NULL, NULL }, true, false, false },
    { { "25006", "ERROR", NULL, "PreventCommandIfReadOnly" }, true, false, false },
    /* in the midst of a function of ours */
    { { "57P01", "FATAL", "SQL function \"beat\" statement 1", "ProcessInterrupts" },
      true,
      true,
      false },
    { { "57P02", "PANIC", "SQL function \"beat\" statement 1", NULL }, true, true, false },
    { { "25006", "ERROR", "SQL statement \"UPDATE ...\"", "PreventCommandIfReadOnly" },
      true,
      false,
      false },
    /* the same codes, raised by a trigger of the project */
    { { "57P01", "ERROR", RAISED, "exec_stmt_raise" }, false, true, false },
    { { "57P03", "ERROR", RAISED, "exec_stmt_raise" }, false, true, false },
    { { "08006", "ERROR", RAISED, "exec_stmt_raise" }, false, false, false },
    { { "25006", "ERROR", RAISED, "exec_stmt_raise" }, false, false, false },
    { { "25006", NULL, RAISED, NULL }, false, false, false },
    { { "42501", "ERROR", RAISED, "exec_stmt_raise" }, false, false, false },
    { { "3F000", "ERROR", RAISED, "exec_stmt_raise" }, false, false, false },
    { { "0A000", "ERROR", RAISED, "exec_stmt_raise" }, false, false, false },
    /* locks, serialisation, shortage, an operator's hand */
    { { "40001", "ERROR", RAISED, NULL }, false, true, false },
    { { "40P01", "ERROR", NULL, NULL }, false, true, false },
    { { "53100", "ERROR", NULL, NULL }, false, true, false },
    { { "53300", "FATAL", NULL, NULL }, false, true, false },
    { { "55P03", "ERROR", NULL, NULL }, false, true, false },
    { { "55006", "ERROR", NULL, NULL }, false, true, false },
    { { "57014", "ERROR", NULL, NULL }, false, true, false },
    { { "58030", "ERROR", NULL, NULL }, false, true, false },
    /* the statement as such: a GRANT, a schema, a server that does not know it */
    { { "42501", "ERROR", NULL, "aclcheck_error" }, false, false, true },
    { { "42883", "ERROR", NULL, NULL }, false, false, true },
    { { "42P01", "ERROR", NULL, NULL }, false, false, true },
    { { "3F000", "ERROR", NULL, NULL }, false, false, true },
    { { "0A000", "ERROR", NULL, NULL }, false, false, true },
    /* this call's values */
    { { "22P02", "ERROR", NULL, NULL }, false, false, false },
    { { "23505", "ERROR", NULL, NULL }, false, false, false },
    { { "25001", "ERROR", NULL, NULL }, false, false, false },
    { { "25P02", "ERROR", NULL, NULL }, false, false, false },
    { { "P0001", "ERROR", RAISED, NULL }, false, false, false },
    { { "P0004", "ERROR", RAISED, NULL }, false, false, false },
    { { "XX000", "ERROR", NULL, NULL }, false, false, false },
};

static void each_means(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const PGresult *res = result(&cases[i].error);
        const char *code = db_sqlstate(res);

        if (db_error_means_reconnect(res) != cases[i].reconnect)
            fail_msg("case %zu, '%s': to connect anew", i, code);
        if (db_error_is_passing(res) != cases[i].passing)
            fail_msg("case %zu, '%s': it may pass", i, code);
        if (db_error_is_of_statement(res) != cases[i].of_statement)
            fail_msg("case %zu, '%s': of the statement", i, code);
    }
}

/* There is no answer where the connection was lost. */
static void without_an_answer(void **state) {
    (void) state;
    assert_string_equal(db_sqlstate(NULL), "");
    assert_true(db_error_is_passing(NULL));
    assert_false(db_error_is_of_statement(NULL));
}

static void a_code_is_its_own(void **state) {
    static const Error error = { "23505", "ERROR", NULL, NULL };

    (void) state;
    assert_string_equal(db_sqlstate(result(&error)), "23505");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_means),
        cmocka_unit_test(without_an_answer),
        cmocka_unit_test(a_code_is_its_own),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
