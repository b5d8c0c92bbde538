/* Steps, templates, hashes, pointers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/json.h"
#include "core/json_pointer.h"
#include "core/pipeline.h"
#include "torture.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static json_t *parse(const char *text) {
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);

    assert_non_null(value);
    return value;
}

static void models(void **state) {
    static const struct {
        const char *model;
        int result;
        ModelKind kind;
        const char *path, *version;
    } cases[] = {
        { "meta/llama-3.1_x", 0, MODEL_OFFICIAL, "models/meta/llama-3.1_x/predictions", NULL },
        { "a/b:" HEX64, 0, MODEL_VERSION, "predictions", HEX64 },
        { HEX64, 0, MODEL_VERSION, "predictions", HEX64 },
        { "deployment:a/b", 0, MODEL_DEPLOYMENT, "deployments/a/b/predictions", NULL },
        { "", -EINVAL, 0, NULL, NULL },
        { "a", -EINVAL, 0, NULL, NULL },
        { "a/", -EINVAL, 0, NULL, NULL },
        { "/b", -EINVAL, 0, NULL, NULL },
        { "a//b", -EINVAL, 0, NULL, NULL },
        { "a/b/c", -EINVAL, 0, NULL, NULL },
        { "a/..", -EINVAL, 0, NULL, NULL },
        { "a/b c", -EINVAL, 0, NULL, NULL },
        { "a/b#", -EINVAL, 0, NULL, NULL },
        { "a/b:", -EINVAL, 0, NULL, NULL },
        { "a/b:latest", -EINVAL, 0, NULL, NULL },
        { "a/b:" HEX64 "0", -EINVAL, 0, NULL, NULL },
        { HEX64 "0", -EINVAL, 0, NULL, NULL },
        { "deployment:" HEX64, -EINVAL, 0, NULL, NULL },
        { "deployment:a/b:" HEX64, -EINVAL, 0, NULL, NULL },
    };

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Step s = { 0 };

        assert_int_equal(pipeline_set_model(&s, cases[i].model), cases[i].result);
        if (cases[i].result == 0) {
            assert_int_equal(s.kind, cases[i].kind);
            assert_string_equal(s.model, cases[i].model);
            assert_string_equal(s.path, cases[i].path);
            if (cases[i].version)
                assert_string_equal(s.version, cases[i].version);
            else
                assert_null(s.version);
        }
        pipeline_step_done(&s);
    }
}

static void seeds(void **state) {
    /* These stand in databases: they never change. */
    static const struct {
        const char *job, *step;
        unsigned purchase;
        uint32_t seed;
    } cases[] = {
        { "00000000-0000-0000-0000-000000000000", "paint", 1, 124567584 },
        { "00000000-0000-0000-0000-000000000000", "paint", 2, 1752224616 },
        { "00000000-0000-0000-0000-000000000000", "sculpt", 1, 528829701 },
        { "5b0c6a5e-6f0e-4f58-9a6c-0c3d1f0c7a11", "sculpt", 11, 1792553132 },
    };
    unsigned char seen[1 << 16] = { 0 };
    unsigned distinct = 0;

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(pipeline_seed(cases[i].job, cases[i].step, cases[i].purchase),
                         cases[i].seed);
    assert_int_not_equal(pipeline_seed("a", "b1", 1), pipeline_seed("a", "b", 11));
    for (unsigned i = 0; i < 65536; i++) {
        uint32_t seed = pipeline_seed("job", "step", i);

        assert_true(seed <= 2147483647);
        distinct += !seen[seed & 0xffff]++;
    }
    /* 1 - 1/e of them, as chance would have it: the lower half is as good as the whole. */
    assert_in_range(distinct, 40900, 42000);
}

static const struct {
    const char *template, *filled;
} fills[] = {
    { "{}", "{}" },
    { "{\"a\": 1, \"b\": 2.5, \"c\": true, \"d\": null, \"e\": [], \"f\": {}}",
      "{\"a\": 1, \"b\": 2.5, \"c\": true, \"d\": null, \"e\": [], \"f\": {}}" },
    { "{\"p\": \"${prompt}\"}",
      "{\"p\": \"a \\\"quoted\\\" {chair} ${image} \\\\ \xf0\x9f\xaa\x91\"}" },
    { "{\"p\": \"<${job_id}|${asset_id}|${user_id}|${project_id}>\"}", "{\"p\": \"<J|A|U|P>\"}" },
    { "{\"s\": \"${seed}\", \"t\": \"${seed16}\"}", "{\"s\": 305419896, \"t\": 22136}" },
    { "{\"s\": \" ${seed}\", \"t\": \"${seed16}!\", \"u\": \"${seed}${seed}\"}",
      "{\"s\": \" 305419896\", \"t\": \"22136!\", \"u\": \"305419896305419896\"}" },
    { "{\"i\": [\"${image}\", [\"x${image}y\"], {\"k\": \"${image}\"}]}",
      "{\"i\": [\"https://h/i.png\", [\"xhttps://h/i.pngy\"], {\"k\": \"https://h/i.png\"}]}" },
    { "{\"p\": \"$ $$ ${ $} {prompt} ${nothing} $${job_id}\"}",
      "{\"p\": \"$ $$ ${ $} {prompt} ${nothing} $J\"}" },
    { "{\"${prompt}\": \"\"}", "{\"${prompt}\": \"\"}" },
};

