/* The HTTP edge against a server of its own: what goes up, from where, under which name, and what of the
 * answer comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <curl/curl.h>
#include <openssl/sha.h>

#include "base/str.h"
#include "io/http.h"

#define ACCESS "AKIDEXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define FILE_SIZE 3000000

typedef struct Peer {
    pid_t pid;
    int input; /* it ends with this */
    unsigned port;
    sd_event *event;
    Resolver *resolver;
    Proxies proxies;
    Http *http;
    int fd; /* a file to send parts of, ... */
    unsigned char *bytes;
} Peer;

static void heard(void *userdata, HttpReply *reply) {
    HttpReply *to = userdata;

    *to = *reply;
    *reply = (HttpReply){ 0 };
}

static HttpRequest request(const Peer *p, const char *method, const char *path) {
    return (HttpRequest){ .method = method,
                          .url = str_printf("http://127.0.0.1:%u%s", p->port, path),
                          .timeout_usec = 30000000,
                          .body_max = 100000 };
}

/* Sends it and waits for the end. */
static HttpReply ask(Peer *p, HttpRequest *r) {
    HttpReply reply = { .took_usec = UINT64_MAX };
    HttpOp *op;

    assert_int_equal(http_send(p->http, r, heard, &reply, &op), 0);
    while (reply.took_usec == UINT64_MAX)
        assert_true(sd_event_run(p->event, 40000000) > 0);
    print_message("# end %d, HTTP %d: %s %s\n", reply.end, reply.code,
                  reply.body ? reply.body : "no body", reply.error);
    return reply;
}

static int set_up(void **state) {
    Peer *p = calloc(1, sizeof *p);
    char path[] = "/tmp/t_http-XXXXXX", port[16] = "";
    int in[2], out[2];

    *state = p;
    if (!p || pipe(in) < 0 || pipe(out) < 0 || (p->pid = fork()) < 0)
        return -1;
    if (p->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        execl("tests/unit/http_peer.py", "http_peer.py", (char *) NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    p->input = in[1];
    for (size_t n = 0; !strchr(port, '\n'); n++)
        if (n == sizeof port - 1 || read(out[0], port + n, 1) != 1)
            return -1;
    close(out[0]);
    p->port = (unsigned) strtoul(port, NULL, 10);
    if ((p->fd = mkstemp(path)) < 0 || unlink(path) < 0 || !(p->bytes = malloc(FILE_SIZE)))
        return -1;
    for (uint32_t i = 0, x = 1; i < FILE_SIZE; i++, x = x * 1103515245 + 12345)
        p->bytes[i] = (unsigned char) (x >> 16);
    if (write(p->fd, p->bytes, FILE_SIZE) != FILE_SIZE)
        return -1;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return sd_event_new(&p->event) < 0 || resolver_new(&p->resolver, p->event) < 0 ||
                   http_new(&p->http, p->event, p->resolver, &p->proxies, "t_http") < 0
               ? -1
               : 0;
}

static int tear_down(void **state) {
    Peer *p = *state;

    http_free(p->http);
    resolver_free(p->resolver);
    sd_event_unref(p->event);
    curl_global_cleanup();
    close(p->input);
    close(p->fd);
    free(p->bytes);
    (void) waitpid(p->pid, NULL, 0);
    free(p);
    return 0;
}

/* "body SIZE SHA256", as the peer tells what it was sent. */
static const char *digest(const Peer *p, size_t from, size_t size) {
    static char text[100];
    unsigned char hash[SHA256_DIGEST_LENGTH];
    int n = snprintf(text, sizeof text, "body %zu ", size);

    SHA256(p->bytes + from, size, hash);
    for (size_t i = 0; i < sizeof hash; i++)
        n += snprintf(text + n, sizeof text - (size_t) n, "%02x", hash[i]);
    return text;
}

static void test_parts_of_a_file(void **state) {
    static const struct {
        const char *method;
        size_t from, size;
    } cases[] = {
        { "PUT", 0, FILE_SIZE },   { "PUT", 1000001, 1234567 },     { "PATCH", 0, 1 },
        { "PATCH", 65537, 65536 }, { "PATCH", FILE_SIZE - 10, 10 }, { "POST", 777, 99999 },
    };
    Peer *p = *state;
    char first[40], length[40];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpRequest r = request(p, cases[i].method, "/echo");
        HttpReply reply;

        r.body_fd = p->fd;
        r.body_from = cases[i].from;
        r.body_size = cases[i].size;
        http_request_add(&r, str_printf("Content-Type: application/offset+octet-stream"));
        reply = ask(p, &r);
        assert_int_equal(reply.end, HTTP_ANSWERED);
        (void) snprintf(first, sizeof first, "%s /echo\n", cases[i].method);
        (void) snprintf(length, sizeof length, "content-length: %zu\n", cases[i].size);
        assert_non_null(strstr(reply.body, digest(p, cases[i].from, cases[i].size)));
        assert_int_equal(strncmp(reply.body, first, strlen(first)), 0);
        assert_non_null(strstr(reply.body, length));
        assert_non_null(strstr(reply.body, "content-type: application/offset+octet-stream\n"));
        assert_null(strstr(reply.body, "transfer-encoding"));
        assert_true(reply.sent_whole);
        http_reply_done(&reply);
    }
}

static void test_no_body(void **state) {
    static const char *const methods[] = { "PATCH", "PUT", "POST", "DELETE", "GET" };
    Peer *p = *state;

    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        HttpRequest r = request(p, methods[i], "/echo");
        HttpReply reply = ask(p, &r);

        assert_int_equal(reply.end, HTTP_ANSWERED);
        assert_int_equal(strncmp(reply.body, methods[i], strlen(methods[i])), 0);
        assert_non_null(strstr(reply.body, digest(p, 0, 0)));
        assert_int_equal(strstr(reply.body, "content-length: 0\n") != NULL, i < 3);
        assert_null(strstr(reply.body, "transfer-encoding"));
        if (i == 0)
            assert_null(strstr(reply.body, "content-type"));
        http_reply_done(&reply);
    }
}

