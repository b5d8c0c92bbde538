/* Polling: how often, what an answer means for the job, which file of an output is meant, and how far
 * a prediction says it has come. */
#include <math.h>

#include "fixtures.h"
#include "flow/poll.h"
#include "torture.h"

#define BOUGHT "\"" PREDICTION "\""
#define GLB "https://replicate.delivery/xezq/a/output.glb"
#define PNG "https://replicate.delivery/xezq/a/out-0.png"

/* A job whose prediction runs, in the first of two steps or in the last. */
#define OWN USER_ID "/a.png"

static Job *polling(const Config *c, bool last) {
    ClaimedRow row = claimed_row;
    Job *j;

    row.purchases = last ? "[" PURCHASE("sculpt", 2, "bought", BOUGHT, "") "]"
                         : "[" PURCHASE("paint", 1, "bought", BOUGHT, "") "]";
    j = job_of(c, &row);
    assert_int_equal(j->at.state, JOB_POLLING);
    assert_int_equal(job_at_last_step(j), last);
    return j;
}

static JobEvent hear(Job *j, int code, const char *body, PollAnswer *a, Fault *f) {
    HttpReply r = reply_of(code, body);
    JobEvent ev = poll_hear(&r, j, NOW + SEC, a, f);

    http_reply_done(&r);
    return ev;
}

static void test_delay(void **state) {
    static const double chances[] = { 0, 0.5, 0.999 };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < 3; i++) {
        uint64_t last = 0;

        for (uint64_t age = 0; age < 86400 * SEC; age = age * 3 / 2 + SEC / 10) {
            uint64_t d = poll_delay_usec(c, age, chances[i]);

            assert_true(d >= last);
            assert_true(d >= c->poll_min_usec && d <= c->poll_max_usec);
            last = d;
        }
        assert_true(last > poll_delay_usec(c, 0, chances[i]) * 5);
    }
    assert_true(poll_delay_usec(c, 60 * SEC, 0) < poll_delay_usec(c, 60 * SEC, 0.999));
    c->poll_min_usec = c->poll_max_usec = SEC / 20;
    assert_in_range(poll_delay_usec(c, 60 * SEC, 0.5), SEC / 23, SEC / 17);
}

static void test_ask(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = polling(c, true);
    HttpRequest r;

    (void) state;
    torture(n) if (poll_ask(c, j, &r) == 0) {
        assert_string_equal(r.method, "GET");
        assert_string_equal(r.url, "https://api.replicate.com/v1/predictions/" PREDICTION);
        assert_string_equal(header_of(&r, "Authorization"), "Bearer r8_test");
        assert_null(r.body);
        assert_false(r.once);
        assert_true(r.body_max > 0 && r.timeout_usec > 0);
        http_request_done(&r);
    }
    else assert_true(torture_failed());
}

/* Both shapes in which the same prediction comes: from where it runs, and from the database. */
#define RUNNING(status, more)                                                               \
    "{\"id\":" BOUGHT ",\"model\":\"firtoz/trellis\",\"version\":\"hidden\",\"input\":{},"  \
    "\"logs\":\"\",\"created_at\":\"2026-03-20T10:00:00.12345678Z\",\"urls\":{\"get\":\"\"" \
    "},\"status\":\"" status "\"" more "}"
#define STORED(status, more)                                                      \
    "{\"completed_at\":null,\"data_removed\":false,\"webhook_completed\":null,"   \
    "\"id\":" BOUGHT ",\"logs\":null,\"started_at\":null,\"version\":\"x\",\"sta" \
    "tus\":\"" status "\"" more "}"
#define OUTPUT(output)                                                                            \
    ",\"output\":" output ",\"error\":null,\"metrics\":{\"predict_time\":16.7,\"total_time\":58." \
    "1}"
#define MESH OUTPUT("{\"model_file\":\"" GLB "\",\"color_video\":null}")
#define NO_OUTPUT ",\"output\":null,\"error\":null"

