/* What the targets that read answers and rows share. */
#pragma once
#include <stdint.h>
#include <stdlib.h>

#include "core/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* The smallest configuration of a daemon; read once. */
static Config *config(void) {
    static const char text[] = "[replicate]\ntoken = r8_test\n[storage]\n"
                               "url = https://p.supabase.co\nkey = sb_secret_x\n";
    static Config *c;
    ConfigSource src = { .file = { "f", text, sizeof text - 1 },
                         .host = "h",
                         .needs = CONFIG_FOR_DAEMON };
    ConfigErrors e = { 0 };

    if (!c && config_parse(&src, &c, &e) < 0)
        abort();
    return c;
}