/* The file ends before what was announced of it: nobody may take that for a success. */
static void test_short_file(void **state) {
    Peer *p = *state;
    HttpRequest r = request(p, "PATCH", "/echo");
    HttpReply reply;

    r.body_fd = p->fd;
    r.body_from = FILE_SIZE - 10;
    r.body_size = 11;
    reply = ask(p, &r);
    assert_int_equal(reply.end, HTTP_NO_ANSWER);
    assert_int_equal(reply.code, 0);
    assert_false(reply.sent_whole);
    http_reply_done(&reply);
}

static void test_head(void **state) {
    Peer *p = *state;

    for (int i = 0; i < 3;
         i++) { /* what a HEAD left unread would spoil the next on its connection */
        HttpRequest head = request(p, "HEAD", "/length"), get = request(p, "GET", "/echo");
        HttpReply reply;

        head.body_max = 10;
        head.wants[0] = "content-length";
        reply = ask(p, &head);
        assert_int_equal(reply.end, HTTP_ANSWERED);
        assert_int_equal(reply.code, 200);
        assert_null(reply.body);
        assert_int_equal(reply.body_size, 0);
        assert_string_equal(reply.wanted[0], "1000");
        http_reply_done(&reply);
        reply = ask(p, &get);
        assert_int_equal(reply.end, HTTP_ANSWERED);
        assert_int_equal(strncmp(reply.body, "GET /echo\n", 10), 0);
        http_reply_done(&reply);
    }
}

static void test_wanted_headers(void **state) {
    Peer *p = *state;
    HttpRequest r = request(p, "GET", "/words");
    HttpReply reply;

    r.wants[0] = "Upload-Offset";
    r.wants[1] = "X-None";
    r.wants[2] = "etag";
    r.wants[3] = "X-Twice";
    r.wants[4] = "X-Long";
    r.wants[5] = "X-Empty";
    reply = ask(p, &r);
    assert_int_equal(reply.code, 404); /* of an error too: 409 brings an offset */
    assert_string_equal(reply.wanted[0], "42");
    assert_null(reply.wanted[1]);
    assert_string_equal(reply.wanted[2], "\"a b\"");
    assert_string_equal(reply.wanted[3], "*");
    assert_string_equal(reply.wanted[4], "*");
    assert_string_equal(reply.wanted[5], "");
    http_reply_done(&reply);

    r = request(p, "GET", "/words");
    reply = ask(p, &r);
    for (size_t i = 0; i < HTTP_WANTS_MAX; i++)
        assert_null(reply.wanted[i]);
    http_reply_done(&reply);
}

