/*
 * meshifyd: takes jobs from PostgreSQL, has meshes made by Replicate, and stores them.
 *
 * Here are its arguments, its signals and the way it stops; a running instance is daemon/instance.c.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/say.h"
#include "base/str.h"
#include "ctl/doctor.h"
#include "daemon/database_trust.h"
#include "daemon/instance.h"
#include "daemon/libraries.h"
#include "daemon/settings.h"
#include "daemon/timer.h"
#include "io/descriptors.h"

/* Of drain_timeout, what is left for closings and our row after uploads were let go. */
#define END_USEC (5 * USEC_PER_SEC)

typedef struct Daemon {
    const Config *config;
    Instance *instance;
    sd_event *event;
    sd_event_source *deadline, *done;
    unsigned terms;
    bool drain_expired, ending;
} Daemon;

static const char help[] =
    "Usage: meshifyd [OPTION...]\n"
    "Takes jobs from PostgreSQL, has meshes made by Replicate, and stores them.\n\n"
    "  -c, --config FILE    read FILE, not $MESHIFY_CONFIG or " SYSCONFDIR "/meshify.ini\n"
    "  -t, --test-config    read the configuration, print every error, and exit\n"
    "      --check          try every outside system once, and say what to do about it\n"
    "      --instance NAME  call it HOST@NAME in logs; read meshify.d/NAME.ini too\n"
    "      --version        print the version\n"
    "      --help           print this\n\n"
    "Signals: TERM or INT drains and stops, a second one stops at once; USR1 logs every job in "
    "flight.\n";

/* --- stopping ------------------------------------------------------------------------------ */

/* Uploads and purchases get so long to end by themselves; what is left is for closings and our row. */
static uint64_t drain_usec(const Config *c) {
    uint64_t all = c->drain_timeout_usec;

    return all > 2 * END_USEC ? all - END_USEC : all / 2;
}

static unsigned jobs_in_flight(const Daemon *d) {
    return instance_worker(d->instance)->n_tasks;
}

/* Run after each event: the last job, or the last call, may just have ended. */
static int on_idle(sd_event_source *source, void *userdata) {
    Daemon *d = userdata;
    const Db *db = instance_worker(d->instance)->db;

    (void) source;
    if (!instance_is_idle(d->instance))
        return 0;
    if (!d->ending)
        instance_end(d->instance);
    d->ending = true;
    if (db_pending(db) == 0 || !db_is_up(db))
        (void) sd_event_exit(d->event, 0);
    return 0;
}

/* First what holds jobs is let go, then the daemon leaves, before systemd would kill it. */
static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
    Daemon *d = userdata;

    (void) usec;
    if (d->drain_expired) {
        log_line(LOG_WARNING, STOPPED,
                 "%u jobs could not be requeued in time; others take them over when the lease has "
                 "expired",
                 jobs_in_flight(d));
        (void) sd_event_exit(d->event, 0);
        return 0;
    }
    d->drain_expired = true;
    instance_let_go(d->instance);
    timer_start(source, d->config->drain_timeout_usec - drain_usec(d->config));
    return 0;
}

/* The first drains; an operator who has no time sends another. */
static int on_term(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
    Daemon *d = userdata;

    (void) source;
    (void) si;
    if (++d->terms > 1) {
        log_line(
            LOG_WARNING, STOPPED,
            "Second signal: stopping at once; others take over %u jobs when the lease has expired",
            jobs_in_flight(d));
        (void) sd_event_exit(d->event, 0);
        return 0;
    }
    log_line(LOG_NOTICE, STOPPING, "Stopping: %u jobs in flight", jobs_in_flight(d));
    instance_drain(d->instance);
    (void) sd_event_add_time_relative(d->event, &d->deadline, CLOCK_MONOTONIC,
                                      drain_usec(d->config), 0, on_deadline, d);
    (void) sd_event_add_post(d->event, &d->done, on_idle, d);
    /* Post sources run after others; this makes one turn come even when nothing is in flight. */
    (void) sd_event_source_set_enabled(d->done, SD_EVENT_ON);
    (void) sd_event_add_defer(d->event, NULL, on_idle, d);
    return 0;
}

