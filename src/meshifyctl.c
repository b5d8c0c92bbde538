/* meshifyctl: the operator's tool. */
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
    { "cancel",    ctl_cancel,    "JOB | --stuck [--json]", "ends a job; what was bought for it is cancelled" },
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

/* Those that do say themselves what they take. */
static bool takes_arguments(const Command *command) {
    return command->run == ctl_show || command->run == ctl_cancel || command->run == ctl_retry ||
           command->run == ctl_settings || command->run == ctl_drain;
}

static const Command *find(const char *name) {
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* What was typed is shown bounded, and without what a terminal obeys. */
static int refuse(const char *what, const char *why) {
    char shown[100];

    say(stderr, "meshifyctl: '%s' %s. Try 'meshifyctl --help'.",
        str_clean(shown, sizeof shown, what), why);
    return EX_USAGE;
}

int main(int argc, char **argv) {
    enum {
        OPT_JSON = 256,
        OPT_STATUS,
        OPT_USER,
        OPT_LIMIT,
        OPT_PROJECT,
        OPT_PROMPT,
        OPT_IMAGE,
        OPT_FREE,
        OPT_DRY_RUN,
        OPT_PRINT,
        OPT_STUCK,
        OPT_SURPLUS,
        OPT_SINCE,
        OPT_VERSION,
        OPT_HELP
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
    const char *path = NULL;
    const Command *command;
    ConfigErrors errors = { 0 };
    Ctl c = { 0 };
    int opt, status;

    opterr = 0; /* getopt would repeat what it was given as it is */
    while ((opt = getopt_long(argc, argv, "c:", options, NULL)) >= 0) {
        switch (opt) {
        case 'c':
            path = optarg;
            break;
        case OPT_JSON:
            c.json = true;
            break;
        case OPT_STATUS:
            c.status = optarg;
            break;
        case OPT_USER:
            c.user = optarg;
            break;
        case OPT_LIMIT:
            c.limit = optarg;
            break;
        case OPT_PROJECT:
            c.project = optarg;
            break;
        case OPT_PROMPT:
            c.prompt = optarg;
            break;
        case OPT_IMAGE:
            c.image = optarg;
            break;
        case OPT_FREE:
            c.free = true;
            break;
        case OPT_DRY_RUN:
            c.dry_run = true;
            break;
        case OPT_PRINT:
            c.print = true;
            break;
        case OPT_STUCK:
            c.stuck = true;
            break;
        case OPT_SURPLUS:
            c.surplus = true;
            break;
        case OPT_SINCE:
            c.since = optarg;
            break;
        case OPT_VERSION:
            puts("meshifyctl " VERSION);
            return 0;
        case OPT_HELP:
            print_help();
            return 0;
        default:
            return refuse(argv[optind - 1], "is not an option, or wants a value");
        }
    }
    if (optind >= argc) {
        fputs("meshifyctl: a command is missing. Try 'meshifyctl --help'.\n", stderr);
        return EX_USAGE;
    }
    if (!(command = find(argv[optind])))
        return refuse(argv[optind], "is not a command");
    c.argc = argc - optind - 1;
    c.argv = argv + optind + 1;
    if (c.argc > 0 && !takes_arguments(command))
        return refuse(c.argv[0], "is too much");
    if (c.print && command->run == ctl_migrate) /* of no database */
        return schema_print();

    status =
        settings_load(path, NULL, command->run == ctl_doctor ? CONFIG_FOR_DAEMON : CONFIG_FOR_TOOL,
                      &c.config, &errors);
    if (status == 0 && (status = database_trust_check(c.config, &errors)) == 0 && errors.n > 0)
        status = -EINVAL;
    if (status < 0) {
        say_lines(stderr, "",
                  errors.text ? errors.text : "meshifyctl: the configuration can't be read");
        config_errors_done(&errors);
        config_free(c.config);
        return EX_CONFIG;
    }
    if (command->run != ctl_doctor && database_trust_warn(c.config, &errors) == 0)
        say_lines(stderr, "warning: ", errors.text);
    config_errors_done(&errors);
    status = command->run == ctl_doctor ? 0 : ctl_connect(&c);
    if (status == 0)
        status = command->run(&c);
    PQfinish(c.conn);
    config_free(c.config);
    return status;
}