static void test_hear(void **state) {
    static const struct {
        const char *body;
        bool last;
        JobEvent ev;
        FaultCode fault;
    } cases[] = {
        { RUNNING("starting", ",\"error\":null"), true, EV_WAIT, FAULT_NONE },
        { STORED("starting", NO_OUTPUT), true, EV_WAIT, FAULT_NONE },
        { RUNNING("processing", ""), true, EV_WAIT, FAULT_NONE },
        { STORED("processing", NO_OUTPUT), false, EV_WAIT, FAULT_NONE },
        { STORED("processing", MESH), true, EV_WAIT, FAULT_NONE },
        { STORED("new-in-2027", NO_OUTPUT), true, EV_WAIT, FAULT_NONE },
        { RUNNING("succeeded", MESH), true, EV_OK, FAULT_NONE },
        { STORED("succeeded", MESH), true, EV_OK, FAULT_NONE },
        { "{\"status\":\"starting\",\"status\":\"succeeded\"" MESH "}", true, EV_OK, FAULT_NONE },
        { RUNNING("succeeded", OUTPUT("[\"" PNG "\"]")), false, EV_STEP, FAULT_NONE },
        { STORED("succeeded", OUTPUT("[\"" PNG "\"]")), false, EV_STEP, FAULT_NONE },
        /* trellis without generate_model */
        { STORED("succeeded", OUTPUT("{\"model_file\":null,\"color_video\":\"https://x/v.mp4\"}")),
          true, EV_FINAL, FAULT_OUTPUT_MISSING },
        { RUNNING("succeeded", ""), true, EV_FINAL, FAULT_OUTPUT_MISSING },
        { STORED("succeeded", OUTPUT("[]")), false, EV_FINAL, FAULT_OUTPUT_MISSING },
        { STORED("succeeded",
                 OUTPUT("{\"model_file\":\"data:model/gltf-binary;base64,Z2xURg==\"}")),
          true, EV_FINAL, FAULT_OUTPUT_MISSING },
        { STORED("succeeded", NO_OUTPUT ",\"data_removed\":true"), true, EV_RETRY,
          FAULT_OUTPUT_GONE },
        { STORED("succeeded", NO_OUTPUT ",\"data_removed\":true"), false, EV_RETRY,
          FAULT_OUTPUT_GONE },
        { RUNNING("failed", ",\"error\":\"ValueError: no\""), true, EV_FINAL, FAULT_MODEL_ERROR },
        { STORED("failed", NO_OUTPUT), false, EV_RETRY, FAULT_MODEL_FAILED },
        { STORED("canceled", NO_OUTPUT), true, EV_RETRY, FAULT_MODEL_TIMEOUT },
        { RUNNING("aborted", ",\"output\":null"), true, EV_RETRY, FAULT_MODEL_BUSY },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_(job_freep) Job *j = polling(c, cases[i].last);
        bool usable = cases[i].ev == EV_OK || cases[i].ev == EV_STEP;
        const Purchase *p = job_purchase(j);
        Fault f = { 0 };
        PollAnswer a;

        print_message("# %s\n", cases[i].body);
        assert_int_equal(hear(j, 200, cases[i].body, &a, &f), cases[i].ev);
        assert_int_equal(f.code, cases[i].fault);
        assert_int_equal(a.usable, usable);
        assert_int_equal(a.terminal, cases[i].ev != EV_WAIT);
        assert_int_equal(j->output_url != NULL, cases[i].ev == EV_OK);
        if (j->output_url)
            assert_string_equal(j->output_url, GLB);
        assert_int_equal(p->finished, a.terminal);
        assert_int_equal(p->usable, usable);
        assert_int_equal(p->succeeded, a.terminal && strcmp(a.status, "succeeded") == 0);
        assert_int_equal(p->state, usable || !a.terminal ? PURCHASE_BOUGHT : PURCHASE_ENDED);
        if (usable) {
            assert_true(json_equal(p->output, a.output));
            assert_true(fabs(p->predict_time - 16.7) < 0.001);
            assert_int_equal(p->finished_usec, NOW + SEC);
        }
        json_decref(a.root);
    }
}

