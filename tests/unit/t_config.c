/* The configuration: values, where they come from, and what wins.
 * `t_config --print-table` prints keys and defaults for tests/lint/options. */
#include <syslog.h>

#include "core/config_value.h"
#include "parse.h"
#include "torture.h"

static void defaults(void **state) {
    Config *c = good(&nothing, GOOD);

    (void) state;
    assert_string_equal(c->instance, "box");
    assert_int_equal(c->max_jobs, 256);
    assert_int_equal(c->max_jobs_per_user, 0);
    assert_int_equal(c->max_attempts, 5);
    assert_int_equal(c->max_age_usec, USEC_PER_DAY);
    assert_int_equal(c->retry_base_usec, 5 * USEC_PER_SECOND);
    assert_int_equal(c->retry_max_usec, 10 * USEC_PER_MINUTE);
    assert_int_equal(c->job_timeout_usec, 30 * USEC_PER_MINUTE);
    assert_int_equal(c->drain_timeout_usec, 30 * USEC_PER_SECOND);
    assert_string_equal(c->spool_dir, "/var/cache/meshifyd");
    assert_int_equal(c->spool_max_bytes, UINT64_C(8) << 30);
    assert_null(c->database_url.text);
    assert_null(c->listen_url.text);
    assert_int_equal(c->listen, CONFIG_LISTEN_AUTO);
    assert_int_equal(c->poll_interval_usec, 30 * USEC_PER_SECOND);
    assert_int_equal(c->lease_usec, 60 * USEC_PER_SECOND);
    assert_int_equal(c->event_retention_usec, 30 * USEC_PER_DAY);
    assert_string_equal(c->replicate_url, "https://api.replicate.com/v1");
    assert_string_equal(c->replicate_token.text, "r8_test");
    assert_int_equal(c->create_rate, 600);
    assert_int_equal(c->poll_rate, 30000);
    assert_int_equal(c->request_rate, 3000);
    assert_int_equal(c->create_timeout_usec, 30 * USEC_PER_SECOND);
    assert_false(c->allow_insecure);
    assert_int_equal(c->poll_min_usec, USEC_PER_SECOND);
    assert_int_equal(c->poll_max_usec, 15 * USEC_PER_SECOND);
    assert_null(c->webhook_url);
    assert_string_equal(c->download_hosts, "replicate.delivery *.replicate.delivery");
    assert_int_equal(c->storage_driver, STORAGE_SUPABASE);
    assert_string_equal(c->storage_url, "https://p.supabase.co");
    assert_null(c->public_url);
    assert_string_equal(c->storage_key.text, "service");
    assert_null(c->access_key_id);
    assert_null(c->secret_access_key.text);
    assert_string_equal(c->region, "us-east-1");
    assert_string_equal(c->bucket, "user_assets");
    assert_string_equal(c->storage_path, "{user_id}/{project_id}/mesh_{asset_id}.glb");
    assert_int_equal(c->resumable_above_bytes, 6 << 20);
    assert_int_equal(c->asset_max_bytes, 500 << 20);
    assert_int_equal(c->validate, VALIDATE_STRICT);
    assert_null(c->clamd);
    assert_string_equal(c->metrics_listen, "127.0.0.1:9464");
    assert_int_equal(c->log_level, LOG_INFO);
    assert_int_equal(c->log_target, LOG_TARGET_AUTO);
    config_free(c);
}

