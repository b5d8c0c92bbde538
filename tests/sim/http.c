/* The two listeners: a request is read, meets the fault that is scripted for it, and is handed to the part that answers
 * it. Faults break the transport itself (an answer that stalls, a connection that closes), so most of them are done
 * here; what an answer says is left to replicate.c, storage.c, files.c and control.c. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fault.h"

#define BODY_MAX (16u << 20)    /* of a request that is not an upload */
#define BLOCK_BYTES (64u << 10) /* handed to the network at once */
#define CONNECTIONS_MAX 30000u
#define EARLY_BYTES (64u << 10)      /* of a body that is not waited for to refuse it */
#define UNREAD_BYTES 2900000u        /* of a refused body, where the server stops reading … */
#define UNREAD_USEC (100 * SEC_USEC) /* … for so long */

/* What libmicrohttpd keeps for us with a connection. */
typedef struct Peer {
    unsigned requests;
} Peer;

/* Asked by libmicrohttpd for the next bytes of a body. */
static ssize_t on_read(void *cls, uint64_t at, char *to, size_t max) {
    Request *r = cls;
    Reply *reply = &r->reply;
    uint64_t size = reply_size(reply);

    if (at == reply->stall_at && !r->stalled) {
        request_stall(r);
        return 0;
    }
    if (at >= reply->cut || (at >= size && reply->promised))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (at >= size)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (max > size - at)
        max = (size_t) (size - at);
    if (max > reply->cut - at)
        max = (size_t) (reply->cut - at);
    if (at < reply->stall_at && max > reply->stall_at - at)
        max = (size_t) (reply->stall_at - at);

    if (reply->glb)
        glb_read(reply->glb, reply->offset + at, to, max);
    else
        memcpy(to, reply->body.text + reply->offset + at, max);
    for (size_t i = 0; reply->flipped && i < max; i++)
        to[i] = (char) ~to[i];
    return (ssize_t) max;
}

static enum MHD_Result send_reply(Request *r) {
    Reply *reply = &r->reply;
    struct MHD_Response *response;
    enum MHD_Result queued;

    if (reply->stall_usec > 0 && reply->stall_at == UINT64_MAX && !r->stalled) {
        request_stall(r);
        return MHD_YES;
    }
    if (reply->status == 0 || reply->body.failed)
        return MHD_NO; /* libmicrohttpd closes the connection */

    if (!reply->glb && reply->size == UINT64_MAX && reply->cut == UINT64_MAX &&
        reply->stall_at == UINT64_MAX && !reply->promised && !reply->chunked && !reply->flipped)
        response = reply->body.size
                       ? MHD_create_response_from_buffer(reply->body.size, TAKE(reply->body.text),
                                                         MHD_RESPMEM_MUST_FREE)
                       : MHD_create_response_from_buffer(0, (void *) "", MHD_RESPMEM_PERSISTENT);
    else
        response = MHD_create_response_from_callback(
            reply->chunked ? MHD_SIZE_UNKNOWN : reply_size(reply) + reply->promised, BLOCK_BYTES,
            on_read, r, NULL);
    if (!response)
        return MHD_NO;
    for (unsigned i = 0; i < reply->n_headers; i++)
        (void) MHD_add_response_header(response, reply->headers[i].name, reply->headers[i].value);
    queued = MHD_queue_response(r->connection, reply->status, response);
    MHD_destroy_response(response);
    return queued;
}

/* Also with broken escapes further on. */
static bool is_below(const Request *r, const char *prefix) {
    return strncmp(r->path ? r->path : r->uri, prefix, strlen(prefix)) == 0;
}

static void prepare(Request *r) {
    r->endpoint = EP_OTHER;
    if (r->listener == LISTENER_FILES)
        files_prepare(r->sim, r);
    else if (r->path && is_below(r, "/_sim/"))
        r->endpoint = EP_CONTROL;
    else if (is_below(r, "/storage/v1/"))
        storage_prepare(r);
    else
        replicate_prepare(r->sim, r);
}

static void route(Request *r) {
    if (r->listener == LISTENER_FILES) {
        files_route(r->sim, r, &r->reply);
        return;
    }
    pthread_mutex_lock(&r->sim->lock);
    if (r->endpoint == EP_CONTROL)
        control_route(r->sim, r, &r->reply);
    else if (is_below(r, "/storage/v1/"))
        storage_route(r->sim, r, &r->reply);
    else
        replicate_route(r->sim, r, &r->reply);
    pthread_mutex_unlock(&r->sim->lock);
}

