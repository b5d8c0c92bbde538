/* meshifyctl: the operator's tool. Reads the command line and the configuration, connects, and runs one command of a
 * table; the commands are in ctl/. It never asks Replicate or the store, but for `doctor`. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/say.h"
#include "base/str.h"
#include "ctl/ctl.h"
#include "ctl/schema.h"
#include "daemon/database_trust.h"
#include "daemon/settings.h"

typedef struct Command {
    const char *name;
    int (*run)(Ctl *c);
    const char *arguments, *help;
} Command;

/* clang-format off */
static const Command commands[] = {
    { "status",    ctl_status,  "[--json]", "workers, queue, rates" },
    { "top",       ctl_top,     "", "the same and a bar for each running job, every second" },
    { "jobs",      ctl_jobs,    "[--status S] [--user ID] [--limit N] [--json]", "the newest jobs" },
    { "show",      ctl_show,    "JOB [--json]", "one job with its purchases and its history" },
    { "enqueue",   ctl_enqueue, "--user ID --project ID [--prompt TEXT] [--image URL|PATH] [--free] [--json]", "a new job" },
    { "migrate",   ctl_migrate, "[--dry-run | --print]", "brings the database to what meshifyd needs" },
    { "cancel",    ctl_cancel,    "JOB | --stuck [--json]", "ends a job; what was bought for it is canceled" },
    { "retry",     ctl_retry,     "JOB | --stuck [--json]", "a failed or canceled job again" },
    { "purchases", ctl_purchases, "[--surplus] [--limit N] [--json]", "the newest predictions" },
    { "stats",     ctl_stats,     "[--since 24h] [--json]", "rates, durations, failures, storage by owner" },
    { "pause",     ctl_pause,     "[--json]", "no instance claims any more" },
    { "resume",    ctl_resume,    "[--json]", "they do again" },
    { "settings",  ctl_settings,  "[KEY VALUE] [--json]", "shows or sets what holds for all instances" },
    { "drain",     ctl_drain,     "INSTANCE [--json]", "an instance hands its jobs back and stops" },
    { "doctor",    ctl_doctor,    "", "asks every outside system, and says what to do about it" },
};
/* clang-format on */

static void print_help(void) {
    puts("Usage: meshifyctl [-c FILE] COMMAND [OPTION...]\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        say(stdout, "  %-9s %s", commands[i].name, commands[i].arguments);
        say(stdout, "            %s", commands[i].help);
    }
    puts("\n  -c, --config FILE  read FILE, not $MESHIFY_CONFIG or " SYSCONFDIR
         "/meshify.ini ([database] only)\n"
         "      --version      print the version\n"
         "      --help         print this\n\n"
         "Exit status: 0 done, 1 not found or refused, 64 usage, 69 database unreachable, 78 bad "
         "configuration.");
}

/* Commands that take arguments check them themselves. For the others any argument is a mistake,
 * and is refused before anything is done. */
static bool takes_arguments(const Command *command) {
    return command->run == ctl_show || command->run == ctl_cancel || command->run == ctl_retry ||
           command->run == ctl_settings || command->run == ctl_drain;
}

