/* Any text as a configuration: read or refused with reasons, and no secret in them. A NUL byte ends
 * the file and begins the drop-in. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/json_pointer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void use(const Pipeline *p) {
    static const TemplateVars vars = {
        .prompt = "a ${image} \"chair\"", .image = "https://h/i.png", .job_id = "j", .seed = 7
    };

    if (!p || p->n_steps < 1 || p->n_steps > PIPELINE_STEPS_MAX)
        abort();
    for (size_t i = 0; i < p->n_steps; i++) {
        char hash[HASH_HEX_SIZE];
        json_t *input = NULL;

        if (pipeline_fill(&p->steps[i], &vars, &input) < 0 ||
            pipeline_hash(input, NULL, hash) < 0 ||
            json_object_size(input) != json_object_size(p->steps[i].input))
            abort();
        json_pointer_get(input, p->steps[i].output ? p->steps[i].output : "");
        json_decref(input);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static char *environ_[] = { "REPLICATE_API_TOKEN=hidden1 bad",
                                "SUPABASE_URL=https://p.supabase.co",
                                "SUPABASE_SERVICE_ROLE_KEY=hidden2", NULL };
    static const ConfigText token = { "replicate_api_token", "hidden3\n", 8 };
    const char *text = (const char *) bytes, *end = memchr(text, '\0', size);
    size_t first = end ? (size_t) (end - text) : size;
    ConfigSource src = { .file = { "f", text, first },
                         .environ = environ_ + (size > 0 && bytes[0] % 2),
                         .credentials = &token,
                         .n_credentials = 1,
                         .host = "h",
                         .needs =
                             size > 1 && bytes[1] == '!' ? CONFIG_FOR_TOOL : CONFIG_FOR_DAEMON };
    ConfigErrors e = { 0 };
    Config *c = NULL;
    int r;

    if (end)
        src.dropin = (ConfigText){ "d", end + 1, size - first - 1 };
    r = config_parse(&src, &c, &e);
    if (r == -EINVAL) {
        if (!e.text || e.n == 0 ||
            (strstr(e.text, "hidden") && !memmem(bytes, size, "hidden", 6)) ||
            e.text[strlen(e.text) - 1] != '\n')
            abort();
    } else if (r != 0 || !c || e.text || c->max_jobs < 1 || c->max_jobs > 100000 || !c->instance ||
               c->poll_min_usec == 0)
        abort();
    else if (src.needs == CONFIG_FOR_DAEMON) {
        use(c->text);
        use(c->image);
    }
    config_errors_done(&e);
    config_free(c);
    return 0;
}