static void count(Request *r) {
    Sim *sim = r->sim;

    pthread_mutex_lock(&sim->lock);
    sim->stats.requests[r->endpoint][r->reply.status < CODE_MAX ? r->reply.status : 0]++;
    if (r->listener == LISTENER_FILES && r->reply.status) {
        uint64_t size = reply_size(&r->reply);

        sim->stats.file_bytes += size < r->reply.cut ? size : r->reply.cut;
    }
    pthread_mutex_unlock(&sim->lock);
}

static enum MHD_Result finish(Request *r) {
    count(r);
    r->answered = true;
    return send_reply(r);
}

/* Takes the fault for this request, if any; true: and that is the whole answer. */
static bool meet_fault(Request *r, bool early) {
    Sim *sim = r->sim;

    pthread_mutex_lock(&sim->lock);
    prepare(r);
    if (!early) {
        sim->stats.received[r->endpoint]++;
        sim->stats.reused += r->on_connection > 1;
    }
    if (r->endpoint != EP_CONTROL && !r->fault)
        r->fault = fault_take(sim, r, early);
    pthread_mutex_unlock(&sim->lock);
    return r->fault && fault_prevents(r->fault);
}

/* On its way for a while yet, whether its sender still waits or not; true: come back later. */
static bool is_under_way(Request *r) {
    if (r->stalled) {
        r->stalled = false;
        r->arrived_usec = text_now_usec();
        return false;
    }
    if (!r->fault || r->fault->arrive_usec < 0)
        return false;
    r->reply.stall_usec = r->fault->arrive_usec;
    request_stall(r);
    return true;
}

/* What the headers refuse is answered at once where a body of some size follows, as by a server that
 * goes on reading; libmicrohttpd would close the connection, and the answer might be lost with it. */
static void send_early(Request *r) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const char *length = request_header(r, "Content-Length");
    _cleanup_(buf_done) Buf b = { 0 };

    if (!info || !length || strtoull(length, NULL, 10) < EARLY_BYTES)
        return;
    buf_printf(&b, "HTTP/1.1 %u %s\r\nConnection: keep-alive\r\n", r->reply.status,
               MHD_get_reason_phrase_for(r->reply.status));
    for (unsigned i = 0; i < r->reply.n_headers; i++)
        buf_printf(&b, "%s: %s\r\n", r->reply.headers[i].name, r->reply.headers[i].value);
    buf_printf(&b, "Content-Length: %zu\r\n\r\n%s", r->reply.body.size,
               r->reply.body.text ? r->reply.body.text : "");
    r->sent_early = !b.failed && send(info->connect_fd, b.text, b.size,
                                      MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t) b.size;
}

/* The rest of a body that counts no more: drained, or left where it is. */
static void discard(Request *r, size_t size) {
    r->unread_size += size;
    if (r->unread && r->unread_size > UNREAD_BYTES) {
        r->reply.stall_usec = UNREAD_USEC;
        request_stall(r);
    }
}

static enum MHD_Result end_refused(Request *r) {
    pthread_mutex_lock(&r->sim->lock);
    r->sim->stats.received[r->endpoint]++;
    r->sim->stats.reused += r->on_connection > 1;
    r->sim->stats.upload_bytes += r->unread_size;
    pthread_mutex_unlock(&r->sim->lock);
    if (!r->sent_early)
        return finish(r);
    count(r);
    r->answered = true;
    return MHD_NO;
}

/* It is there: what it asks for is done. */
static void deliver(Request *r) {
    if (!r->fault || !fault_prevents(r->fault)) {
        if (r->oversized)
            reply_text(&r->reply, 413, "application/json",
                       "{\"detail\":\"too large\",\"status\":413}");
        else
            route(r);
    }
    if (r->fault)
        fault_apply(r->fault, r, &r->reply);
}

static enum MHD_Result answer(Request *r) {
    if (r->refused)
        return end_refused(r);
    if (!r->arrived)
        (void) meet_fault(r, false);
    r->arrived = true;
    if (is_under_way(r))
        return MHD_YES;
    deliver(r);
    return finish(r);
}

static enum MHD_Result begin(Request *r, const char *method) {
    int64_t keep_bytes;
    bool faults;