/* Whole words only: an abbreviation would mean something else when a command is added. */
static const Command *find(const char *name) {
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* The typed text is shown cut, and without control characters. */
static int refuse(const char *what, const char *why) {
    char shown[100];

    say(stderr, "meshifyctl: '%s' %s. Try 'meshifyctl --help'.",
        str_clean(shown, sizeof shown, what), why);
    return EX_USAGE;
}

/* An option sets a text or a flag of the commands' own struct; --config, --version and --help are the program's. */
enum {
    OPT_VERSION = 256,
    OPT_HELP,
    OPT_STATUS, /* from here on: with a text */
    OPT_USER,
    OPT_LIMIT,
    OPT_PROJECT,
    OPT_PROMPT,
    OPT_IMAGE,
    OPT_SINCE,
    OPT_JSON, /* from here on: without one */
    OPT_FREE,
    OPT_DRY_RUN,
    OPT_PRINT,
    OPT_STUCK,
    OPT_SURPLUS,
};

static const struct option options[] = {
    { "config", required_argument, NULL, 'c' },
    { "json", no_argument, NULL, OPT_JSON },
    { "status", required_argument, NULL, OPT_STATUS },
    { "user", required_argument, NULL, OPT_USER },
    { "limit", required_argument, NULL, OPT_LIMIT },
    { "project", required_argument, NULL, OPT_PROJECT },
    { "prompt", required_argument, NULL, OPT_PROMPT },
    { "image", required_argument, NULL, OPT_IMAGE },
    { "free", no_argument, NULL, OPT_FREE },
    { "dry-run", no_argument, NULL, OPT_DRY_RUN },
    { "print", no_argument, NULL, OPT_PRINT },
    { "stuck", no_argument, NULL, OPT_STUCK },
    { "surplus", no_argument, NULL, OPT_SURPLUS },
    { "since", required_argument, NULL, OPT_SINCE },
    { "version", no_argument, NULL, OPT_VERSION },
    { "help", no_argument, NULL, OPT_HELP },
    { 0 },
};

/* Reads the command line into `c`. -1, or the exit status where there is nothing more to do. */
static int read_options(int argc, char **argv, Ctl *c, const char **ret_path) {
    const char **texts[] = { &c->status, &c->user,  &c->limit, &c->project,
                             &c->prompt, &c->image, &c->since };
    bool *flags[] = { &c->json, &c->free, &c->dry_run, &c->print, &c->stuck, &c->surplus };
    int opt;

    opterr = 0; /* getopt would repeat what it was given as it is */
    while ((opt = getopt_long(argc, argv, "c:", options, NULL)) >= 0) {
        if (opt == 'c')
            *ret_path = optarg;
        else if (opt == OPT_VERSION) {
            puts("meshifyctl " VERSION);
            return 0;
        } else if (opt == OPT_HELP) {
            print_help();
            return 0;
        } else if (opt >= OPT_JSON)
            *flags[opt - OPT_JSON] = true;
        else if (opt >= OPT_STATUS)
            *texts[opt - OPT_STATUS] = optarg;
        else
            return refuse(argv[optind - 1], "is not an option, or wants a value");
    }
    return -1;
}

/* Finds the command and what is left of the line for it. -1, or the exit status of a usage error. */
static int read_command(int argc, char **argv, Ctl *c, const Command **ret) {
    if (optind >= argc) {
        fputs("meshifyctl: a command is missing. Try 'meshifyctl --help'.\n", stderr);
        return EX_USAGE;
    }
    if (!(*ret = find(argv[optind])))
        return refuse(argv[optind], "is not a command");
    c->argc = argc - optind - 1;
    c->argv = argv + optind + 1;
    return c->argc > 0 && !takes_arguments(*ret) ? refuse(c->argv[0], "is too much") : -1;
}

/* The doctor reads all of the configuration, since it asks every outside system; other commands need the database
 * only. 0, or EX_CONFIG with the errors printed. */
static int read_config(const char *path, bool all, Config **ret) {
    ConfigErrors errors = { 0 };
    int r = settings_load(path, NULL, all ? CONFIG_FOR_DAEMON : CONFIG_FOR_TOOL, ret, &errors);

    if (r == 0 && (r = database_trust_check(*ret, &errors)) == 0 && errors.n > 0)
        r = -EINVAL;
    if (r < 0)
        say_lines(stderr, "",
                  errors.text ? errors.text : "meshifyctl: the configuration can't be read");
    else if (!all && database_trust_warn(*ret, &errors) == 0)
        say_lines(stderr, "warning: ", errors.text);
    config_errors_done(&errors);
    return r < 0 ? EX_CONFIG : 0;
}

int main(int argc, char **argv) {
    const Command *command = NULL;
    const char *path = NULL;
    Ctl c = { 0 };
    int status;

    if ((status = read_options(argc, argv, &c, &path)) >= 0 ||
        (status = read_command(argc, argv, &c, &command)) >= 0)
        return status;
    if (c.print && command->run == ctl_migrate) /* needs neither a configuration nor a database */
        return schema_print();
    status = read_config(path, command->run == ctl_doctor, &c.config);
    /* The doctor connects by itself: that the database can't be reached is one of its findings. */
    if (status == 0 && command->run != ctl_doctor)
        status = ctl_connect(&c);
    if (status == 0)
        status = command->run(&c);
    PQfinish(c.conn);
    config_free(c.config);
    return status;
}