/* A read costs nothing: whatever comes instead of a prediction, it is asked again. */
static void test_hear_no_prediction(void **state) {
    static const struct {
        HttpEnd end;
        int code;
        const char *body;
        FaultCode fault;
    } cases[] = {
        { HTTP_ANSWERED, 200, "{\"id\":" BOUGHT ",\"status\":\"succ", FAULT_SERVICE_UNREACHED },
        { HTTP_ANSWERED, 200, "{\"id\":\"another\",\"status\":\"succeeded\"" MESH "}",
          FAULT_SERVICE_UNREACHED }, /* another's */
        { HTTP_ANSWERED, 200, "[{\"status\":\"succeeded\"}]", FAULT_SERVICE_UNREACHED },
        { HTTP_ANSWERED, 200, "{\"status\":7}", FAULT_SERVICE_UNREACHED },
        { HTTP_ANSWERED, 200, "", FAULT_SERVICE_UNREACHED },
        { HTTP_ANSWERED, 200, "<html>", FAULT_SERVICE_UNREACHED },
        { HTTP_ANSWERED, 302, NULL, FAULT_SERVICE_UNREACHED },
        { HTTP_ANSWERED, 401, "{\"title\":\"Unauthenticated\",\"status\":401}",
          FAULT_SERVICE_AUTH },
        { HTTP_ANSWERED, 404, "{\"detail\":\"The requested resource could not be found.\"}",
          FAULT_SERVICE_REFUSED }, /* seen for a moment after a purchase */
        { HTTP_ANSWERED, 404, "{\"status\":\"succeeded\"" MESH "}", FAULT_SERVICE_REFUSED },
        { HTTP_ANSWERED, 429, "{\"detail\":\"throttled\",\"retry_after\":5}",
          FAULT_SERVICE_THROTTLED },
        { HTTP_ANSWERED, 429, "{\"detail\":\"Your rate limit resets in ~5s.\"}",
          FAULT_SERVICE_THROTTLED },
        { HTTP_ANSWERED, 429, "{\"detail\":\"Expected available in 5 seconds.\"}",
          FAULT_SERVICE_THROTTLED },
        { HTTP_ANSWERED, 500, "{\"detail\":\"Internal server error\"}", FAULT_SERVICE_UNREACHED },
        { HTTP_ANSWERED, 502, "<html>502 Bad Gateway</html>", FAULT_SERVICE_UNREACHED },
        { HTTP_UNSENT, 0, NULL, FAULT_SERVICE_UNREACHED },
        { HTTP_NO_ANSWER, 200, "{\"status\":\"succeeded\"" MESH "}", FAULT_SERVICE_UNREACHED },
        { HTTP_TOO_LARGE, 200, NULL, FAULT_SERVICE_REFUSED },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = polling(c, true);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpReply r = reply_of(cases[i].code, cases[i].body);
        Fault f = { 0 };
        PollAnswer a;

        r.end = cases[i].end;
        print_message("# %d %s\n", r.code, cases[i].body ? cases[i].body : "");
        assert_int_equal(poll_hear(&r, j, NOW, &a, &f), EV_WAIT);
        assert_int_equal(f.code, cases[i].fault);
        assert_int_equal(f.retry_after_usec, r.code == 429 ? 5 * SEC : 0);
        assert_false(a.terminal || a.usable || job_purchase(j)->finished);
        assert_int_equal(a.of_another, cases[i].body && strstr(cases[i].body, "another"));
        assert_null(j->output_url);
        json_decref(a.root);
        http_reply_done(&r);
    }
}

