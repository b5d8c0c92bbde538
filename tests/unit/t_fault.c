/* The closed list of faults, once more, as the outside knows it: words that metrics and events keep for
 * good, what becomes of the job, and what its user reads. */
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/str.h"

#define FIFTY    \
    "0123456789" \
    "0123456789" \
    "0123456789" \
    "0123456789" \
    "0123456789"
#define EURO "\xe2\x82\xac"

static void test_rows(void **state) {
    /* clang-format off */
    static const struct {
        FaultCode code;
        const char *word;
        Verdict verdict;
        unsigned most, later;
        const char *sentence;
    } rows[] = {
        { FAULT_NONE, "none", VERDICT_WAIT, 0, 0, "" },
        { FAULT_PROMPT_MISSING, "prompt_missing", VERDICT_FINAL, 0, 0, "The request has neither a prompt nor an image." },
        { FAULT_INPUT_INVALID, "input_invalid", VERDICT_FINAL, 0, 0, "The request could not be understood." },
        { FAULT_INPUT_TOO_LARGE, "input_too_large", VERDICT_FINAL, 0, 0, "The request is too large. Please shorten the prompt." },
        { FAULT_IMAGE_FORBIDDEN, "image_forbidden", VERDICT_FINAL, 0, 0, "The reference image cannot be used. Please upload it again or use an https address." },
        { FAULT_IMAGE_MISSING, "image_missing", VERDICT_FINAL, 0, 0, "The reference image was not found. Please upload it again." },
        { FAULT_IMAGE_UNREACHED, "image_unreached", VERDICT_RETRY, 0, 0, "The mesh model could not fetch the reference image. Please try again later." },
        { FAULT_IMAGE_UNSIGNED, "image_unsigned", VERDICT_RETRY, 3, 0, "The reference image could not be fetched. Please upload it again." },
        { FAULT_ASSET_MISSING, "asset_missing", VERDICT_FINAL, 0, 0, "The asset of this request does not exist." },
        { FAULT_TOO_OLD, "too_old", VERDICT_FINAL, 0, 0, "The request waited too long and was not started." },
        { FAULT_SERVICE_UNREACHED, "service_unreached", VERDICT_WAIT, 0, 0, "The mesh service cannot be reached at the moment." },
        { FAULT_SERVICE_THROTTLED, "service_throttled", VERDICT_WAIT, 0, 0, "The mesh service is busy at the moment." },
        { FAULT_SERVICE_CREDIT, "service_credit", VERDICT_WAIT, 0, 0, "The mesh service is not available at the moment." },
        { FAULT_SERVICE_AUTH, "service_auth", VERDICT_WAIT, 0, 0, "The mesh service is not available at the moment." },
        { FAULT_SERVICE_REFUSED, "service_refused", VERDICT_FINAL, 0, 0, "The mesh service did not accept this request." },
        { FAULT_MODEL_INPUT, "model_input", VERDICT_FINAL, 0, 0, "The mesh model did not accept this input." },
        { FAULT_MODEL_BUSY, "model_busy", VERDICT_RETRY, 0, 0, "The mesh model is busy. Please try again later." },
        { FAULT_MODEL_OVERLOADED, "model_overloaded", VERDICT_RETRY, 0, 4, "The mesh model is overloaded. Please try again later." },
        { FAULT_MODEL_FAILED, "model_failed", VERDICT_RETRY, 2, 0, "The mesh model could not make a mesh of this." },
        { FAULT_MODEL_ERROR, "model_error", VERDICT_FINAL, 0, 0, "The mesh model failed on this input. Please change the prompt or the image." },
        { FAULT_MODEL_TIMEOUT, "model_timeout", VERDICT_RETRY, 2, 0, "The mesh model took too long." },
        { FAULT_MODEL_CONTENT, "model_content", VERDICT_FINAL, 0, 0, "The mesh model declined this content. Please change the prompt or the image." },
        { FAULT_PREDICTION_GONE, "prediction_gone", VERDICT_RETRY, 0, 0, "The mesh service lost the request. Please try again later." },
        { FAULT_OUTPUT_MISSING, "output_missing", VERDICT_FINAL, 0, 0, "The mesh model gave no mesh." },
        { FAULT_OUTPUT_GONE, "output_gone", VERDICT_RETRY, 0, 0, "The mesh was no longer available when it was fetched." },
        { FAULT_OUTPUT_FORBIDDEN, "output_forbidden", VERDICT_FINAL, 0, 0, "The mesh could not be fetched." },
        { FAULT_OUTPUT_UNREACHED, "output_unreached", VERDICT_WAIT, 0, 0, "The mesh could not be fetched at the moment." },
        { FAULT_OUTPUT_DAMAGED, "output_damaged", VERDICT_RETRY, 0, 0, "The mesh was damaged on its way." },
        { FAULT_ASSET_TOO_LARGE, "asset_too_large", VERDICT_FINAL, 0, 0, "The mesh is larger than we can keep." },
        { FAULT_ASSET_INVALID, "asset_invalid", VERDICT_FINAL, 0, 0, "The mesh model's output is not a usable mesh." },
        { FAULT_STORE_UNREACHED, "store_unreached", VERDICT_WAIT, 0, 0, "The mesh could not be stored at the moment." },
        { FAULT_STORE_CLOSED, "store_closed", VERDICT_WAIT, 0, 0, "The mesh could not be stored at the moment." },
        { FAULT_STORE_AUTH, "store_auth", VERDICT_WAIT, 0, 0, "The mesh could not be stored at the moment." },
        { FAULT_STORE_BUCKET, "store_bucket", VERDICT_WAIT, 0, 0, "The mesh could not be stored at the moment." },
        { FAULT_STORE_TYPE, "store_type", VERDICT_WAIT, 0, 0, "The mesh could not be stored at the moment." },
        { FAULT_STORE_REFUSED, "store_refused", VERDICT_FINAL, 0, 0, "The mesh could not be stored." },
        { FAULT_STORE_TOO_LARGE, "store_too_large", VERDICT_FINAL, 0, 0, "The mesh is larger than the store takes." },
        { FAULT_SPOOL_FULL, "spool_full", VERDICT_WAIT, 0, 0, "The mesh could not be fetched at the moment." },
        { FAULT_PURCHASE_UNKNOWN, "purchase_unknown", VERDICT_FINAL, 0, 0, "The mesh service did not say whether it took the request." },
        { FAULT_STEP_GONE, "step_gone", VERDICT_RETRY, 0, 0, "The request could not be worked on." },
        { FAULT_TIMEOUT, "timeout", VERDICT_FINAL, 0, 0, "The request took too long and was stopped." },
        { FAULT_CRASHED, "crashed", VERDICT_FINAL, 0, 0, "The request could not be worked on." },
        { FAULT_DATABASE, "database", VERDICT_RETRY, 0, 0, "The request could not be worked on." },
        { FAULT_DATABASE_BUSY, "database_busy", VERDICT_WAIT, 0, 0, "The request could not be worked on at the moment." },
        { FAULT_INTERNAL, "internal", VERDICT_RETRY, 0, 0, "The request could not be worked on." },
    };
    /* clang-format on */
    _Static_assert(sizeof rows / sizeof *rows == _FAULT_MAX, "one row a fault");

    (void) state;
    for (size_t i = 0; i < _FAULT_MAX; i++) {
        const FaultInfo *info = fault_info(rows[i].code);

        print_message("# %s\n", rows[i].word);
        assert_int_equal(rows[i].code, i); /* each once */
        assert_non_null(info->word);
        assert_string_equal(info->word, rows[i].word);
        assert_int_equal(info->verdict, rows[i].verdict);
        assert_int_equal(info->most, rows[i].most);
        assert_int_equal(info->later, rows[i].later);
        assert_string_equal(info->sentence, rows[i].sentence);
    }
}

