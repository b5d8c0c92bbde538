-- Each function's body can be read: when they are made nobody looks, since they stand in any order.
SELECT no_plan();
SELECT ok((SELECT count(*) > 100 FROM pg_proc p WHERE p.pronamespace = 'meshify'::regnamespace), 'there are many');
SET check_function_bodies = on;
SELECT lives_ok(f.look, f.name)
FROM (SELECT format('SELECT pg_catalog.%I(%s)', v.proname, p.oid) AS look, p.oid::regprocedure::text AS name
      FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN pg_proc v ON v.oid = l.lanvalidator
      WHERE p.pronamespace = 'meshify'::regnamespace OR p.proname LIKE 'meshify%' ORDER BY 2) f;
SELECT * FROM finish();