static void test_errors(void **state) {
    static const struct {
        const char *error; /* as JSON */
        FaultCode fault;
        const char *text;
    } cases[] = {
        /* clang-format off */
        { "\"Prediction interrupted; please retry (code: PA)\"", FAULT_MODEL_BUSY, "interrupted" },
        { "[\"Prediction interrupted; please retry (code: PA)\"]", FAULT_MODEL_BUSY, "PA" },
        { "\"Unknown error (E1000)\"", FAULT_MODEL_BUSY, "E1000" },
        { "\"Prediction stopped in a non-terminal state (E8367)\"", FAULT_MODEL_BUSY, "E8367" },
        { "\"Failed to upload file (E9825)\"", FAULT_MODEL_BUSY, "E9825" },
        { "\"Director: unexpected error (E9828)\"", FAULT_MODEL_BUSY, "E9828" },
        { "\"Director: unexpected error handling prediction (E6716)\"", FAULT_MODEL_OVERLOADED, "E6716" },
        { "\"Model health check failed (E8765)\"", FAULT_MODEL_OVERLOADED, "E8765" },
        { "\"x is unavailable due to high demand. Please try again later. (E003)\"", FAULT_MODEL_OVERLOADED, "E003" },
        { "\"unavailable due to High Demand\"", FAULT_MODEL_OVERLOADED, "High" },
        { "\"Service is temporarily unavailable, try again (E004)\"", FAULT_MODEL_OVERLOADED, "E004" },
        { "{\"message\":\"Error starting prediction (E9243)\"}", FAULT_MODEL_FAILED, "E9243" },
        { "\"Prediction ran out of memory and was killed (E1001)\"", FAULT_MODEL_FAILED, "E1001" },
        { "\"CUDA out of memory. Tried to allocate 2 GiB\"", FAULT_MODEL_FAILED, "CUDA" },
        { "\"CUDA error: device-side assert triggered\"", FAULT_MODEL_FAILED, "CUDA" },
        { "\"Out of memory\"", FAULT_MODEL_FAILED, "Out" },
        { "\"a code that nobody knows (E1234)\"", FAULT_MODEL_FAILED, "E1234" },
        { "\"E1234\"", FAULT_MODEL_FAILED, "E1234" },
        { "\"Internal webhook URL is empty (E4875)\"", FAULT_MODEL_ERROR, "E4875" },
        { "\"The input was flagged as sensitive. (E005)\"", FAULT_MODEL_CONTENT, "E005" },
        { "\"NSFW content detected. Try running it again.\"", FAULT_MODEL_CONTENT, "NSFW" },
        { "{\"detail\":\"NSFW content\"}", FAULT_MODEL_CONTENT, "NSFW" },
        { "\"cannot identify image file '/tmp/tmp7ae005k.png'\"", FAULT_MODEL_ERROR, "tmp7" },
        { "\"Image must be provided\"", FAULT_MODEL_ERROR, "Image" },
        { "\"ValueError: E12345 E123 EE1234 E1234x xE1234\"", FAULT_MODEL_ERROR, "E12345" },
        { "\"\"", FAULT_MODEL_FAILED, "" },
        /* clang-format on */
        { "null", FAULT_MODEL_FAILED, NULL },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_(job_freep) Job *j = polling(c, true);
        char *body = str_printf(STORED("failed", ",\"output\":null,\"error\":%s"), cases[i].error);
        Fault f = { 0 };
        PollAnswer a;

        print_message("# %s\n", cases[i].error);
        assert_int_equal(hear(j, 200, body, &a, &f),
                         fault_info(cases[i].fault)->verdict == VERDICT_FINAL ? EV_FINAL
                                                                              : EV_RETRY);
        assert_int_equal(f.code, cases[i].fault);
        assert_int_equal(a.error != NULL, cases[i].text != NULL);
        if (a.error) {
            assert_non_null(strstr(a.error, cases[i].text));
            assert_non_null(strstr(f.detail, cases[i].text));
        }
        json_decref(a.root);
        free(body);
    }
}

