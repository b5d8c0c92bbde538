/* Who asks Storage for something: what the gateway makes of the keys, and the roles in them. */
#include <string.h>

#include "http.h"
#include "storage.h"

/* The payload of a JWT, when it can be read; a key for tests may be no JWT inside. */
static json_t *read_claims(const char *jwt) {
    const char *first = strchr(jwt, '.'), *second = first ? strchr(first + 1, '.') : NULL;
    _cleanup_free_ char *text = NULL;
    size_t size;

    if (!second)
        return NULL;
    text = text_decode_base64(first + 1, (size_t) (second - first - 1), &size);
    return text ? json_loadb(text, size, 0, NULL) : NULL;
}

/* What the role in the claims may; a JWT has one, or is refused. */
static Role role_of(const Sim *sim, const json_t *claims, Reply *reply) {
    const char *role = json_string_value(json_object_get(claims, "role"));
    const json_t *end = json_object_get(claims, "exp");

    if (json_is_integer(end) && json_integer_value(end) < sim_now(sim) / SEC_USEC) {
        storage_denied(reply, "\"exp\" claim timestamp check failed");
        return ROLE_BAD;
    }
    if (!claims)
        return ROLE_SERVICE;
    if (!role) {
        storage_denied(reply, "Invalid JWT: it has no role");
        return ROLE_BAD;
    }
    if (strcmp(role, "service_role") == 0)
        return ROLE_SERVICE;
    if (strcmp(role, "anon") == 0 || strcmp(role, "authenticated") == 0)
        return ROLE_OTHER;
    storage_problem(reply, 500, "500", "DatabaseError", "database error, code: 22023",
                    "DatabaseError");
    return ROLE_BAD;
}

static Role role_of_jwt(const Sim *sim, const char *jwt, Reply *reply) {
    json_t *claims;
    Role role;

    if (strncmp(jwt, "eyJ", 3) != 0) {
        storage_denied(reply, "Invalid Compact JWS");
        return ROLE_BAD;
    }
    if (sim->set.storage_key && strcmp(jwt, sim->set.storage_key) != 0) {
        storage_denied(reply, "signature verification failed");
        return ROLE_BAD;
    }
    claims = read_claims(jwt);
    role = role_of(sim, claims, reply);
    json_decref(claims);
    return role;
}

/* The gateway puts a JWT in the place of a key of the new kind, which counts only as apikey. */
static Role role_of_key(const Sim *sim, const char *apikey, Reply *reply) {
    if (!apikey) {
        storage_invalid(reply, "headers must have required property 'authorization'");
        return ROLE_BAD;
    }
    if (strncmp(apikey, "sb_publishable_", 15) == 0)
        return ROLE_OTHER;
    if (strncmp(apikey, "sb_secret_", 10) != 0)
        return role_of_jwt(sim, apikey, reply);
    if (!sim->set.storage_key || strcmp(apikey, sim->set.storage_key) == 0)
        return ROLE_SERVICE;
    reply_text(reply, 401, "application/json",
               "{\"message\":\"Unregistered API key\",\"hint\":\"Double check the provided API key "
               "as it is not registered for this project.\"}");
    return ROLE_BAD;
}

Role storage_role(const Sim *sim, const Request *r, Reply *reply) {
    const char *token = request_header(r, "Authorization"), *apikey = request_header(r, "apikey");

    if (token && strncasecmp(token, "Bearer ", 7) == 0)
        token += 7;
    if (!token || (strncmp(token, "sb_", 3) == 0 && apikey && strcmp(token, apikey) == 0))
        return role_of_key(sim, apikey, reply);
    return role_of_jwt(sim, token, reply);
}