static const TemplateVars vars = {
    .prompt = "a \"quoted\" {chair} ${image} \\ \xf0\x9f\xaa\x91",
    .image = "https://h/i.png",
    .job_id = "J",
    .asset_id = "A",
    .user_id = "U",
    .project_id = "P",
    .seed = 0x12345678,
};

static void templates(void **state) {
    static const TemplateVars empty, bad = { .prompt = "\xff" };
    json_t *filled;

    (void) state;
    for (size_t i = 0; i < sizeof fills / sizeof *fills; i++) {
        Step s = { .input = parse(fills[i].template) };
        json_t *wanted = parse(fills[i].filled);

        assert_int_equal(pipeline_fill(&s, &vars, &filled), 0);
        if (!json_equal(filled, wanted))
            fail_msg("%s becomes %s", fills[i].template, json_dumps(filled, 0));
        json_decref(filled);
        json_decref(wanted);
        pipeline_step_done(&s);
    }

    Step s = { .input = parse("{\"p\": \"${prompt}\", \"q\": \"a${image}\"}") };
    assert_int_equal(pipeline_fill(&s, &empty, &filled), 0);
    assert_string_equal(json_text(filled, "p"), "");
    assert_string_equal(json_text(filled, "q"), "a");
    json_decref(filled);
    assert_int_equal(pipeline_fill(&s, &bad, &filled), -EINVAL);
    pipeline_step_done(&s);
}

static void template_checks(void **state) {
    static const struct {
        const char *template, *bad;
        bool uses_image;
    } cases[] = {
        { "\"no variable, $5 and $x\"", NULL, false },
        { "\"${prompt}${seed}${seed16}${job_id}${asset_id}${user_id}${project_id}\"", NULL, false },
        { "[1, {\"a\": [\"x${image}\"]}]", NULL, true },
        { "\"${Prompt}\"", "${Prompt}", false },
        { "\"a ${prompt\"", "${prompt", false },
        { "[\"${image}\", {\"a\": \"${}\"}]", "${}", true },
        { "\"${prompt }\"", "${prompt }", false },
    };

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *value = parse(cases[i].template);
        bool uses_image = false;
        char text[32];
        const char *bad = pipeline_check_template(value, text, sizeof text, &uses_image);

        if (cases[i].bad) {
            assert_non_null(bad);
            assert_string_equal(bad, cases[i].bad);
        } else
            assert_null(bad);
        assert_int_equal(uses_image, cases[i].uses_image);
        json_decref(value);
    }
}

static void hash_of(const char *input, const char *keys, char ret[static HASH_HEX_SIZE]) {
    json_t *object = parse(input), *names = keys ? parse(keys) : NULL;

    assert_int_equal(pipeline_hash(object, names, ret), 0);
    json_decref(object);
    json_decref(names);
}