/* A picture of ours that did not come is tried again; one that the model can't use, or another's, is not. */
static void test_image_errors(void **state) {
#define SIGNED \
    "https://p.supabase.co/storage/v1/object/sign/user_assets/" USER_ID "/a.png?token=e.y.J"
    static const struct {
        const char *image, *error; /* the error within its quotes */
        FaultCode fault;
    } cases[] = {
        /* clang-format off */
        { OWN, "502 Server Error: Bad Gateway for url: " SIGNED, FAULT_IMAGE_UNREACHED },
        { OWN, "503: " SIGNED, FAULT_IMAGE_UNREACHED }, { OWN, "HTTP 544 for " SIGNED, FAULT_IMAGE_UNREACHED },
        { OWN, "429 Client Error: Too Many Requests for url: " SIGNED, FAULT_IMAGE_UNREACHED },
        { OWN, SIGNED ": timed out", FAULT_IMAGE_UNREACHED },
        { OWN, "HTTPSConnectionPool(host='p.supabase.co', port=443): Max retries exceeded with url: "
               "/storage/v1/object/sign/user_assets/a.png?token=e.y.J (Caused by ConnectTimeoutError)", FAULT_IMAGE_UNREACHED },
        { OWN, "{\\\"url\\\":\\\"https:\\\\/\\\\/p\\\\/object\\\\/sign\\\\/a.png\\\",\\\"status\\\":502}", FAULT_IMAGE_UNREACHED },
        { OWN, "500 https%3A%2F%2Fp%2Fobject%2Fsign%2Fa.png", FAULT_IMAGE_UNREACHED },
        { OWN, "Connection reset by peer while fetching " SIGNED " (E1001)", FAULT_IMAGE_UNREACHED },
        { OWN, "400 Client Error: Bad Request for url: " SIGNED, FAULT_MODEL_ERROR },
        { OWN, "404 Client Error: Not Found for url: " SIGNED, FAULT_MODEL_ERROR },
        { OWN, "cannot identify image file " SIGNED, FAULT_MODEL_ERROR },
        { OWN, "cannot identify https://p/object/sign/502/timeout.png?token=503", FAULT_MODEL_ERROR },
        { OWN, "502 Server Error for url: https://weights.example/model.bin", FAULT_MODEL_ERROR },
        { "https://else.example/a.png", "502 for url: https://else.example/a.png", FAULT_MODEL_ERROR },
        { "https://else.example/a.png", "502 for url: https://x/object/sign/a.png", FAULT_MODEL_ERROR },
        /* clang-format on */
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ClaimedRow row = claimed_row;
        char *input = str_printf("{\"input_image_url\":\"%s\"}", cases[i].image);
        char *body =
            str_printf(STORED("failed", ",\"output\":null,\"error\":\"%s\""), cases[i].error);
        Job *j;
        Fault f = { 0 };
        PollAnswer a;

        row.purchases = "[" PURCHASE("sculpt", 2, "bought", BOUGHT, "") "]";
        row.input = input;
        j = job_of(c, &row);
        print_message("# %s\n", cases[i].error);
        (void) hear(j, 200, body, &a, &f);
        assert_int_equal(f.code, cases[i].fault);
        assert_null(strstr(f.detail, "e.y.J"));
        json_decref(a.root);
        free(body);
        free(input);
        job_free(j);
    }
}