/* What holds for every row, also for one that is added. */
static void test_faults(void **state) {
    (void) state;
    for (FaultCode code = 0; code < _FAULT_MAX; code++) {
        const FaultInfo *info = fault_info(code);

        assert_non_null(info->word);
        assert_non_null(info->sentence);
        assert_non_null(info->advice);
        assert_in_range(strlen(info->word), 1, 30);
        assert_int_equal(strspn(info->word, "abcdefghijklmnopqrstuvwxyz_"), strlen(info->word));
        assert_true(info->verdict >= VERDICT_WAIT && info->verdict <= VERDICT_FINAL);
        for (FaultCode other = 0; other < code; other++)
            assert_string_not_equal(info->word, fault_info(other)->word);
        if (code == FAULT_NONE)
            continue;
        assert_in_range(strlen(info->sentence), 10, 400);
        assert_true(isupper((unsigned char) *info->sentence));
        assert_int_equal(info->sentence[strlen(info->sentence) - 1], '.');
        assert_true(str_is_utf8(info->sentence, strlen(info->sentence)));
        assert_null(
            strpbrk(info->sentence, "\r\n<>{}[]_")); /* one line, no markup, no names of ours */
        assert_null(strstr(info->sentence, "Replicate"));
        assert_null(strstr(info->sentence, "Supabase"));
        if (info->verdict == VERDICT_WAIT) /* a human is needed, or time: say which */
            assert_true(*info->advice || code == FAULT_OUTPUT_UNREACHED);
        assert_true(!info->most || info->verdict == VERDICT_RETRY);
        assert_true(!info->later || info->verdict == VERDICT_RETRY);
    }
}

static void test_fault_set(void **state) {
    Fault f = { .retry_after_usec = 7, .detail = "old" };

    (void) state;
    assert_int_equal(fault_set(&f, FAULT_TIMEOUT, "%s %d", "a\nb\x1b[0m", 5), -EBADMSG);
    assert_int_equal(f.code, FAULT_TIMEOUT);
    assert_int_equal(f.retry_after_usec, 0);
    assert_string_equal(f.detail, "a b?[0m 5");
    fault_set(&f, FAULT_INTERNAL, "%s", "");
    assert_string_equal(f.detail, "");
    fault_set(&f, FAULT_INTERNAL, "%s", FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY);
    assert_int_equal(strlen(f.detail), sizeof f.detail - 1);
    assert_memory_equal(f.detail, FIFTY FIFTY, 100);
    fault_set(&f, FAULT_INTERNAL, "%s", FIFTY FIFTY FIFTY FIFTY FIFTY "abc" EURO);
    assert_in_range(strlen(f.detail), 253, 255);
    assert_true(str_is_utf8(f.detail, strlen(f.detail)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_fault_set),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
