/* The doctor's questions to Replicate and to storage: one request each, and it waits for the answer. */
#include <curl/curl.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/str.h"
#include "ctl/doctor.h"
#include "flow/service.h"
#include "flow/store.h"

#define WAIT_SECONDS 15L
#define BODY_MAX (256 * 1024)
#define CLOCK_APART 30 /* seconds; the look allows for 300 */

static size_t take_body(char *bytes, size_t size, size_t n, void *userdata) {
    StrBuf *body = userdata;

    return body->size + size * n <= BODY_MAX && strbuf_add(body, bytes, size * n) == 0 ? size * n
                                                                                       : 0;
}

/* The time that a Date header names. */
static size_t take_date(char *line, size_t size, size_t n, void *userdata) {
    char text[64];

    if (size * n > 6 && size * n < sizeof text && strncasecmp(line, "Date: ", 6) == 0) {
        memcpy(text, line + 6, size * n - 6);
        text[size * n - 6] = '\0';
        *(time_t *) userdata = curl_getdate(text, NULL);
    }
    return size * n;
}

/* Sends it, frees it, and waits. */
static void exchange(HttpRequest *request, HttpReply *ret, time_t *ret_date) {
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = NULL;
    char error[CURL_ERROR_SIZE] = "";
    StrBuf body = { 0 };
    long code = 0;
    CURLcode r = CURLE_OUT_OF_MEMORY;

    *ret = (HttpReply){ .end = HTTP_LOST };
    *ret_date = 0;
    for (size_t i = 0; i < request->n_headers; i++)
        headers = curl_slist_append(headers, request->headers[i]);
    if (curl && headers) {
        curl_easy_setopt(curl, CURLOPT_URL, request->url);
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(curl, CURLOPT_USERAGENT, "meshifyd/" VERSION);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_TIMEOUT, WAIT_SECONDS);
        curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
        curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_date);
        curl_easy_setopt(curl, CURLOPT_HEADERDATA, ret_date);
        r = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    }
    if (r == CURLE_OK) {
        ret->end = HTTP_ANSWERED;
        ret->code = (int) code;
        ret->body = body.text;
        ret->body_size = body.size;
    } else {
        strbuf_done(&body);
        (void) snprintf(ret->error, sizeof ret->error, "%.150s",
                        error[0] ? error : curl_easy_strerror(r));
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    http_request_done(request);
}

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

static void check_replicate(Doctor *d) {
    HttpRequest request;
    HttpReply reply;
    Fault fault = { 0 };
    time_t date;

    if (service_request(d->config, "GET", "account", &request) < 0)
        return;
    exchange(&request, &reply, &date);
    if (reply.end == HTTP_ANSWERED && reply.code == 200) {
        _cleanup_(json_unrefp) json_t *root = json_parse(reply.body, reply.body_size);
        const char *name = json_text(root, "username");

        doctor_say(d, GRADE_OK, "replicate", NULL, "the token is accepted, account %s",
                   name ? name : "without a name");
        check_clock(d, date);
    } else {
        service_fault(&reply, &fault);
        doctor_say(d, GRADE_FAIL, "replicate", fault_info(fault.code)->advice, "%s: %s",
                   d->config->replicate_url, fault.detail);
    }
    http_reply_done(&reply);
}

static void check_bucket(Doctor *d) {
    HttpRequest request;
    HttpReply reply;
    Fault fault = { 0 };
    bool is_public;
    time_t date;

    if (store_bucket_ask(d->config, &request) < 0)
        return;
    exchange(&request, &reply, &date);
    if (store_bucket_hear(&reply, &is_public, &fault) != EV_OK)
        doctor_say(d, GRADE_FAIL, "storage", fault_info(fault.code)->advice, "bucket %s: %s",
                   d->config->bucket, fault.detail);
    else if (is_public)
        doctor_say(d, GRADE_FAIL, "storage",
                   "Make it private in the dashboard: everybody can read its files.",
                   "bucket %s is public", d->config->bucket);
    else
        doctor_say(d, GRADE_OK, "storage", NULL, "bucket %s is there, private, and the key is good",
                   d->config->bucket);
    http_reply_done(&reply);
}

void doctor_services(Doctor *d) {
    const Config *c = d->config;

    check_replicate(d);
    if (c->storage_driver == STORAGE_SUPABASE)
        check_bucket(d);
    else if (access(c->storage_url, W_OK | X_OK) < 0)
        doctor_say(d, GRADE_FAIL, "storage", "Make [storage] url a directory that we may write.",
                   "%s: %s", c->storage_url, strerror(errno));
    else
        doctor_say(d, GRADE_OK, "storage", NULL, "%s can be written", c->storage_url);
}