static int on_usr1(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
    Daemon *d = userdata;

    (void) source;
    (void) si;
    instance_dump(d->instance);
    return 0;
}

/* Answered, so that nobody takes silence for a reload. */
static int on_hup(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
    (void) source;
    (void) si;
    (void) userdata;
    log_line(LOG_WARNING, CONFIG,
             "Reloading is not supported yet: restart for a changed configuration");
    return 0;
}

/* Behind a proxy a download's name can't be tried for its addresses. */
static void tell_proxies(const Config *config) {
    char proxies[600];

    if (*proxies_describe(&config->proxies, proxies, sizeof proxies))
        log_line(LOG_NOTICE, CONFIG,
                 "Requests go through a proxy: %s. What it fetches is held by [replicate] "
                 "download_hosts alone: private addresses can't be told there",
                 proxies);
}

/* --- running ------------------------------------------------------------------------------- */

static int listen_to_signals(Daemon *d) {
    int r = sd_event_add_signal(d->event, NULL, SIGTERM, on_term, d);

    if (r < 0 || (r = sd_event_add_signal(d->event, NULL, SIGINT, on_term, d)) < 0 ||
        (r = sd_event_add_signal(d->event, NULL, SIGUSR1, on_usr1, d)) < 0)
        return r;
    return sd_event_add_signal(d->event, NULL, SIGHUP, on_hup, d);
}

/* What an operator should know is said before the first job is taken. */
static int turn_loop(Daemon *d) {
    const Metrics *m = &instance_worker(d->instance)->metrics;
    int r;

    if (d->config->allow_insecure)
        log_line(LOG_WARNING, CONFIG,
                 "[replicate] allow_insecure is on: http and private addresses are allowed");
    tell_proxies(d->config);
    r = instance_run(d->instance);
    if (r < 0)
        log_line(
            LOG_ERR, INTERNAL,
            "The event loop failed: %s; jobs in flight are taken over when the lease has expired",
            strerror(-r));
    log_line(LOG_NOTICE, STOPPED, "Stopped: %llu jobs done, %llu failed, %llu canceled", m->done,
             m->failed, m->canceled);
    return r;
}

static int run(const Config *config) {
    Daemon d = { .config = config };
    int r;

    if ((r = sd_event_default(&d.event)) < 0 || (r = listen_to_signals(&d)) < 0 ||
        (r = instance_new(&d.instance, d.event, config)) < 0) {
        if (r != -ENOTDIR) /* that has been said, with the name of the directory */
            log_line(LOG_ERR, INTERNAL, "Can't start: %s", strerror(-r));
    } else
        r = turn_loop(&d);
    d.instance = instance_free(d.instance);
    sd_event_source_disable_unref(d.deadline);
    sd_event_source_disable_unref(d.done);
    sd_event_unref(d.event);
    log_close();
    return r == -ENOTDIR ? EX_CONFIG : r < 0 ? EX_SOFTWARE : 0;
}

/* What was taken, and had better be otherwise: a line each, to the log or, for -t, to stderr. */
static void warn(const Config *config, bool to_log) {
    ConfigErrors found = { 0 };
    const char *texts[2];

    (void) database_trust_warn(config, &found);
    texts[0] = config->warnings;
    texts[1] = found.text;
    for (int i = 0; i < 2; i++)
        if (!to_log)
            say_lines(stderr, "warning: ", texts[i]);
        else
            for (const char *line = texts[i]; line && *line; line += strcspn(line, "\n") + 1)
                log_line(LOG_WARNING, CONFIG, "%.*s", (int) strcspn(line, "\n"), line);
    config_errors_done(&found);
}

/* What was typed is shown bounded, and without what a terminal obeys. */
static int refuse(const char *what, const char *why) {
    char shown[100];

    say(stderr, "meshifyd: '%s' %s. Try 'meshifyd --help'.", str_clean(shown, sizeof shown, what),
        why);
    return EX_USAGE;
}

/* --- beginning ----------------------------------------------------------------------------- */

typedef struct Arguments {
    const char *path, *instance;
    bool only_test, check;
} Arguments;

