/* Names of objects, and what the database is asked and told of them. The configuration proposes a name; the database
 * gives it, with a number where another purchase had it, and writes it down before the first byte goes up. So what a
 * dead worker left in the store has a row, and the sweep finds it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "flow/fence.h"
#include "flow/object.h"
#include "flow/store.h"

/* What stands for a placeholder of [storage] path; NULL: no such one. */
static const char *variable(const Job *j, const char *name, size_t n) {
    const struct {
        const char *name, *value;
    } all[] = {
        { "{user_id}", j->user_id },
        { "{project_id}", j->project_id },
        { "{asset_id}", j->asset_id },
        { "{job_id}", j->id },
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strlen(all[i].name) == n && strncmp(name, all[i].name, n) == 0)
            return all[i].value;
    return NULL;
}

char *object_path(const Config *c, const Job *j) {
    StrBuf name = { 0 };
    int r = 0;

    for (const char *p = c->storage_path; *p && r == 0;) {
        /* The configuration knows no placeholder but these; text of any other would stay as it is. */
        size_t n = *p == '{' ? strcspn(p, "}") + 1 : strcspn(p, "{");
        const char *value = *p == '{' ? variable(j, p, n) : NULL;

        r = value ? strbuf_add(&name, value, strlen(value)) : strbuf_add(&name, p, n);
        p += n;
    }
    if (r == 0)
        return name.text;
    strbuf_done(&name);
    return NULL;
}

/* Names are counted for each place: the same name in another bucket is another object. */
char *object_place(const Config *c) {
    return store_driver(c)->place(c);
}

int object_name_ask(const Config *c, const char *worker, const Job *j, DbRequest *ret) {
    _cleanup_free_ char *path = object_path(c, j), *place = object_place(c);
    const Purchase *p = job_purchase(j);

    /* The last is for how long the name is kept from the sweep should we die: as long as the job may go on. */
    *ret = (DbRequest){ .sql = "SELECT * FROM meshify.storing($1, $2, $3, $4, $5, $6, $7)" };
    if (!path || !place || db_request_add(ret, worker) < 0 || db_request_add(ret, j->id) < 0 ||
        db_request_add(ret, p->step) < 0 || db_request_addf(ret, "%u", p->number) < 0 ||
        db_request_add(ret, path) < 0 || db_request_add(ret, place) < 0 ||
        db_request_add_usec(ret, c->job_timeout_usec + OBJECT_GRACE_USEC) < 0) {
        db_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

JobEvent object_name_hear(const PGresult *res, Job *j, Fault *reterr) {
    /* An answer without a name is no leave to store. */
    bool whole = PQntuples(res) == 1 && PQnfields(res) == 2;
    JobEvent ev = fence_hear(whole ? PQgetvalue(res, 0, 0) : "", reterr);
    char *name;

    if (ev != EV_OK)
        return ev;
    name = strdup(PQgetvalue(res, 0, 1));
    if (!name || !*name) {
        fault_set(reterr, FAULT_INTERNAL, name ? "the database gave no name" : "out of memory");
        free(name);
        return EV_RETRY;
    }
    free(j->object);
    j->object = name;
    return EV_OK;
}

/* Asked before the object is deleted: another job of the asset may have made its row name it meanwhile. */
int object_drop_ask(const char *worker, const Job *j, DbRequest *ret) {
    *ret = (DbRequest){ .sql = "SELECT meshify.unstoring($1, $2, $3)" };
    if (db_request_add(ret, worker) < 0 || db_request_add(ret, j->id) < 0 ||
        db_request_add(ret, j->object) < 0) {
        db_request_done(ret);
        return -ENOMEM;
    }
    return 0;
}

JobEvent object_drop_hear(const PGresult *res) {
    /* What is not understood leaves the object where it is. */
    const char *answer = PQntuples(res) == 1 ? PQgetvalue(res, 0, 0) : "";

    return strcmp(answer, "ok") == 0 ? EV_OK : strcmp(answer, "busy") == 0 ? EV_WAIT : EV_FINAL;
}
