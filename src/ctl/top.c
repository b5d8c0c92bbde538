/* A live view of the queue: the same as `status`, and a bar for each running job, every second.
 * Nothing is kept between two pictures; to a file or a pipe it prints one. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/say.h"
#include "ctl/ctl.h"

#define BAR 20
#define ROWS_OTHERWISE 24

static int screen_rows(void) {
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 ? size.ws_row
                                                                           : ROWS_OTHERWISE;
}

static void print_bar(double share) {
    int full = share >= 1 ? BAR : share > 0 ? (int) (share * BAR) : 0;

    for (int i = 0; i < BAR; i++)
        say_part(stdout, "%s", i < full ? "█" : "░");
    say_part(stdout, " %3.0f %%", share > 0 ? share * 100 : 0);
}

/* As many jobs as the screen has rows left. 0, or the exit status. */
static int print_jobs(Ctl *c, int rows) {
    char limit[16];
    const char *params[] = { limit };
    int status = 0;
    PGresult *res;

    /* At least one: a screen that is too small still shows that something runs. */
    (void) snprintf(limit, sizeof limit, "%d", rows > 1 ? rows : 1);
    res = ctl_query(c,
                    "SELECT id, prompt, progress, meshify.seconds_between(started_at, now()),"
                    " worker FROM meshify.list_jobs('running', NULL, $1)",
                    params, 1, &status);
    if (!res)
        return status;
    for (int row = 0; row < PQntuples(res); row++) {
        char age[16];

        say_part(stdout, "%s  ", PQgetvalue(res, row, 0));
        print_bar(strtod(PQgetvalue(res, row, 2), NULL));
        say_part(stdout, " %8s  ", ctl_age(strtod(PQgetvalue(res, row, 3), NULL), age));
        say_cell(stdout, PQgetvalue(res, row, 1), 30);
        say_end(stdout);
    }
    PQclear(res);
    return 0;
}

/* Once if the output is not a terminal, else every second until Ctrl-C. */
int ctl_top(Ctl *c) {
    bool live = isatty(STDOUT_FILENO);
    int status;

    if (c->json) /* for programs: once, and without the bars */
        return ctl_status(c);
    do {
        const struct timespec second = { .tv_sec = 1 };

        if (live)
            /* To the upper left corner, and clear: any terminal that is in use knows these. */
            fputs("\x1b[H\x1b[2J", stdout);
        if ((status = ctl_status(c)) != 0)
            return status;
        say_end(stdout);
        if ((status = print_jobs(c, screen_rows() - 8)) != 0)
            return status;
        fflush(stdout);
        if (live)
            (void) nanosleep(&second, NULL);
    } while (live);
    return 0;
}