static void default_pipelines(void **state) {
    Config *c = good(&nothing, GOOD);
    const Step *paint = &c->text->steps[0], *sculpt = &c->text->steps[1];

    (void) state;
    assert_string_equal(c->text->name, "text");
    assert_int_equal(c->text->n_steps, 2);
    assert_string_equal(paint->name, "paint");
    assert_int_equal(paint->kind, MODEL_OFFICIAL);
    assert_string_equal(paint->path, "models/black-forest-labs/flux-schnell/predictions");
    assert_null(paint->version);
    assert_string_equal(paint->output, "/0");
    assert_int_equal(paint->timeout_usec, 2 * USEC_PER_MINUTE);
    assert_false(paint->uses_image);
    assert_string_equal(json_string_value(json_object_get(paint->input, "prompt")),
                        "${prompt}, single object, white background");
    assert_string_equal(json_string_value(json_object_get(paint->input, "output_format")), "png");
    assert_int_equal(json_object_size(paint->input), 3);

    assert_string_equal(sculpt->name, "sculpt");
    assert_int_equal(sculpt->kind, MODEL_VERSION);
    assert_string_equal(sculpt->path, "predictions");
    assert_string_equal(sculpt->version,
                        "e8f6c45206993f297372f5436b90350817bd9b4a0d52d2a76df50c1c8afa2b3c");
    assert_true(sculpt->uses_image);
    assert_int_equal(sculpt->timeout_usec, 15 * USEC_PER_MINUTE);
    assert_true(json_is_true(json_object_get(sculpt->input, "generate_model")));
    assert_true(json_is_false(json_object_get(sculpt->input, "randomize_seed")));
    assert_true(json_is_array(json_object_get(sculpt->input, "images")));

    assert_string_equal(c->image->name, "image");
    assert_int_equal(c->image->n_steps, 1);
    assert_string_equal(c->image->steps[0].name, "sculpt");
    config_free(c);
}

static void values(void **state) {
    Config *c = good(&nothing, "\xef\xbb\xbf; a comment\r\n"
                               "# another\n"
                               "  [ worker ]   ; and one here\r\n"
                               "instance=a.b_c-1\r\n"
                               "max_jobs = 100000 ; the most\n"
                               "max_age: 0\n"
                               "retry_base = 250ms\nretry_max = 2 h\ndrain_timeout = 0s\n"
                               "spool_dir = /a b/c\nspool_max = 2TiB\n"
                               "[database]\n"
                               "url = host=/run/pg dbname=x password='a=b'\n"
                               "listen = off\n"
                               "[replicate]\n"
                               "url = http://127.0.0.1:8080/v1/\nallow_insecure = on\ntoken=t\n"
                               "create_rate = 10/s\n"
                               "download_hosts = 127.0.0.1:8081,  *.a.example\tb.example,\n"
                               "webhook_url =\n"
                               "[storage]\ndriver = dir\nurl = /srv/meshes\nbucket = b\n"
                               "path = x/{job_id}\nresumable_above = 0\n"
                               "[asset]\nmax_size = 1GiB\nvalidate = off\n"
                               "[metrics]\nlisten =\n"
                               "[log]\nlevel = err\ntarget = json\n");

    (void) state;
    assert_string_equal(c->instance, "a.b_c-1");
    assert_int_equal(c->max_jobs, 100000);
    assert_int_equal(c->max_age_usec, 0);
    assert_int_equal(c->retry_base_usec, 250000);
    assert_int_equal(c->retry_max_usec, 2 * USEC_PER_HOUR);
    assert_int_equal(c->drain_timeout_usec, 0);
    assert_string_equal(c->spool_dir, "/a b/c");
    assert_int_equal(c->spool_max_bytes, UINT64_C(2) << 40);
    assert_string_equal(c->database_url.text, "host=/run/pg dbname=x password='a=b'");
    assert_string_equal(c->listen_url.text, c->database_url.text);
    assert_int_equal(c->listen, CONFIG_LISTEN_OFF);
    assert_int_equal(c->poll_interval_usec, USEC_PER_SECOND);
    assert_string_equal(c->replicate_url, "http://127.0.0.1:8080/v1/");
    assert_true(c->allow_insecure);
    assert_int_equal(c->create_rate, 600);
    assert_string_equal(c->download_hosts, "127.0.0.1:8081 *.a.example b.example");
    assert_int_equal(c->storage_driver, STORAGE_DIR);
    assert_string_equal(c->storage_url, "/srv/meshes");
    assert_null(c->storage_key.text);
    assert_string_equal(c->storage_path, "x/{job_id}");
    assert_int_equal(c->resumable_above_bytes, 0);
    assert_int_equal(c->validate, VALIDATE_OFF);
    assert_string_equal(c->metrics_listen, "");
    assert_int_equal(c->log_level, LOG_ERR);
    assert_int_equal(c->log_target, LOG_TARGET_JSON);
    config_free(c);
}