/* curl sends a request again when a connection that it reused dies without an answer: the same part. */
static void test_sent_again(void **state) {
    Peer *p = *state;

    for (int once = 0; once < 2; once++) {
        HttpRequest first = request(p, "GET", "/echo"),
                    r = request(p, "PATCH", once ? "/dies/once" : "/dies/again");
        HttpReply reply = ask(p, &first);

        http_reply_done(&reply);
        r.body_fd = p->fd;
        r.body_from = 12345;
        r.body_size = 54321;
        r.once = once;
        reply = ask(p, &r);
        assert_int_equal(reply.end, once ? HTTP_NO_ANSWER : HTTP_ANSWERED);
        if (!once)
            assert_non_null(strstr(reply.body, digest(p, 12345, 54321)));
        http_reply_done(&reply);
    }
}

static void sign(HttpRequest *r, const char *secret) {
    r->sigv4 = strdup("aws:amz:eu-central-1:s3");
    r->access_key = strdup(ACCESS);
    r->secret_key = strdup(secret);
    http_request_add(r, str_printf("x-amz-content-sha256: UNSIGNED-PAYLOAD"));
}

static void test_signatures(void **state) {
    static const struct {
        const char *method, *path;
        size_t from, size; /* 0: no body */
    } cases[] = {
        { "GET", "/signed/user_assets/a.glb", 0, 0 },
        { "HEAD", "/signed/user_assets/a%20b.glb", 0, 0 },
        { "POST", "/signed/user_assets/a.glb?uploads=", 0, 0 },
        { "PUT", "/signed/user_assets/a.glb?partNumber=2&uploadId=a92e", 1000, 2000000 },
        { "DELETE", "/signed/user_assets/a.glb?uploadId=a92e", 0, 0 },
    };
    Peer *p = *state;

    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        HttpRequest r = request(p, cases[i / 2].method, cases[i / 2].path);
        HttpReply reply;

        sign(&r, i % 2 ? "another" : SECRET);
        if (cases[i / 2].size > 0) {
            r.body_fd = p->fd;
            r.body_from = cases[i / 2].from;
            r.body_size = cases[i / 2].size;
            http_request_add(&r, str_printf("Content-Type: model/gltf-binary"));
        }
        reply = ask(p, &r);
        assert_int_equal(reply.end, HTTP_ANSWERED);
        assert_int_equal(reply.code, i % 2 ? 403 : 200);
        http_reply_done(&reply);
    }
}

/* The key signs; it does not travel, and no error names it. */
static void test_the_key_stays_here(void **state) {
    Peer *p = *state;
    HttpRequest r = request(p, "GET", "/echo");
    HttpReply reply;

    sign(&r, SECRET);
    reply = ask(p, &r);
    assert_int_equal(reply.code, 200);
    assert_non_null(strstr(reply.body, "authorization: AWS4-HMAC-SHA256 Credential=" ACCESS "/"));
    assert_null(strstr(reply.body, SECRET));
    http_reply_done(&reply);

    r = (HttpRequest){ .method = "GET", .url = strdup("http://127.0.0.1:1/"), .body_max = 1 };
    sign(&r, SECRET);
    reply = ask(p, &r);
    assert_int_equal(reply.end, HTTP_UNSENT);
    assert_true(reply.error[0] && !strstr(reply.error, SECRET));
    http_reply_done(&reply);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_of_a_file), cmocka_unit_test(test_no_body),
        cmocka_unit_test(test_short_file),      cmocka_unit_test(test_head),
        cmocka_unit_test(test_wanted_headers),  cmocka_unit_test(test_sent_again),
        cmocka_unit_test(test_signatures),      cmocka_unit_test(test_the_key_stays_here),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