/* A 404 passes; one that stays is the prediction's end. */
static void test_gone(void **state) {
    static const char words[] = "{\"detail\":\"The requested resource could not be found.\"}";
    static const struct {
        int code;
        const char *body;
        uint64_t at_sec; /* after the first */
        JobEvent ev;
    } reads[] = {
        { 404, words, 0, EV_WAIT },
        { 404, words, 30, EV_WAIT },
        { 404, words, 60, EV_WAIT },
        { 404, words, 119, EV_WAIT },                         /* not yet for two minutes */
        { 200, "{\"status\":\"processing\"}", 125, EV_WAIT }, /* it is there: from the beginning */
        { 404, words, 130, EV_WAIT },
        { 404, "<html>no route</html>", 200, EV_WAIT }, /* a gateway's, which says nothing */
        { 500, "{}", 210, EV_WAIT },
        { 404, words, 220, EV_WAIT },
        { 410, words, 260, EV_WAIT }, /* long enough, not often enough */
        { 404, "", 270, EV_WAIT },
        { 404, words, 280, EV_RETRY },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = polling(c, true);

    (void) state;
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
        HttpReply r = reply_of(reads[i].code, reads[i].body);
        Fault f = { 0 };
        PollAnswer a;

        print_message("# %d after %u s\n", r.code, (unsigned) reads[i].at_sec);
        assert_int_equal(poll_hear(&r, j, NOW + reads[i].at_sec * SEC, &a, &f), reads[i].ev);
        assert_int_equal(job_purchase(j)->state,
                         reads[i].ev == EV_RETRY ? PURCHASE_ENDED : PURCHASE_BOUGHT);
        if (reads[i].ev == EV_RETRY)
            assert_int_equal(f.code, FAULT_PREDICTION_GONE);
        json_decref(a.root);
        http_reply_done(&r);
    }
}

/* The outputs of models as they are known, and of some that nobody has seen. */
static void test_outputs(void **state) {
    /* clang-format off */
    static const struct {
        PollWants wants;
        const char *output, *pointer, *url;
    } cases[] = {
        { POLL_WANTS_MESH, "\"" GLB "\"", NULL, GLB }, /* hyper3d/rodin */
        { POLL_WANTS_MESH, "{\"color_video\":\"https://x/a.mp4\",\"model_file\":\"" GLB "\"}", NULL, GLB }, /* firtoz/trellis */
        { POLL_WANTS_MESH, "{\"mesh\":\"" GLB "\"}", NULL, GLB }, /* hunyuan3d-2 */
        { POLL_WANTS_MESH, "{\"white\":\"" GLB "\",\"mesh_paint\":\"https://x/2\"}", NULL, "https://x/2" }, /* prunaai/hunyuan3d-2 */
        { POLL_WANTS_MESH, "[\"https://x/1.png\",\"https://x/2.png\"]", NULL, NULL }, /* mvdream */
        { POLL_WANTS_MESH, "{\"animation\":\"https://x/a.gif\",\"json_file\":\"https://x/p.json\"}", NULL, NULL }, /* point-e */
        { POLL_WANTS_MESH, "\"https://x/mesh\"", NULL, "https://x/mesh" },
        { POLL_WANTS_MESH, "[\"https://x/mesh\"]", NULL, "https://x/mesh" },
        { POLL_WANTS_MESH, "{\"video\":\"https://x/v.mp4\",\"glb\":\"https://x/1\"}", NULL, "https://x/1" },
        { POLL_WANTS_MESH, "{\"image\":\"" PNG "\",\"result\":\"" GLB "?x=1#y\"}", NULL, GLB "?x=1#y" },
        { POLL_WANTS_MESH, "{\"files\":[null,\"" PNG "\",\"HTTPS://x/A.GLB\"]}", NULL, "HTTPS://x/A.GLB" },
        { POLL_WANTS_MESH, "{\"model_file\":null,\"video\":\"https://x/v.mp4\"}", NULL, NULL },
        { POLL_WANTS_MESH, "{\"model_file\":\"file:///etc/passwd\"}", NULL, NULL },
        { POLL_WANTS_MESH, "{\"model_file\":\"xezq/a/output.glb\"}", NULL, NULL },
        { POLL_WANTS_MESH, "null", NULL, NULL },
        { POLL_WANTS_MESH, "7", NULL, NULL },
        { POLL_WANTS_MESH, "[]", NULL, NULL },
        { POLL_WANTS_MESH, "{\"model_file\":\"" GLB "\",\"x\":\"https://x/2.glb\"}", "/x", "https://x/2.glb" },
        { POLL_WANTS_MESH, "{\"a/b\":{\"~\":[\"" PNG "\",\"" GLB "\"]}}", "/a~1b/~0/1", GLB },
        { POLL_WANTS_MESH, "\"" GLB "\"", "", GLB },
        { POLL_WANTS_MESH, "{\"mesh\":\"" GLB "\"}", "/model_file", NULL },
        { POLL_WANTS_MESH, "{\"model_file\":null}", "/model_file", NULL },
        { POLL_WANTS_IMAGE, "[\"" PNG "\"]", NULL, PNG }, /* flux-schnell */
        { POLL_WANTS_IMAGE, "[\"" PNG "\"]", "/0", PNG },
        { POLL_WANTS_IMAGE, "[\"" PNG "\"]", "/1", NULL },
        { POLL_WANTS_IMAGE, "\"https://x/image\"", NULL, "https://x/image" },
        { POLL_WANTS_IMAGE, "{\"video\":\"https://x/v.mp4\",\"image\":\"https://x/i.webp\"}", NULL, "https://x/i.webp" },
        { POLL_WANTS_IMAGE, "\"data:image/png;base64,AAAA\"", NULL, NULL },
    };
    /* clang-format on */

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *output = json_parse(cases[i].output, strlen(cases[i].output));
        const char *url = poll_output(output, cases[i].pointer, cases[i].wants);

        print_message("# %s\n", cases[i].output);
        assert_non_null(output);
        if (cases[i].url) {
            assert_non_null(url);
            assert_string_equal(url, cases[i].url);
        } else
            assert_null(url);
        json_decref(output);
    }
    assert_null(poll_output(NULL, NULL, POLL_WANTS_MESH));
    assert_null(poll_output(NULL, "/0", POLL_WANTS_IMAGE));
}