    r->begun = true;
    if (!(r->method = strdup(method)))
        return MHD_NO;
    pthread_mutex_lock(&r->sim->lock);
    keep_bytes = r->sim->set.keep_bytes;
    faults = r->sim->faults;
    pthread_mutex_unlock(&r->sim->lock);
    if (faults && meet_fault(r, true)) {
        pthread_mutex_lock(&r->sim->lock);
        r->sim->stats.received[r->endpoint]++;
        pthread_mutex_unlock(&r->sim->lock);
        fault_apply(r->fault, r, &r->reply);
        return finish(r); /* before the body is read, which nobody will do any more */
    }
    if (!storage_is_upload(r))
        return MHD_YES;
    pthread_mutex_lock(&r->sim->lock);
    prepare(r);
    r->refused = storage_refuses_early(r->sim, r);
    pthread_mutex_unlock(&r->sim->lock);
    if (r->refused) {
        reply_header(&r->reply, "Keep-Alive", "timeout=61");
        send_early(r);
        return MHD_YES;
    }
    return (r->upload = upload_new(keep_bytes)) ? MHD_YES : MHD_NO;
}

static enum MHD_Result feed(Request *r, const char *bytes, size_t size) {
    if (r->refused) {
        discard(r, size);
        return MHD_YES;
    }
    if (r->upload)
        return upload_feed(r->upload, bytes, size) ? MHD_YES : MHD_NO;
    if (r->body.size + size > BODY_MAX)
        r->oversized = true;
    else
        buf_add(&r->body, bytes, size);
    return r->body.failed ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *bytes,
                                  size_t *size, void **request) {
    Request *r = *request;

    (void) cls, (void) connection, (void) url, (void) version;
    if (!r)
        return MHD_NO;
    if (r->answered)
        return send_reply(r); /* it was stalled */
    if (!r->begun)
        return begin(r, method);
    if (*size) {
        enum MHD_Result fed = feed(r, bytes, *size);

        *size = 0;
        return fed;
    }
    return answer(r);
}

/* Called as soon as the first line of a request is there. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection) {
    Listener *l = cls;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    Peer *peer = info ? info->socket_context : NULL;
    Request *r = calloc(1, sizeof *r);
    bool bad;

    if (!r)
        return NULL;
    *r = (Request){ .sim = l->sim, .listener = l->kind, .connection = connection };
    r->arrived_usec = text_now_usec();
    r->on_connection = peer ? ++peer->requests : 1;
    reply_reset(&r->reply);
    if (!(r->uri = strdup(uri))) {
        free(r);
        return NULL;
    }
    r->path = text_decode_url(uri, strcspn(uri, "?"), &bad);
    if ((r->query = strchr(r->uri, '?')))
        r->query++;
    return r;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code) {
    Request *r = *request;
    Sim *sim;

    (void) cls, (void) connection, (void) code;
    if (!r)
        return;
    *request = NULL;
    sim = r->sim;
    /* It was under way when its sender left, which libmicrohttpd saw first: it arrives all the same. */
    if (r->stalled && !r->answered && r->fault && r->fault->arrive_usec >= 0) {
        r->arrived_usec = text_now_usec();
        deliver(r);
        count(r);
    }
    if (r->sent_early && !r->answered) /* its sender left when it had read the answer */
        (void) end_refused(r);
    pthread_mutex_lock(&sim->lock);
    if (r->fault)
        fault_unref(r->fault);
    pthread_mutex_unlock(&sim->lock);
    reply_reset(&r->reply);
    upload_free(r->upload);
    json_decref(r->json);
    buf_done(&r->body);
    free(r->match_text);
    free(r->part_text);
    free(r->method);
    free(r->uri);
    free(r->path);
    free(r);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    Listener *l = cls;

    (void) connection;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = calloc(1, sizeof(Peer));
        pthread_mutex_lock(&l->sim->lock);
        l->sim->stats.connections[l->kind]++;
        pthread_mutex_unlock(&l->sim->lock);
    } else {
        free(*context);
        *context = NULL;
    }
}

int listener_start(Listener *l, Sim *sim, ListenerKind kind, const struct sockaddr *address,
                   socklen_t size) {
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), yes = 1;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME;

    if (fd < 0)
        return -errno;
    (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, address, size) < 0 || listen(fd, 4096) < 0) {
        int e = -errno;

        close(fd);
        return e;
    }
    *l = (Listener){ .sim = sim, .kind = kind };
    l->daemon = MHD_start_daemon(
        flags | (address->sa_family == AF_INET6 ? (unsigned) MHD_USE_IPv6 : 0), 0, NULL, NULL,
        on_request, l, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_URI_LOG_CALLBACK, on_uri, l,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, l, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        l, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t) BLOCK_BYTES, MHD_OPTION_CONNECTION_TIMEOUT, 120u, MHD_OPTION_END);
    if (!l->daemon) {
        close(fd);
        return -ENOMEM;
    }
    return 0;
}

void listener_stop(Listener *l) {
    if (l->daemon)
        MHD_stop_daemon(l->daemon); /* closes the socket */
    l->daemon = NULL;
}