static void order(void **state) {
    char *environ_[] = { "DATABASE_URL=postgres://env/",
                         "REPLICATE_API_TOKEN=env",
                         "SUPABASE_URL=https://env.supabase.co",
                         "SUPABASE_SERVICE_ROLE_KEY=",
                         "AWS_ACCESS_KEY_ID=ignored",
                         "AWS_REGION=ignored",
                         "REPLICATE_API_TOKENS=no",
                         "CACHE_DIRECTORY=/run/cache:/other",
                         NULL };
    ConfigText credentials[] = {
        { "meshifyd.replicate_api_token", "stored\n", 7 },
        { "database_url", "postgres://credential/\n", 23 },
        { "meshifyd.database_url", "postgres://other/", 17 },
        { "supabase_service_role_key", "credkey \r\n", 10 },
        { "unrelated", "\n", 1 },
    };
    const char dropin[] = "[worker]\nmax_jobs = 3\n[storage]\nbucket = drop\n";
    ConfigSource src = { .dropin = { "d.ini", dropin, strlen(dropin) } };
    Config *c = good(&src, GOOD "[worker]\nmax_jobs = 2\nmax_attempts = 7\n[database]\n"
                                "url = postgres://file/\n");

    (void) state;
    assert_int_equal(c->max_jobs, 3);
    assert_int_equal(c->max_attempts, 7);
    assert_string_equal(c->bucket, "drop");
    assert_string_equal(c->database_url.text, "postgres://file/");
    config_free(c);

    src.environ = environ_;
    c = good(&src, GOOD "[database]\nurl = postgres://file/\n");
    assert_string_equal(c->database_url.text, "postgres://env/");
    assert_string_equal(c->listen_url.text, "postgres://env/");
    assert_string_equal(c->replicate_token.text, "env");
    assert_string_equal(c->storage_url, "https://env.supabase.co");
    assert_string_equal(c->storage_key.text, "service");
    assert_string_equal(c->region, "us-east-1");
    assert_string_equal(c->spool_dir, "/run/cache");
    config_free(c);

    src.credentials = credentials;
    src.n_credentials = 5;
    c = good(&src, GOOD "[database]\nlisten_url = postgres://l/\n[worker]\nspool_dir = /own\n");
    assert_string_equal(c->database_url.text, "postgres://credential/");
    assert_string_equal(c->listen_url.text, "postgres://l/");
    assert_string_equal(c->replicate_token.text, "stored");
    assert_string_equal(c->storage_key.text, "credkey");
    assert_string_equal(c->spool_dir, "/own");
    config_free(c);

    /* With another driver, Supabase's variables mean nothing. */
    c = good(&src, "[storage]\ndriver = dir\nurl = /srv\n");
    assert_string_equal(c->storage_url, "/srv");
    assert_null(c->storage_key.text);
    config_free(c);
}

static void labels(void **state) {
    ConfigSource src = { .host = "a host/with:much" };
    Config *c = good(&src, GOOD);
    char longest[300];

    (void) state;
    assert_string_equal(c->instance, "a-host-with-much");
    config_free(c);
    src.host = "";
    c = good(&src, GOOD);
    assert_string_equal(c->instance, "localhost");
    config_free(c);
    src.host = "box";
    src.instance = "an-instance-with-a-name-of-36-bytes-";
    c = good(&src, GOOD);
    assert_string_equal(c->instance, "box@an-instance-with-a-name-of-36-by");
    config_free(c);
    src.instance = "2";
    c = good(&src, GOOD);
    assert_string_equal(c->instance, "box@2");
    config_free(c);
    c = good(&src, GOOD "[worker]\ninstance = mine\n");
    assert_string_equal(c->instance, "mine");
    config_free(c);
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    src.host = longest;
    c = good(&src, GOOD);
    assert_int_equal(strlen(c->instance), 64);
    assert_string_equal(c->instance + 62, "@2");
    config_free(c);
}