/* A file within the answer is not taken; the operator reads why. */
static void test_data(void **state) {
    static const struct {
        const char *output;
        bool data;
    } cases[] = {
        { "\"data:model/gltf-binary;base64,Z2xURg==\"", true },
        { "{\"model_file\":\"DATA:;base64,Z2xURg==\"}", true },
        { "{\"a\":[null,{\"b\":\"data:,\"}]}", true },
        { "{\"a\":[[[\"data:,\"]]]}", false }, /* as deep as a file is looked for */
        { "\"a data: URI\"", false },
        { "{\"data:\":null}", false },
    };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_(job_freep) Job *j = polling(c, true);
        char *body = str_printf(STORED("succeeded", ",\"output\":%s"), cases[i].output);
        Fault f = { 0 };
        PollAnswer a;

        print_message("# %s\n", cases[i].output);
        assert_int_equal(hear(j, 200, body, &a, &f), EV_FINAL);
        assert_int_equal(f.code, FAULT_OUTPUT_MISSING);
        assert_int_equal(strstr(f.detail, "data: URI") != NULL, cases[i].data);
        json_decref(a.root);
        free(body);
    }
}

/* An output that answer_sieve() left out is this job's fault, and final: it would not shrink. */
static void test_too_large(void **state) {
    static const struct {
        const char *named;
        bool said;
    } cases[] = { { "[\"logs\",\"output\"]", true }, { "[7,\"logs\"]", false }, { "{}", false } };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_(job_freep) Job *j = polling(c, true);
        char *body = str_printf("{\"status\":\"succeeded\",\"too_large\":%s}", cases[i].named);
        Fault f = { 0 };
        PollAnswer a;

        assert_int_equal(hear(j, 200, body, &a, &f), EV_FINAL);
        assert_int_equal(f.code, FAULT_OUTPUT_MISSING);
        assert_int_equal(strstr(f.detail, "more than 64 KiB") != NULL, cases[i].said);
        json_decref(a.root);
        free(body);
    }
}

