/* A configuration from a text, as the tests of it need it. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"

/* Enough for a daemon. */
#define GOOD "[replicate]\ntoken = r8_test\n[storage]\nurl = https://p.supabase.co\nkey = service\n"

static int parse_all(const ConfigSource *with, const char *file, Config **ret, ConfigErrors *e) {
    ConfigSource src = *with;

    src.file = (ConfigText){ "f.ini", file, file ? strlen(file) : 0 };
    src.host = src.host ? src.host : "box";
    src.needs = with->needs == 77 ? CONFIG_FOR_TOOL : CONFIG_FOR_DAEMON;
    return config_parse(&src, ret, e);
}

__attribute__((unused)) static Config *good(const ConfigSource *with, const char *file) {
    ConfigErrors e = { 0 };
    Config *c = NULL;
    int r = parse_all(with, file, &c, &e);

    if (r != 0)
        print_message("# %s", e.text ? e.text : "no errors\n");
    assert_int_equal(r, 0);
    assert_null(e.text);
    return c;
}

static const ConfigSource nothing;