static void steps(void **state) {
    const char dropin[] = "[step sculpt]\nmodel = deployment:me/fast\ninput.a = ${image}\n"
                          "[pipeline text]\nsteps = paint,sculpt sculpt2\n";
    ConfigSource src = { .dropin = { "d.ini", dropin, strlen(dropin) } };
    Config *c =
        good(&src, GOOD "[step sculpt]\n"
                        "model = acme/mesh\n"
                        "input.gone = 1\n"
                        "[step sculpt2]\n"
                        "model = 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"
                        "input.list = [1, ; one\n"
                        "\t2.5,   ; two\n"
                        "\n"
                        "  \"${seed}\"]\n"
                        "input.text = [not json\n"
                        "input.deep = {\"a\": {\"b\": \"x ${image} y\"}}\n"
                        "input.empty =\n"
                        "input.escaped = \"a\\u003b b\"\n"
                        "output =\n");
    const Step *s;

    (void) state;
    assert_int_equal(c->text->n_steps, 3);
    s = &c->text->steps[1];
    assert_int_equal(s->kind, MODEL_DEPLOYMENT);
    assert_string_equal(s->path, "deployments/me/fast/predictions");
    assert_int_equal(json_object_size(s->input), 1);
    assert_int_equal(s->timeout_usec, 15 * USEC_PER_MINUTE);
    assert_null(s->output);
    s = &c->text->steps[2];
    assert_int_equal(s->kind, MODEL_VERSION);
    assert_int_equal(json_array_size(json_object_get(s->input, "list")), 3);
    assert_string_equal(json_string_value(json_object_get(s->input, "text")), "[not json");
    assert_string_equal(json_string_value(json_object_get(s->input, "empty")), "");
    assert_string_equal(json_string_value(json_object_get(s->input, "escaped")), "a; b");
    assert_true(s->uses_image);
    assert_null(s->output);
    assert_string_equal(c->image->steps[0].path, "deployments/me/fast/predictions");
    config_free(c);
}

static void long_lines(void **state) {
    char text[40000], line[17000];
    Config *c;
    ConfigErrors e = { 0 };

    (void) state;
    memset(line, 'p', sizeof line);
    line[3000] = '\0';
    snprintf(text, sizeof text, GOOD "[step paint]\nmodel = a/b\ninput.prompt = %s = : %s\n", line,
             line);
    c = good(&nothing, text);
    assert_int_equal(json_string_length(json_object_get(c->text->steps[0].input, "prompt")), 6005);
    config_free(c);

    line[3000] = 'p';
    line[16990] = '\0';
    snprintf(text, sizeof text,
             GOOD "[worker]\nmax_jobs = 7\ninstance = %s\n  more = 1\nmax_age = x\n", line);
    assert_int_equal(parse_all(&nothing, text, &c, &e), -EINVAL);
    assert_string_equal(e.text,
                        "f.ini:8: the line is too long; at most 16381 bytes\n"
                        "f.ini:10: [worker] max_age: 'x' is not possible; allowed is a duration "
                        "from 0 to 3650d (units: ms, s, min, h, d)\n");
    config_errors_done(&e);
}

static void tool(void **state) {
    ConfigSource src = { .needs = 77 };
    char *environ_[] = { "REPLICATE_API_TOKEN=bad token", NULL };
    ConfigErrors e = { 0 };
    Config *c;

    (void) state;
    src.environ = environ_;
    c = good(&src, "[database]\nurl = postgres://x/\n[worker]\nnonsense\n[step a]\n[step a]\n");
    assert_string_equal(c->database_url.text, "postgres://x/");
    assert_null(c->text);
    config_free(c);
    c = good(&src, NULL);
    config_free(c);
    assert_int_equal(parse_all(&src, "[databse]\nurl = x\n[database]\nlease = 1\n", &c, &e),
                     -EINVAL);
    assert_int_equal(e.n, 2);
    config_errors_done(&e);
}

