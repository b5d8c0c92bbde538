#include "fault.h"
#include "http.h"
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
static struct sockaddr_in addr(const char *s) {
    struct sockaddr_in a = { .sin_family = AF_INET };
    char h[64];
    const char *c = strrchr(s, ':');
    snprintf(h, sizeof h, "%.*s", (int) (c - s), s);
    inet_pton(AF_INET, h, &a.sin_addr);
    a.sin_port = htons((uint16_t) atoi(c + 1));
    return a;
}
static unsigned port_of(Listener *l) {
    const union MHD_DaemonInfo *i = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_LISTEN_FD);
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    getsockname(i->listen_fd, (void *) &a, &n);
    return ntohs(a.sin_port);
}
int main(int argc, char **argv) {
    static Sim sim;
    Listener api = { 0 }, files = { 0 };
    const char *la = "127.0.0.1:8091", *lf = "127.0.0.1:8092";
    sigset_t m;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--listen"))
            la = argv[i + 1];
        else if (!strcmp(argv[i], "--files"))
            lf = argv[i + 1];
        else if (!strcmp(argv[i], "--seed"))
            sim.seed = strtoull(argv[i + 1], NULL, 10);
    }
    sigemptyset(&m);
    sigaddset(&m, SIGTERM);
    sigaddset(&m, SIGINT);
    sigprocmask(SIG_BLOCK, &m, NULL);
    signal(SIGPIPE, SIG_IGN);
    int sfd = signalfd(-1, &m, SFD_CLOEXEC);
    pthread_mutex_init(&sim.lock, NULL);
    sim.store = store_new();
    sim.timers = timers_new();
    sim.api_url = strdup("http://127.0.0.1:0");
    sim.files_url = strdup(sim.api_url);
    pthread_mutex_lock(&sim.lock);
    struct sockaddr_in a = addr(la), f = addr(lf);
    if (listener_start(&api, &sim, LISTENER_API, (void *) &a, sizeof a) < 0 ||
        listener_start(&files, &sim, LISTENER_FILES, (void *) &f, sizeof f) < 0)
        return 1;
    free(sim.api_url);
    free(sim.files_url);
    if (asprintf(&sim.api_url, "http://127.0.0.1:%u", port_of(&api)) < 0 ||
        asprintf(&sim.files_url, "http://127.0.0.1:%u", port_of(&files)) < 0)
        return 1;
    settings_init(&sim);
    pthread_mutex_unlock(&sim.lock);
    printf("meshify-sim listening on %s files %s\n", sim.api_url, sim.files_url);
    fflush(stdout);
    for (;;) {
        struct pollfd p[2] = { { .fd = sfd, .events = POLLIN },
                               { .fd = timers_fd(sim.timers), .events = POLLIN } };
        poll(p, 2, -1);
        if (p[0].revents)
            break;
        if (p[1].revents)
            timers_run(sim.timers);
    }
    timers_stop(sim.timers);
    listener_stop(&api);
    listener_stop(&files);
    return 0;
}
