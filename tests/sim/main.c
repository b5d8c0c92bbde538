/* meshify-sim: the options, the two listeners, and what ends them. */
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "fault.h"
#include "http.h"

typedef struct Options {
    const char *listen, *files;
    uint64_t seed;
} Options;

static void print_help(void) {
    fputs("meshify-sim [--listen ADDR:PORT] [--files ADDR:PORT] [--seed N]\n"
          "Simulates Replicate, Supabase Storage (both at --listen) and Replicate's file host.\n\n"
          "  --listen ADDR:PORT  Replicate at /v1, Storage at /storage/v1 (127.0.0.1:8091)\n"
          "  --files ADDR:PORT   the file host (127.0.0.1:8092)\n"
          "  --seed N            another seed makes other ids and meshes (1)\n"
          "  --help, --version\n\n"
          "An IPv6 address stands in brackets, port 0 takes a free one; the first line of output\n"
          "names both URLs. GET /_sim/ at --listen tells how to set it up and what it counts.\n",
          stdout);
}

static int usage(const char *what, const char *value) {
    fprintf(stderr, "meshify-sim: %s%s%s\nTry meshify-sim --help\n", what, value ? ": " : "",
            value ? value : "");
    return EX_USAGE;
}

static bool parse_seed(const char *text, uint64_t *ret) {
    char *end;

    errno = 0;
    *ret = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && errno == 0;
}

/* Below 0: go on; otherwise the exit status. */
static int parse_options(int argc, char **argv, Options *o) {
    static const struct option options[] = {
        { "listen", required_argument, NULL, 'l' }, { "files", required_argument, NULL, 'f' },
        { "seed", required_argument, NULL, 's' },   { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'v' },      { 0 },
    };

    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;)
        switch (c) {
        case 'l':
            o->listen = optarg;
            break;
        case 'f':
            o->files = optarg;
            break;
        case 's':
            if (!parse_seed(optarg, &o->seed))
                return usage("--seed wants a whole number, not", optarg);
            break;
        case 'h':
            print_help();
            return EX_OK;
        case 'v':
            puts("meshify-sim " VERSION);
            return EX_OK;
        default:
            return usage("see the line above", NULL); /* getopt named the option */
        }
    return optind < argc ? usage("no argument is expected", argv[optind]) : -1;
}

/* Where a listener ended up, as a URL. */
static char *url_of(const Listener *l) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_LISTEN_FD);
    struct sockaddr_storage address = { 0 };
    socklen_t size = sizeof address;
    char host[64], port[8], *url;

    if (!info || getsockname(info->listen_fd, (void *) &address, &size) < 0 ||
        getnameinfo((void *) &address, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return NULL;
    if (asprintf(&url, strchr(host, ':') ? "http://[%s]:%s" : "http://%s:%s", host, port) < 0)
        return NULL;
    return url;
}

/* Answers the exit status, having said what is wrong. */
static int start(Sim *sim, Listener *l, ListenerKind kind, const char *where, char **ret_url) {
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                                    .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    const char *colon = strrchr(where, ':');
    struct addrinfo *found = NULL;
    char host[256];
    size_t size = colon ? (size_t) (colon - where) : 0;
    bool brackets = size > 2 && where[0] == '[' && where[size - 1] == ']';
    int r;

    if (size == 0 || size >= sizeof host || !colon[1])
        return usage("ADDR:PORT is expected, not", where);
    snprintf(host, sizeof host, "%.*s", (int) (brackets ? size - 2 : size), where + brackets);
    if ((r = getaddrinfo(host, colon + 1, &hints, &found)) != 0) {
        fprintf(stderr, "meshify-sim: can't listen on %s: %s\n", where, gai_strerror(r));
        return EX_USAGE;
    }
    r = listener_start(l, sim, kind, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (r < 0 || !(*ret_url = url_of(l))) {
        fprintf(stderr, "meshify-sim: can't listen on %s: %s\n", where,
                strerror(r < 0 ? -r : ENOMEM));
        return EX_UNAVAILABLE;
    }
    return EX_OK;
}

static void run(Sim *sim, int signals) {
    struct pollfd fds[] = { { .fd = signals, .events = POLLIN },
                            { .fd = timers_fd(sim->timers), .events = POLLIN } };

    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[0].revents)
            break;
        if (fds[1].revents)
            timers_run(sim->timers);
    }
}

/* Thousands of clients at once are its trade. */
static void raise_files_limit(void) {
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv) {
    static Sim sim;
    Options o = { .listen = "127.0.0.1:8091", .files = "127.0.0.1:8092", .seed = 1 };
    Listener api = { 0 }, files = { 0 };
    int status = parse_options(argc, argv, &o), signals;
    sigset_t mask;

    if (status >= 0)
        return status;
    raise_files_limit();
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigprocmask(SIG_BLOCK, &mask, NULL); /* before the threads, which inherit it */
    signal(SIGPIPE, SIG_IGN);
    signals = signalfd(-1, &mask, SFD_CLOEXEC);

    pthread_mutex_init(&sim.lock, NULL);
    sim.seed = o.seed;
    if (signals < 0 || !(sim.store = store_new()) || !(sim.timers = timers_new())) {
        perror("meshify-sim");
        return EX_OSERR;
    }

    /* The lock makes early requests wait until the URLs are known. */
    pthread_mutex_lock(&sim.lock);
    status = start(&sim, &api, LISTENER_API, o.listen, &sim.api_url);
    if (status == EX_OK)
        status = start(&sim, &files, LISTENER_FILES, o.files, &sim.files_url);
    if (status == EX_OK && !settings_reset(&sim))
        status = EX_OSERR;
    pthread_mutex_unlock(&sim.lock);

    if (status == EX_OK) {
        printf("meshify-sim listening on %s files %s\n", sim.api_url, sim.files_url);
        fflush(stdout);
        run(&sim, signals);
    }

    timers_stop(sim.timers);
    listener_stop(&api);
    listener_stop(&files);
    faults_clear(&sim);
    predictions_done(&sim);
    settings_done(&sim.set);
    store_free(sim.store);
    timers_free(sim.timers);
    free(sim.api_url);
    free(sim.files_url);
    close(signals);
    pthread_mutex_destroy(&sim.lock);
    return status;
}
