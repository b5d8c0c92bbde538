/* The doctor's look at what the project's users may write by themselves: a user who can write a price or a status
 * gets meshes for nothing. Reads the catalogs only; it changes no privilege, but names the command that does. */
#include <stdio.h>

#include "ctl/doctor_query.h"

/* A user who can write a price decides what he pays. The catalogs tell which privileges the roles
 * of the API have, as far as row security lets them through. Each row has the command that takes
 * the privilege away. */
static void check_users(Doctor *d, PGconn *conn) {
    static const char sql[] =
        "WITH c (tab, col, new_too) AS (VALUES" /* new_too: what whoever inserts has to write */
        "  ('mesh_assets', 'credits_cost', true), ('jobs', 'status', true),"
        "  ('jobs', 'priority', true), ('jobs', 'worker_id', true), ('jobs', 'run_after', true),"
        "  ('mesh_assets', 'status', false), ('mesh_assets', 'output_path', false),"
        "  ('mesh_assets', 'owner_id', false), ('jobs', 'input_data', false),"
        "  ('jobs', 'asset_id', false), ('jobs', 'attempts', false), ('jobs', 'crashes', false),"
        "  ('jobs', 'worked', false), ('profiles', 'credits_remaining', true),"
        "  ('profiles', 'credits_used', true), ('projects', 'owner_id', false)),"
        " open AS (SELECT r.rolname, k.oid, c.tab, c.col, w.word, coalesce(g.grantee, r.oid) AS id,"
        "  CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(coalesce(o.rolname, r.rolname)) END"
        "  AS grantee"
        " FROM pg_roles r CROSS JOIN c"
        " JOIN (VALUES ('UPDATE', 'w'), ('INSERT', 'a')) w (word, cmd) ON cmd = 'w' OR new_too"
        " JOIN pg_class k ON k.oid = to_regclass('public.' || c.tab)"
        " JOIN pg_attribute a ON a.attrelid = k.oid AND a.attname = c.col AND NOT a.attisdropped"
        " LEFT JOIN LATERAL (" /* as whom: itself, a role it is in, PUBLIC */
        "   SELECT x.grantee"
        "   FROM (SELECT (aclexplode(k.relacl)).* UNION ALL SELECT (aclexplode(a.attacl)).*) x"
        "   WHERE x.privilege_type = w.word"
        "     AND (x.grantee = 0 OR pg_has_role(r.oid, x.grantee, 'usage')) LIMIT 1) g ON true"
        " LEFT JOIN pg_roles o ON o.oid = g.grantee"
        " WHERE r.rolname IN ('anon', 'authenticated')"
        "   AND has_column_privilege(r.oid, k.oid, a.attnum, w.word)"
        "   AND (NOT k.relrowsecurity OR r.rolbypassrls OR EXISTS ("
        "        SELECT FROM pg_policy p WHERE p.polrelid = k.oid AND p.polpermissive"
        "          AND p.polcmd IN ('*', w.cmd::\"char\")"
        /* whose a project is may be written where the policy lets nothing else be written */
        "          AND (c.tab <> 'projects' OR pg_get_expr(coalesce(p.polwithcheck, p.polqual),"
        "               p.polrelid) !~ '\\mowner_id\\M')"
        "          AND (p.polroles = '{0}' OR EXISTS (SELECT FROM unnest(p.polroles) o"
        "               WHERE o <> 0 AND pg_has_role(r.oid, o, 'usage'))))))"
        " SELECT string_agg(DISTINCT o.rolname, ' and '), string_agg(DISTINCT o.tab || '.' || "
        "o.col,"
        "  ', '), o.word, format('REVOKE %s ON public.%I FROM %s;', o.word, o.tab, o.grantee)"
        /* users go on editing what is theirs: a column can't be taken out of a table's grant */
        "  || coalesce((SELECT format(' GRANT %s (%s) ON public.%I TO %s;', o.word,"
        "   string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), o.tab, o.grantee)"
        "   FROM pg_attribute a WHERE o.tab IN ('profiles', 'projects') AND a.attrelid = o.oid"
        "   AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"
        "   AND NOT EXISTS (SELECT FROM c WHERE c.tab = o.tab AND c.col = a.attname)"
        "   AND CASE o.id WHEN 0 THEN has_column_privilege('public', o.oid, a.attnum, o.word)"
        "       ELSE has_column_privilege(o.id, o.oid, a.attnum, o.word) END"
        "   HAVING count(*) > 0), '')"
        " FROM open o GROUP BY o.oid, o.tab, o.word, o.id, o.grantee ORDER BY 2, 3, 1";
    PGresult *res = doctor_ask(d, conn, "users", sql);

    if (!res)
        return;
    /* One line for each table and role, with the very command: nobody has to work out what to
     * revoke. */
    for (int i = 0; i < PQntuples(res); i++)
        doctor_say(d, GRADE_FAIL, "users", doctor_text(res, i, 3), "%s can write %s (%s)",
                   doctor_text(res, i, 0), doctor_text(res, i, 1), doctor_text(res, i, 2));
    if (PQntuples(res) == 0)
        doctor_say(d, GRADE_OK, "users", NULL,
                   "anon and authenticated can't write what jobs cost or how they run");
    PQclear(res);
}

/* Rows that users insert by themselves are not paid for, and a mesh is made for them all the
 * same. A warning: some projects mean it so. */
static void check_inserts(Doctor *d, PGconn *conn) {
    static const char sql[] =
        "SELECT CASE WHEN p.polname IS NULL THEN 'row security, which is off,'"
        "  ELSE 'policy ' || quote_ident(p.polname) END, k.relname, string_agg(r.rolname, ', '"
        "  ORDER BY r.rolname)"
        " FROM pg_roles r"
        " JOIN pg_class k ON k.oid IN (to_regclass('public.mesh_assets'), "
        "to_regclass('public.jobs'))"
        " LEFT JOIN pg_policy p ON p.polrelid = k.oid AND k.relrowsecurity AND p.polpermissive"
        "   AND p.polcmd IN ('*', 'a')"
        "   AND (p.polroles = '{0}' OR EXISTS (SELECT FROM unnest(p.polroles) o"
        "        WHERE o <> 0 AND pg_has_role(r.oid, o, 'usage')))"
        " WHERE r.rolname IN ('anon', 'authenticated')"
        "   AND has_any_column_privilege(r.oid, k.oid, 'INSERT')"
        "   AND (p.oid IS NOT NULL OR NOT k.relrowsecurity)"
        " GROUP BY 1, 2 ORDER BY 2, 1";
    PGresult *res = doctor_ask(d, conn, "users", sql);
    char advice[200];

    for (int i = 0; res && i < PQntuples(res); i++) {
        (void) snprintf(advice, sizeof advice,
                        "If only the edge function should: REVOKE INSERT ON public.%s FROM %s;",
                        doctor_text(res, i, 1), doctor_text(res, i, 2));
        doctor_say(d, GRADE_WARN, "users", advice,
                   "%s lets %s insert rows of public.%s: they cost nothing, and nothing is given "
                   "back for them",
                   doctor_text(res, i, 0), doctor_text(res, i, 2), doctor_text(res, i, 1));
    }
    PQclear(res);
}

void doctor_users(Doctor *d, PGconn *conn) {
    check_users(d, conn);
    check_inserts(d, conn);
}