static void without_memory(void **state) {
    char *environ_[] = { "DATABASE_URL=postgres://x/", "CACHE_DIRECTORY=/c", NULL };
    ConfigText credential = { "replicate_api_token", "t\n", 2 };
    ConfigSource src = { .environ = environ_, .credentials = &credential, .n_credentials = 1 };
    static const char text[] = GOOD "[step b]\nmodel = a/b\ninput.x = [1,\n  \"a\"]\noutput = /a\n"
                                    "[pipeline text]\nsteps = paint, b\n";
    Config *whole = good(&src, text);
    long hits = 0;

    (void) state;
    torture(n) {
        ConfigErrors e = { 0 };
        Config *c = NULL;
        int r = parse_all(&src, text, &c, &e);

        /* jansson does not tell want of memory from bad JSON; but JSON may not become a string. */
        if (r == -EINVAL)
            assert_non_null(strstr(e.text, "is JSON that"));
        else if (r == 0)
            assert_true(json_equal(c->text->steps[1].input, whole->text->steps[1].input) &&
                        json_equal(c->text->steps[0].input, whole->text->steps[0].input));
        else
            assert_int_equal(r, -ENOMEM);
        assert_true(r == 0 || torture_failed());
        config_errors_done(&e);
        config_free(c);
        hits = n;
    }
    config_free(whole);
    assert_true(hits > 100);
    torture(n) {
        ConfigErrors e = { 0 };
        Config *c = NULL;
        int r = parse_all(&src, "[worker]\nx = 1\nmax_jobs = 0\n[x]\n[step a]\n", &c, &e);

        assert_true(r == -EINVAL || (torture_failed() && r == -ENOMEM));
        assert_in_range(e.n, r == -EINVAL ? 6 : 0, r == -EINVAL ? 7 : 0);
        config_errors_done(&e);
    }
}

static bool fits(ConfigKind kind, ConfigType type) {
    switch (kind) {
    case CONFIG_UINT:
    case CONFIG_RATE:
        return type == CONFIG_IS_UNSIGNED;
    case CONFIG_DURATION:
    case CONFIG_SIZE:
        return type == CONFIG_IS_UINT64;
    case CONFIG_SWITCH:
        return type == CONFIG_IS_BOOL;
    case CONFIG_WORD:
        return type == CONFIG_IS_UNSIGNED || type == CONFIG_IS_INT;
    case CONFIG_DATABASE:
    case CONFIG_KEY:
        return type == CONFIG_IS_SECRET;
    default:
        return type == CONFIG_IS_TEXT;
    }
}

/* A row that was copied and not changed whole would set another's field, or write over its neighbours. */
static void fields(void **state) {
    (void) state;
    for (size_t i = 0; i < CONFIG_KEYS; i++) {
        print_message("# %s\n", config_table[i].name);
        assert_true(fits(config_table[i].kind, config_table[i].type));
        for (size_t k = 0; k < i; k++) {
            assert_int_not_equal(config_table[i].field, config_table[k].field);
            assert_string_not_equal(config_table[i].name, config_table[k].name);
        }
    }
}

static int print_table(void) {
    ConfigHelp h;

    for (size_t i = 0; config_help(i, &h); i++)
        printf("%s=%s\n", h.name, h.standard);
    printf("\n%s", config_builtin());
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),       cmocka_unit_test(default_pipelines),
        cmocka_unit_test(values),         cmocka_unit_test(order),
        cmocka_unit_test(labels),         cmocka_unit_test(steps),
        cmocka_unit_test(long_lines),     cmocka_unit_test(tool),
        cmocka_unit_test(without_memory), cmocka_unit_test(fields),
    };

    if (argc > 1 && strcmp(argv[1], "--print-table") == 0)
        return print_table();
    torture_json();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