static void hashes(void **state) {
    static const struct {
        const char *one, *keys, *two;
        bool equal;
    } cases[] = {
        { "{\"a\": 1, \"b\": \"x\"}", NULL, "{\"b\": \"x\", \"a\": 1.0}", true },
        { "{\"a\": 1}", "[\"a\"]", "{\"default\": 7, \"a\": 1e0}", true },
        { "{\"a\": {\"x\": [1, {\"p\": 0, \"q\": 2}], \"y\": null}}", "[\"a\"]",
          "{\"a\": {\"y\": null, \"x\": [1.0, {\"q\": 2, \"p\": -0.0}]}, \"z\": []}", true },
        { "{\"a\": 1}", NULL, "{\"a\": \"1\"}", false },
        { "{\"a\": 1}", NULL, "{\"a\": true}", false },
        { "{\"a\": null}", NULL, "{\"a\": false}", false },
        { "{\"a\": null}", "[\"a\"]", "{}", false },
        { "{\"a\": [1, 2]}", NULL, "{\"a\": [2, 1]}", false },
        { "{\"a\": [[1], 2]}", NULL, "{\"a\": [[1, 2]]}", false },
        { "{\"a\": \"b\", \"c\": \"d\"}", NULL, "{\"a\": \"b1:cs1:d\"}", false },
        { "{\"a\": 1}", NULL, "{\"a\": 1, \"b\": 2}", false },
        { "{\"a\": 0.1}", NULL, "{\"a\": 0.10000000000000001}", true },
        { "{\"a\": 0.1}", NULL, "{\"a\": 0.1000000000000001}", false },
        { "{\"a\": \"\xc3\xa4\"}", NULL, "{\"a\": \"\\u00e4\"}", true },
    };
    char one[HASH_HEX_SIZE], two[HASH_HEX_SIZE];

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hash_of(cases[i].one, cases[i].keys, one);
        hash_of(cases[i].two, cases[i].keys, two);
        if ((strcmp(one, two) == 0) != cases[i].equal)
            fail_msg("%s and %s hash %s", cases[i].one, cases[i].two,
                     cases[i].equal ? "apart" : "alike");
    }
    /* It stands in databases: it never changes. SHA-256 of "o2:k1:an1:1k1:bs1:x". */
    hash_of("{\"b\": \"x\", \"a\": 1}", NULL, one);
    assert_string_equal(one, "dd457c970aabbc485ed13ade502aadb2c771b8243c488a76f46f0e6dc162af67");
}

static void keys(void **state) {
    json_t *object = parse("{\"b\": 1, \"a\": 2, \"B\": 3, \"\xc3\xa4\": 4}"), *names;
    json_t *wanted = parse("[\"B\", \"a\", \"b\", \"\xc3\xa4\"]");

    (void) state;
    assert_int_equal(pipeline_keys(object, &names), 0);
    assert_true(json_equal(names, wanted));
    json_decref(names);
    json_decref(wanted);
    json_decref(object);
}

static void pointers(void **state) {
    static const struct {
        const char *pointer, *found; /* NULL: nothing */
    } cases[] = {
        { "/a", "1" },     { "/b/0", "\"x\"" }, { "/b/1/c~1d", "2" }, { "/b/1/~0e", "3" },
        { "/b/1/", "4" },  { "/~01", "5" },     { "/b/2", NULL },     { "/b/-", NULL },
        { "/b/00", NULL }, { "/b/+1", NULL },   { "/b/", NULL },      { "/b/99999999999", NULL },
        { "/a/b", NULL },  { "/A", NULL },      { "a", NULL },        { "/~", NULL },
        { "/~2", NULL },   { "/a/", NULL },     { "/b/0/", NULL },    { "/ab", NULL },
    };
    json_t *root = parse("{\"a\": 1, \"b\": [\"x\", {\"c/d\": 2, \"~e\": 3, \"\": 4}], \"~1\": 5}");

    (void) state;
    assert_ptr_equal(json_pointer_get(root, ""), root);
    assert_null(json_pointer_get(NULL, "/a"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *found = json_pointer_get(root, cases[i].pointer);
        json_t *wanted = cases[i].found ? parse(cases[i].found) : NULL;

        if (!!found != !!wanted || (found && !json_equal(found, wanted)))
            fail_msg("'%s' leads to %s", cases[i].pointer, found ? "something else" : "nothing");
        json_decref(wanted);
    }
    json_decref(root);
}

static void without_memory(void **state) {
    Step s = { .name = strdup("n"), .output = strdup("/0") };
    char hash[HASH_HEX_SIZE];
    long hits = 0;

    (void) state;
    torture(n) {
        int r = pipeline_set_model(&s, "a/b:" HEX64);

        assert_int_equal(r, torture_failed() ? -ENOMEM : 0);
    }
    s.input =
        parse("{\"p\": \"a ${prompt}\", \"s\": [\"${seed}\", {\"x\": 1.5}], \"i\": \"${image}\"}");
    torture(n) {
        json_t *input = NULL, *names = NULL;
        Step copy = { 0 };
        int r = pipeline_copy_step(&copy, &s);

        if (r == 0)
            r = pipeline_fill(&copy, &vars, &input);
        if (r == 0)
            r = pipeline_keys(input, &names);
        if (r == 0)
            r = pipeline_hash(input, names, hash);
        assert_int_equal(r, torture_failed() ? -ENOMEM : 0);
        hits = n;
        json_decref(input);
        json_decref(names);
        pipeline_step_done(&copy);
    }
    assert_true(hits > 20);
    pipeline_step_done(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models),    cmocka_unit_test(seeds),
        cmocka_unit_test(templates), cmocka_unit_test(template_checks),
        cmocka_unit_test(hashes),    cmocka_unit_test(keys),
        cmocka_unit_test(pointers),  cmocka_unit_test(without_memory),
    };

    torture_json();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("pipeline", tests, NULL, NULL);
}
