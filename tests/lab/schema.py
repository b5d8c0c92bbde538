"""Migrating, and comparing what is in a database with what was."""

import difflib
import os
import re

from .tap import ok
from .postgres import ROOT, SUPERUSER

LAST = int(re.search(r"^SCHEMA_VERSION +:= (\d+)$", open(os.path.join(ROOT, "Makefile"), encoding="utf-8").read(), re.MULTILINE).group(1))

# What pg_dump would show of the schemas of a project, for servers that are newer than it. Also privileges, which
# have an order of their own here.
LISTING = r"""
WITH space AS (SELECT s.oid, s.nspname, s.nspowner, s.nspacl FROM pg_namespace s
               WHERE s.nspname !~ '^pg_|^information_schema$'),
acls AS (
    SELECT 'schema ' || s.nspname AS what, s.nspacl AS acl FROM space s
    UNION ALL SELECT 'table ' || c.oid::regclass, c.relacl FROM pg_class c JOIN space s ON s.oid = c.relnamespace
    UNION ALL SELECT 'column ' || a.attrelid::regclass || '.' || a.attname, a.attacl
              FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN space s ON s.oid = c.relnamespace WHERE NOT a.attisdropped
    UNION ALL SELECT 'function ' || p.oid::regprocedure, p.proacl FROM pg_proc p JOIN space s ON s.oid = p.pronamespace
    UNION ALL SELECT format('default of %s in %s for %s', d.defaclrole::regrole, d.defaclnamespace::regnamespace, d.defaclobjtype), d.defaclacl
              FROM pg_default_acl d)
SELECT line FROM (
    SELECT 'schema ' || s.nspname || ' of ' || s.nspowner::regrole AS line FROM space s
    UNION ALL SELECT format('%s %s of %s %s %s: row security %s %s', c.relkind, c.oid::regclass, c.relowner::regrole, c.relpersistence, c.reloptions,
                            c.relrowsecurity, c.relforcerowsecurity) FROM pg_class c JOIN space s ON s.oid = c.relnamespace
    UNION ALL SELECT format('column %s.%s %s %s %s %s', a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod),
                            CASE WHEN a.attnotnull THEN 'not null' END, a.attidentity, pg_get_expr(d.adbin, d.adrelid))
              FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN space s ON s.oid = c.relnamespace
              LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
              WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v')
    UNION ALL SELECT format('constraint %s on %s: %s %s', k.conname, k.conrelid::regclass, pg_get_constraintdef(k.oid), k.convalidated)
              FROM pg_constraint k JOIN space s ON s.oid = k.connamespace
    UNION ALL SELECT format('%s %s', pg_get_indexdef(i.indexrelid), i.indisvalid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN space s ON s.oid = c.relnamespace
    UNION ALL SELECT format('%s %s', pg_get_triggerdef(t.oid), t.tgenabled) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
              JOIN space s ON s.oid = c.relnamespace WHERE NOT t.tgisinternal
    UNION ALL SELECT format('view %s: %s', c.oid::regclass, pg_get_viewdef(c.oid)) FROM pg_class c JOIN space s ON s.oid = c.relnamespace WHERE c.relkind = 'v'
    UNION ALL SELECT format('of %s: %s', p.proowner::regrole, pg_get_functiondef(p.oid)) FROM pg_proc p JOIN space s ON s.oid = p.pronamespace WHERE p.prokind <> 'a'
    UNION ALL SELECT format(E'CREATE TYPE %s AS ENUM (%s)', t.oid::regtype, (SELECT string_agg(E'\n    ' || quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder)
                            FROM pg_enum e WHERE e.enumtypid = t.oid)) FROM pg_type t JOIN space s ON s.oid = t.typnamespace WHERE t.typtype = 'e'
    UNION ALL SELECT format('policy %s on %s.%s: %s %s %s %s %s', p.policyname, p.schemaname, p.tablename, p.permissive, p.roles, p.cmd, p.qual, p.with_check) FROM pg_policies p
    UNION ALL SELECT format('acl of %s: %s %s%s', a.what, CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END, x.privilege_type,
                                 CASE WHEN x.is_grantable THEN ' with grant option' END) FROM acls a, aclexplode(a.acl) x
) l ORDER BY line"""


def listing(postgres, db="meshify"):
    connection = postgres.connect(SUPERUSER, db)
    cursor = connection.cursor()
    cursor.execute("SET search_path = pg_catalog; " + LISTING) # names with their schemas
    lines = [line for (text,) in cursor.fetchall() for line in text.splitlines()]
    connection.close()
    return lines


def schema(lab, db="meshify"):
    postgres = lab.postgres
    dump = postgres.run("pg_dump", "-s", "-h", postgres.dir, "-p", str(postgres.port), "-U", SUPERUSER, "-d", db, check=False)
    if "version mismatch" in dump.stderr:
        return listing(postgres, db)
    if dump.returncode != 0:
        raise RuntimeError(dump.stderr)
    return [line for line in dump.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))] # random words


def same(got, expected, what):
    ok(got == expected, what, "\n".join(list(difflib.unified_diff(expected, got, lineterm="", n=0))[:20]))


def migrate(lab, db="meshify"):
    return lab.ctl("migrate", config=lab.write_config("admin", **{"database.url": lab.postgres.url("postgres", db)}))


def migrated(lab, what, db="meshify"):
    """Answers what there is to know about the database."""
    r = migrate(lab, db)
    ok(r.returncode == 0 and re.search(rf"version {LAST}\b", r.stdout), what, f"{r.returncode}: {r.stdout}{r.stderr}")
    return [line.removeprefix("note: ") for line in r.stdout.splitlines() if line.startswith("note: ")]
