/* The doctor's questions to Replicate and to the store: one after the other, and each waits for its answer.
 * What the store is asked, and what its answers are worth, the store's driver says. */
#include <curl/curl.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "ctl/doctor.h"
#include "ctl/doctor_hosts.h"
#include "flow/replicate.h"
#include "flow/store.h"
#include "io/dir.h"

#define WAIT_SECONDS 15 /* an operator waits for it; jobs have more patience */
#define BODY_MAX (256 * 1024)
#define CLOCK_APART 30 /* seconds; the look allows for 300 */

typedef struct Exchange {
    HttpReply *reply;
    bool over;
} Exchange;

/* The reply is kept beyond the callback: here nobody else wants its memory. */
static void heard(void *userdata, HttpReply *reply) {
    Exchange *x = userdata;

    *x->reply = *reply;
    *reply = (HttpReply){ 0 };
    x->over = true;
}

/* Sends it, frees it, and waits. Where it could not even be sent, the reply says that none came. */
static void exchange(Outside *o, HttpRequest *request, HttpReply *ret) {
    Exchange x = { .reply = ret };
    HttpOp *op;

    *ret = (HttpReply){ .end = HTTP_NO_ANSWER, .date = -1 };
    request->timeout_usec = WAIT_SECONDS * UINT64_C(1000000);
    request->body_max = BODY_MAX;
    if (http_send(o->http, request, heard, &x, &op) == 0)
        while (!x.over && sd_event_run(o->event, UINT64_MAX) >= 0)
            ;
}

/* A purchase whose answer was lost is looked for by its time. That allows for clocks that are somewhat apart, and no
 * more. */
static void check_clock(Doctor *d, time_t date) {
    double apart = date > 0 ? difftime(date, time(NULL)) : 0;

    if (date <= 0)
        return;
    if (fabs(apart) > CLOCK_APART)
        doctor_say(d, GRADE_WARN, "clock", "Synchronise this machine's clock (timedatectl).",
                   "Replicate's clock is %.0f s off ours", apart);
    else
        doctor_say(d, GRADE_OK, "clock", NULL, "Replicate's clock agrees with ours");
}

/* What mends it; libcurl knows no words for a CA but OpenSSL's. */
static const char *advise(const Fault *fault) {
    return strstr(fault->detail, "ertificate")
               ? "If its certificate is of a CA of your own, put that into "
                 "/usr/local/share/ca-certificates and run update-ca-certificates; else something "
                 "stands between."
               : fault_advice(fault);
}

/* The account is the one question that any token may ask, and that costs nothing. */
static void check_replicate(Doctor *d, Outside *o) {
    HttpRequest request;
    HttpReply reply;
    Fault fault = { 0 };

    if (replicate_request(d->config, "GET", "account", &request) < 0)
        return;
    exchange(o, &request, &reply);
    if (reply.end == HTTP_ANSWERED && reply.code == 200) {
        _cleanup_(json_unrefp) json_t *root = json_parse(reply.body, reply.body_size);
        const char *name = json_text(root, "username");

        doctor_say(d, GRADE_OK, "replicate", NULL, "the token is accepted, account %s",
                   name ? name : "without a name");
        check_clock(d, reply.date);
    } else {
        replicate_fault(&reply, &fault);
        doctor_say(d, GRADE_FAIL, "replicate", advise(&fault), "%s: %s", d->config->replicate_url,
                   fault.detail);
    }
    http_reply_done(&reply);
}

/* One step of the store's check is made, and waited for: here nothing else has to go on meanwhile. */
static JobEvent take_step(Outside *o, StoreWork *w) {
    const StoreDriver *driver = store_driver(w->config);
    StoreAnswer answer = { 0 };
    StoreStep step;
    HttpReply reply = { 0 };
    JobEvent ev;

    if (driver->next(w, &step) < 0)
        return EV_RETRY;
    switch (step.what) {
    case STORE_SEND:
        exchange(o, &step.request, &reply);
        answer.reply = &reply;
        break;
    case STORE_LOOK:
        answer.error = dir_look(step.root);
        break;
    case STORE_PUT:
    case STORE_UNLINK: /* a check changes nothing */
        answer.error = -ENOTSUP;
        break;
    }
    ev = driver->hear(w, &answer);
    http_reply_done(&reply);
    return ev;
}

static void check_store(Doctor *d, Outside *o) {
    static const Grade grades[] = {
        [STORE_GOOD] = GRADE_OK,
        [STORE_DOUBTFUL] = GRADE_WARN,
        [STORE_BAD] = GRADE_FAIL,
    };
    StoreWork w = { .config = d->config };
    const StoreFinding *f = &w.finding;
    JobEvent ev = store_driver(d->config)->check(&w);

    while (ev == EV_MORE)
        ev = take_step(o, &w);
    if (*f->found)
        doctor_say(d, grades[f->grade], "storage",
                   f->advice                ? f->advice
                   : f->grade == STORE_GOOD ? NULL
                                            : advise(&w.fault),
                   "%s", f->found);
}

static void outside_done(Outside *o) {
    http_free(o->http);
    resolver_free(o->resolver);
    sd_event_unref(o->event);
    curl_global_cleanup();
}

/* As the daemon goes outside: by the same proxies, lookups and rules, or its answers would be no proof. */
static int outside_init(Outside *o, const Config *c) {
    int r;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return -ENOMEM;
    if ((r = sd_event_new(&o->event)) >= 0 && (r = resolver_new(&o->resolver, o->event)) >= 0)
        r = http_new(&o->http, o->event, o->resolver, &c->proxies, "meshifyd/" VERSION);
    if (r < 0)
        outside_done(o);
    return r;
}

void doctor_services(Doctor *d) {
    const Config *c = d->config;
    Outside o = { 0 };
    char proxies[600];
    int r = outside_init(&o, c);

    if (r < 0) {
        doctor_say(d, GRADE_FAIL, "network", "Make memory and descriptors free.", "%s",
                   strerror(-r));
        return;
    }
    if (*proxies_describe(&c->proxies, proxies, sizeof proxies))
        doctor_say(d, GRADE_OK, "proxy", NULL, "%s; no_proxy: %s", proxies,
                   c->proxies.none ? c->proxies.none : "none");
    check_replicate(d, &o);
    check_store(d, &o);
    doctor_hosts(d, &o);
    outside_done(&o);
}
