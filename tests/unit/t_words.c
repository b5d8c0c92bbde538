/* Why a database is away, and what a bucket takes: others' words, read. */
#include "fixtures.h"

#include "base/db_failure.h"
#include "flow/bucket.h"

#define AT "connection to server at \"db.example.org\" (192.0.2.1), port 5432 failed: "
#define AT6 "connection to server at \"db.example.org\" (2001:db8::1), port 5432 failed: "

/* clang-format off */
static const struct {
    const char *message;
    DbFailure failure;
    DbRetry retry;
} messages[] = {
    { AT "FATAL:  password authentication failed for user \"w\"\n", DB_FAILURE_PASSWORD, DB_RETRY_RARELY },
    { AT "SCHWERWIEGEND:  28P01: Passwort-Authentifizierung\nLOCATION:  auth_failed, auth.c:338\n", DB_FAILURE_PASSWORD, DB_RETRY_RARELY },
    { AT "fe_sendauth: no password supplied\n", DB_FAILURE_PASSWORD, DB_RETRY_RARELY },
    { AT "FATAL:  server login has been failing, cached error: password authentication failed (server_login_retry)\n", DB_FAILURE_PASSWORD, DB_RETRY_RARELY },
    { AT "FATAL:  (ECIRCUITBREAKER) too many authentication failures, new connections are temporarily blocked\n", DB_FAILURE_BLOCKED, DB_RETRY_RARELY },
    { AT "FATAL:  Circuit breaker open\n", DB_FAILURE_BLOCKED, DB_RETRY_RARELY },
    { AT "FATAL:  XX000: (ENOTFOUND) tenant/user w.abc not found\n", DB_FAILURE_TENANT, DB_RETRY_RARELY },
    { AT "FATAL:  Tenant or user not found\n", DB_FAILURE_TENANT, DB_RETRY_RARELY },
    { AT "FATAL:  28000: role \"w\" does not exist\n", DB_FAILURE_ROLE, DB_RETRY_RARELY },
    { AT "FATAL:  role \"w\" is not permitted to log in\n", DB_FAILURE_ROLE, DB_RETRY_RARELY },
    { AT "FATAL:  3D000: database \"x\" does not exist\n", DB_FAILURE_DATABASE, DB_RETRY_RARER },
    { AT "FATAL:  no pg_hba.conf entry for host \"1.2.3.4\", user \"w\", database \"x\", no encryption\n", DB_FAILURE_TLS_NEEDED, DB_RETRY_RARER },
    { AT "FATAL:  no pg_hba.conf entry for host \"1.2.3.4\", user \"w\", database \"x\", SSL encryption\n", DB_FAILURE_HBA, DB_RETRY_RARER },
    { AT "FATAL:  XX000: (ESOMETHING) new\n", DB_FAILURE_REFUSED, DB_RETRY_RARER },
    { AT "FATAL:  unsupported startup parameter: options\n", DB_FAILURE_REFUSED, DB_RETRY_RARER },
    { AT "FATAL:  53300: sorry, too many clients already\n", DB_FAILURE_CROWDED, DB_RETRY_SOON },
    { AT "FATAL:  XX000: (EMAXCONNSESSION) max clients reached in session mode\n", DB_FAILURE_CROWDED, DB_RETRY_SOON },
    { AT "FATAL:  Max client connections reached\n", DB_FAILURE_CROWDED, DB_RETRY_SOON },
    { AT "FATAL:  the database system is starting up\n", DB_FAILURE_STARTING, DB_RETRY_SOON },
    { "FATAL:  57P01: terminating connection\n", DB_FAILURE_STARTING, DB_RETRY_SOON },
    { "the server is read-only", DB_FAILURE_READ_ONLY, DB_RETRY_SOON },
    { AT "SSL error: certificate verify failed\n", DB_FAILURE_TLS_CA, DB_RETRY_SOON },
    { AT "server certificate for \"x\" does not match host name \"y\"\n", DB_FAILURE_TLS_NAME, DB_RETRY_SOON },
    { AT "root certificate file \"/x\" does not exist\nEither provide the file or change sslmode\n", DB_FAILURE_TLS_FILE, DB_RETRY_SOON },
    { AT "server does not support SSL, but SSL was required\n", DB_FAILURE_TLS_NONE, DB_RETRY_SOON },
    { AT "SSL SYSCALL error: Success\n", DB_FAILURE_TLS, DB_RETRY_SOON },
    { AT "received invalid response to SSL negotiation: H\n", DB_FAILURE_STRANGE, DB_RETRY_SOON },
    { AT "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?\n", DB_FAILURE_CLOSED, DB_RETRY_SOON },
    { AT "timeout expired\n", DB_FAILURE_SILENT, DB_RETRY_SOON },
    { AT "Network is unreachable\n", DB_FAILURE_NO_ROUTE, DB_RETRY_SOON },
    { AT6 "Network is unreachable\n", DB_FAILURE_NO_ROUTE_V6, DB_RETRY_SOON },
    { AT6 "Cannot assign requested address\n", DB_FAILURE_NO_ROUTE_V6, DB_RETRY_SOON },
    { AT6 "Network is unreachable\n" AT "No route to host\n", DB_FAILURE_NO_ROUTE, DB_RETRY_SOON },
    { "connection to server at \"2001:db8::1\", port 5432 failed: Network is unreachable\n", DB_FAILURE_NO_ROUTE_V6, DB_RETRY_SOON },
    { "could not translate host name \"x\" to address: Name or service not known\n", DB_FAILURE_NAME, DB_RETRY_SOON },
    { "db.example.org: Temporary failure in name resolution", DB_FAILURE_NAME, DB_RETRY_SOON },
    { "cannot allocate memory for input buffer\n", DB_FAILURE_MEMORY, DB_RETRY_SOON },
    { "connection to server on socket \"/x/.s.PGSQL.5432\" failed: No such file or directory\n", DB_FAILURE_SOCKET, DB_RETRY_SOON },
    { "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally\n", DB_FAILURE_LOST, DB_RETRY_SOON },
    { "definition of service \"x\" not found\n", DB_FAILURE_SERVICE, DB_RETRY_SOON },
    { "ERROR:  invalid value for parameter \"TimeZone\": \"Mars/Base\"\n", DB_FAILURE_REFUSED, DB_RETRY_RARER },
    { "invalid port number: \"AAABBB\"\n", DB_FAILURE_URL, DB_RETRY_RARER },
    { "could not match 2 port numbers to 1 hosts\n", DB_FAILURE_URL, DB_RETRY_RARER },
    { "ERROR:  57014: canceling statement due to statement timeout\nLOCATION:  x, y.c:1\n", DB_FAILURE_TIMEOUT, DB_RETRY_SOON },
    { "FATAL:  25P04: terminating connection due to transaction timeout\n", DB_FAILURE_TIMEOUT, DB_RETRY_SOON },
    { "FEHLER:  57014: storniere Anfrage wegen Zeitlimit\n", DB_FAILURE_TIMEOUT, DB_RETRY_SOON },
    { "ERROR:  42501: permission denied for language plpgsql\n", DB_FAILURE_LANGUAGE, DB_RETRY_RARER },
    { "something else", DB_FAILURE_OTHER, DB_RETRY_SOON },
    { "", DB_FAILURE_OTHER, DB_RETRY_SOON },
    { NULL, DB_FAILURE_OTHER, DB_RETRY_SOON },
};
/* clang-format on */