static void test_progress(void **state) {
    static const struct {
        const char *logs;
        double progress;
    } cases[] = {
        { NULL, -1 },
        { "", -1 },
        { "Loading the model\nUsing seed: 7\n", -1 },
        { " 76%|####  | 7568/10000 [00:33<00:10, 235.00it/s]", 0.76 },
        { "  0%|          | 0/12 [00:00<?, ?it/s]", 0 },
        { "Sampling:  42%|\xe2\x96\x88\xe2\x96\x88  | 5/12 [00:02<00:03,  2.31it/s]\n", 0.42 },
        { "Diffusion Sampling:: 100%|#####| 50/50 [00:10<00:00]", 1 },
        { "Sampling:   8%|8 | 1/12\rSampling:  17%|# | 2/12\rSampling:  25%|## | 3/12\r", 0.25 },
        { "Sampling: 100%|###| 12/12\r\nVolume Decoding:   3%|#  | 9/300\r\nsaved\n", 0.03 },
        { "a\n 50%|##  | 1/2\nb\n\n\nc\n", 0.5 },
        { "100% sure\n", -1 },
        { "%|##|", -1 },
        { "simplify=95% Sampling:  42%|##  | 5/12", 0.42 },
        { "95% of 100% done", -1 },
        { "x%|##|", -1 },
        { "999%|##|", -1 },
        { "12345678901234567890%|##|", -1 },
        { "7%", -1 },
        { "7% ", -1 },
    };

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double p = poll_progress(cases[i].logs);

        print_message("# logs %zu\n", i);
        if (cases[i].progress < 0)
            assert_true(p < 0);
        else
            assert_true(fabs(p - cases[i].progress) < 0.001);
    }
}

/* A step's progress is its share of the job's, and never goes back. */
static void test_progress_of_the_job(void **state) {
    static const struct {
        const char *bar;
        double first, last;
    } cases[] = { { "A:  40%|##|", 0.2, 0.7 },
                  { "B:  10%|#|", 0.2, 0.7 },
                  { "none", 0.2, 0.7 },
                  { "C: 100%|####|", 0.5, 1 } };
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *first = polling(c, false), *last = polling(c, true);

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *body =
            str_printf("{\"status\":\"processing\",\"logs\":\"x\\r%s 1/2\\n\"}", cases[i].bar);
        Fault f = { 0 };
        PollAnswer a;

        assert_int_equal(hear(first, 200, body, &a, &f), EV_WAIT);
        json_decref(a.root);
        assert_int_equal(hear(last, 200, body, &a, &f), EV_WAIT);
        json_decref(a.root);
        assert_true(fabs(first->progress - cases[i].first) < 0.001);
        assert_true(fabs(last->progress - cases[i].last) < 0.001);
        free(body);
    }
}

static void test_no_memory(void **state) {
    _cleanup_(config_freep) Config *c = good(&nothing, GOOD);
    _cleanup_(job_freep) Job *j = polling(c, true);
    HttpReply r = reply_of(200, STORED("succeeded", MESH));

    (void) state;
    torture(n) {
        Fault f = { 0 };
        PollAnswer a;
        JobEvent ev = poll_hear(&r, j, NOW, &a, &f);

        /* Asked again, or handed back: what was bought is not over. */
        if (torture_failed())
            assert_true(ev == EV_OK || ev == EV_WAIT ||
                        (ev == EV_RETRY && f.code == FAULT_INTERNAL));
        else
            assert_int_equal(ev, EV_OK);
        assert_int_equal(j->output_url != NULL, ev == EV_OK);
        free(TAKE(j->output_url));
        json_decref(a.root);
    }
    http_reply_done(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delay),     cmocka_unit_test(test_ask),
        cmocka_unit_test(test_hear),      cmocka_unit_test(test_hear_no_prediction),
        cmocka_unit_test(test_errors),    cmocka_unit_test(test_image_errors),
        cmocka_unit_test(test_gone),      cmocka_unit_test(test_outputs),
        cmocka_unit_test(test_progress),  cmocka_unit_test(test_progress_of_the_job),
        cmocka_unit_test(test_data),      cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_no_memory),
    };

    torture_json();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