/* Below 0: go on; else the exit code. */
static int read_arguments(int argc, char **argv, Arguments *ret) {
    enum {
        OPT_INSTANCE = 256,
        OPT_VERSION,
        OPT_HELP,
        OPT_CHECK
    };
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "test-config", no_argument, NULL, 't' },
        { "instance", required_argument, NULL, OPT_INSTANCE },
        { "check", no_argument, NULL, OPT_CHECK },
        { "version", no_argument, NULL, OPT_VERSION },
        { "help", no_argument, NULL, OPT_HELP },
        { 0 },
    };
    int opt;

    opterr = 0; /* getopt would repeat what it was given as it is */
    while ((opt = getopt_long(argc, argv, "c:t", options, NULL)) >= 0) {
        switch (opt) {
        case 'c':
            ret->path = optarg;
            break;
        case 't':
            ret->only_test = true;
            break;
        case OPT_INSTANCE:
            ret->instance = optarg;
            break;
        case OPT_CHECK:
            ret->check = true;
            break;
        case OPT_VERSION:
            puts("meshifyd " VERSION);
            return 0;
        case OPT_HELP:
            fputs(help, stdout);
            return 0;
        default:
            return refuse(argv[optind - 1], "is not an option, or wants a value");
        }
    }
    return optind < argc ? refuse(argv[optind], "is not an option") : -1;
}

/* Ours are blocked before curl starts a thread: a signal must find them blocked everywhere. */
static void prepare_process(sigset_t *ret_signals) {
    sigemptyset(ret_signals);
    sigaddset(ret_signals, SIGTERM);
    sigaddset(ret_signals, SIGINT);
    sigaddset(ret_signals, SIGUSR1);
    sigaddset(ret_signals, SIGHUP);
    (void) sigprocmask(SIG_BLOCK, ret_signals, NULL);
    (void) signal(SIGPIPE, SIG_IGN);
    (void) signal(SIGXFSZ, SIG_IGN);  /* a limit on files is a spool that is full */
    (void) prctl(PR_SET_DUMPABLE, 0); /* a core would hold the secrets */
    /* libpq's own default is to look for Kerberos credentials before each login: the loop would wait. */
    (void) setenv("PGGSSENCMODE", "disable", 0);
}

/* What is wrong is said. Nobody may read it, or there is no loop: then a signal must be able to end this. 0, -EINVAL,
 * -ENOMEM. */
static int read_config(const Arguments *args, const sigset_t *signals, Config **ret) {
    ConfigErrors errors = { 0 };
    int r = settings_load(args->path, args->instance, CONFIG_FOR_DAEMON, ret, &errors);

    if (r == 0 && (r = database_trust_check(*ret, &errors)) == 0 && errors.n > 0)
        r = -EINVAL;
    if (r < 0 || args->only_test || args->check)
        (void) sigprocmask(SIG_UNBLOCK, signals, NULL);
    if (r < 0 && errors.text)
        say_lines(stderr, "", errors.text);
    else if (r < 0)
        say(stderr, "meshifyd: the configuration can't be read: %s", strerror(-r));
    config_errors_done(&errors);
    return r;
}

/* Descriptors first, and the libraries before anything that allocates through them. */
int main(int argc, char **argv) {
    Arguments args = { 0 };
    Config *config = NULL;
    sigset_t signals;
    const char *why;
    int r;

    descriptors_begin();
    if ((r = read_arguments(argc, argv, &args)) >= 0)
        return r;
    prepare_process(&signals);
    if ((why = libraries_begin())) {
        say(stderr, "meshifyd: libcurl can't be set up: %s", why);
        return EX_SOFTWARE;
    }
    if ((r = read_config(&args, &signals, &config)) < 0) {
        config_free(config);
        return r == -ENOMEM ? EX_SOFTWARE : EX_CONFIG;
    }
    if (args.only_test) {
        warn(config, false);
        puts("The configuration is good.");
        config_free(config);
        return 0;
    }
    if (args.check)
        r = doctor_run(config);
    else {
        log_open((LogTarget) config->log_target, config->log_level);
        warn(config, true);
        r = run(config);
    }
    libraries_end();
    config_free(config);
    return r;
}