static void failures(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        DbFailure failure = db_failure_read(messages[i].message);

        if (failure != messages[i].failure || db_failure_retry(failure) != messages[i].retry)
            fail_msg("%s\nis '%s', retry %d", messages[i].message, db_failure_word(failure),
                     (int) db_failure_retry(failure));
    }
    for (int i = 0; i < _DB_FAILURE_MAX; i++) {
        assert_true(strlen(db_failure_word((DbFailure) i)) > 5);
        assert_int_equal(
            db_failure_advice((DbFailure) i)[strlen(db_failure_advice((DbFailure) i)) - 1], '.');
    }
}

static void failure_texts(void **state) {
    char text[300];

    (void) state;
    assert_string_equal(
        db_failure_text(AT
                        "FATAL:  28P01: password authentication failed for user \"w\"\nLOCATION: x",
                        "h", "1", text, sizeof text),
        "the user or the password is wrong (h port 1): password authentication failed for user "
        "\"w\"");
    assert_string_equal(
        db_failure_text(AT "FATAL:  Circuit breaker open.\n", NULL, NULL, text, sizeof text),
        "the pooler blocks logins after too many wrong passwords: Circuit breaker open");
    assert_string_equal(
        db_failure_text("invalid port number: \"AAABBB\"", "", "", text, sizeof text),
        "its URL can't be used");
    assert_string_equal(db_failure_text(NULL, "h", NULL, text, sizeof text),
                        "it can't be reached (h)");
    assert_string_equal(db_failure_text(NULL, "h;password=AAA", "BBB=1", text, sizeof text),
                        "it can't be reached (… port …)");
    assert_string_equal(db_failure_text(NULL, "AAA BBB", "1", text, sizeof text),
                        "it can't be reached (… port 1)");
    assert_string_equal(db_failure_text(NULL, "@run/a_b-c.[fe80::1%eth0]", "1", text, sizeof text),
                        "it can't be reached (@run/a_b-c.[fe80::1%eth0] port 1)");
    assert_string_equal(db_failure_text("FATAL:  a\x1b[2Jb\nc", NULL, NULL, text, 40),
                        "it refuses the connection: a?[2Jb");
}

