/* What the files of the simulated Storage server share. */
#pragma once
#include "store.h"

typedef enum Role {
    ROLE_SERVICE,
    ROLE_OTHER, /* anon, a user: row-level security shows them nothing */
    ROLE_BAD    /* no key, or none that is taken */
} Role;

/* storage.c: what the server sends as HTTP 400, with the true status inside. */
void storage_refuse(Reply *reply, const char *status, const char *error, const char *message,
                    const char *code);
void storage_invalid(Reply *reply, const char *message); /* a request that its schema refuses */
void storage_no_key(Reply *reply);
void storage_no_bucket(Reply *reply);
void storage_denied(Reply *reply, const char *message);

/* The object's bytes, or what a Range header asks for of them. */
void storage_serve(Request *r, Reply *reply, const Object *o);

/* The request's body as JSON; false: refused. A body without its Content-Type is no JSON: NULL. */
bool storage_read_json(const Request *r, Reply *reply, json_t **ret);

/* storage_auth.c: who asks. ROLE_BAD: `reply` says why. */
Role storage_role(const Sim *sim, const Request *r, Reply *reply);

/* storage_upload.c */
bool storage_key_is_good(const char *key);
bool storage_check_key(const char *key, Reply *reply); /* false: refused */
void storage_upload(Sim *sim, Request *r, Reply *reply);

/* storage_sign.c: `key` NULL: many at once. */
void storage_sign(Sim *sim, Request *r, Reply *reply, Role role, const char *bucket,
                  const char *key);
void storage_serve_signed(Sim *sim, Request *r, Reply *reply, const char *bucket, const char *key);