static void buckets(void **state) {
    static const struct {
        const char *body;
        Bucket bucket;
    } cases[] = {
        { "{\"id\":\"x\",\"public\":false,\"file_size_limit\":52428800,\"allowed_mime_types\":"
          "null}",
          { false, true, 52428800 } },
        { "{\"public\":false,\"file_size_limit\":null,\"allowed_mime_types\":[\"image/"
          "png\",\"image/jpeg\"]}",
          { false, false, UINT64_MAX } },
        { "{\"public\":true,\"allowed_mime_types\":[\"image/png\",\"model/gltf-binary\"]}",
          { true, true, UINT64_MAX } },
        { "{\"allowed_mime_types\":[\"model/*\"]}", { false, true, UINT64_MAX } },
        { "{\"allowed_mime_types\":[\"*/*\"]}", { false, true, UINT64_MAX } },
        { "{\"allowed_mime_types\":[]}", { false, true, UINT64_MAX } },
        { "{\"allowed_mime_types\":[\"Model/GLTF-binary\",\"image/*\",7,null]}",
          { false, false, UINT64_MAX } },
        { "{\"allowed_mime_types\":\"image/png\",\"file_size_limit\":\"50MB\"}",
          { false, true, UINT64_MAX } },
        { "{\"file_size_limit\":-1}", { false, true, UINT64_MAX } },
        { "{\"file_size_limit\":0}", { false, true, UINT64_MAX } },
    };

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        HttpReply reply = { .end = HTTP_ANSWERED,
                            .code = 200,
                            .body = (char *) cases[i].body,
                            .body_size = strlen(cases[i].body) };
        Fault fault = { 0 };
        Bucket bucket;

        print_message("# %s\n", cases[i].body);
        assert_int_equal(bucket_hear(&reply, &bucket, &fault), EV_OK);
        assert_int_equal(bucket.is_public, cases[i].bucket.is_public);
        assert_int_equal(bucket.takes_glb, cases[i].bucket.takes_glb);
        assert_true(bucket.max_bytes == cases[i].bucket.max_bytes);
        reply.code = 502;
        assert_int_not_equal(bucket_hear(&reply, &bucket, &fault), EV_OK);
    }
}

/* Others' sentences end in a stop; ours that goes around adds one. */
static void stops(void **state) {
    Fault fault = { 0 };

    (void) state;
    fault_set(&fault, FAULT_SERVICE_CREDIT, "HTTP %d: %s", 402, "Pay first. ");
    assert_string_equal(fault.detail, "HTTP 402: Pay first");
    fault_set(&fault, FAULT_SERVICE_CREDIT, "%s", "...");
    assert_string_equal(fault.detail, "");
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(failures), cmocka_unit_test(failure_texts),
                                        cmocka_unit_test(buckets), cmocka_unit_test(stops) };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("words", tests, NULL, NULL);
}
