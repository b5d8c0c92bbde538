/* The configuration: one error for each thing that can be wrong, all of them at once, no secret in any. */
#include "parse.h"

#define A40 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A200 A40 A40 A40 A40 A40

/* What is wrong, and how all of its errors begin; each ends in what is allowed. */
/* clang-format off */
static const struct {
    const char *text, *says;
} wrong[] = {
    { "[worker]\nmax_jobs = 0\n", "f.ini:2: [worker] max_jobs: '0' is not possible; allowed is a whole number from 1 to 100000" },
    { "[database]\nurl = postgresql://w:[YOUR-PASSWORD]@h/x\n", "f.ini:2: [database] url: still holds a placeholder for the password; write" },
    { "[worker]\nmax_jobs = 100001\n", "f.ini:2: [worker] max_jobs: '100001'" },
    { "[worker]\nmax_jobs = -1\n", "f.ini:2: [worker] max_jobs: '-1'" },
    { "[worker]\nmax_jobs = +1\n", "f.ini:2: [worker] max_jobs: '+1'" },
    { "[worker]\nmax_jobs = 0x10\n", "f.ini:2: [worker] max_jobs: '0x10'" },
    { "[worker]\nmax_jobs = 1 0\n", "f.ini:2: [worker] max_jobs: '1 0'" },
    { "[worker]\nmax_jobs = 18446744073709551617\n", "f.ini:2: [worker] max_jobs: '18446744073709551617'" },
    { "[worker]\nmax_jobs =\n", "f.ini:2: [worker] max_jobs: is empty; allowed is" },
    { "[worker]\nmax_jobs = 1\n\nmax_jobs = 2\n", "f.ini:4: [worker] max_jobs: is there twice, first in line 2" },
    { "[worker]\nretry_base = 5\n", "f.ini:2: [worker] retry_base: '5' is not possible; allowed is a duration from 1ms to 1h" },
    { "[worker]\nretry_base = 5 sec\n", "f.ini:2: [worker] retry_base: '5 sec'" },
    { "[worker]\nretry_base = 1.5s\n", "f.ini:2: [worker] retry_base: '1.5s'" },
    { "[worker]\nretry_base = 99999999999999999d\n", "f.ini:2: [worker] retry_base: '99999999999999999d'" },
    { "[worker]\nretry_base = 20min\nretry_max = x\n", "f.ini:3: [worker] retry_max: 'x'" },
    { "[worker]\nretry_base = x\nretry_max = 1ms\n", "f.ini:2: [worker] retry_base: 'x'" },
    { "[worker]\nretry_base = 20min\n", "f.ini:2: [worker] retry_base: worker.retry_base is larger than worker.retry_max" },
    { "[worker]\nspool_max = 100MiB\n", "f.ini:2: [worker] spool_max: asset.max_size is larger than worker.spool_max" },
    { "[worker]\nspool_max = 8GB\n", "f.ini:2: [worker] spool_max: '8GB'" },
    { "[worker]\nspool_dir = relative\n", "f.ini:2: [worker] spool_dir: 'relative' is not possible; allowed is an absolute path" },
    { "[worker]\ninstance = a b\n", "f.ini:2: [worker] instance: 'a b'" },
    { "[worker]\nmax_job = 1\n", "f.ini:2: [worker] max_job: is not a key of this section; its keys are instance, max_jobs," },
    { "[worker]\nR8aBcD==\n", "f.ini:2: [worker] this key: is not a key" },
    { "[worker]\nabcD==\n", "f.ini:2: [worker] this key: is not a key" },
    { "[worker]\nnothing here\n", "f.ini:2: is neither [section] nor KEY = VALUE" },
    { "[worker]\nmax_jobs = 1\n  max_age = 1h\n", "f.ini:3: [worker] an indented line goes on" },
    { "[worker]\n = 1\n", "f.ini:2: no key stands before the =" },
    { "max_jobs = 1\n", "f.ini:1: stands before the first [section]" },
    { "[worker\nmax_jobs = x\n", "f.ini:1: the section's ] is missing" },
    { "[worker] max_jobs = 1\n", "f.ini:1: something stands behind the section's ]" },
    { "[]\n", "f.ini:1: the section's name is empty" },
    { "[workers]\nmax_jobs = x\n", "f.ini:1: [workers] is not a section; sections are worker," },
    { "[step]\n", "f.ini:1: [step] is not a section" },
    { "[step a.b]\n", "f.ini:1: [step a.b] is not a section" },
    { "[pipeline video]\n", "f.ini:1: [pipeline video] is not a section" },
    { "[worker]\ninstance = \xff\xfe\n", "f.ini:2: is not UTF-8 text" },
    { "[database]\nurl = https://x/?a=b\n", "f.ini:2: [database] url: is not what it should be; allowed is postgresql:" },
    { "[database]\nlisten_url = plain\n", "f.ini:2: [database] listen_url: is not what it should be" },
    { "[database]\nlisten = yes\n", "f.ini:2: [database] listen: 'yes' is not possible; allowed is one of: auto on off" },
    { "[database]\nlease = 999ms\n", "f.ini:2: [database] lease: '999ms'" },
    { "[replicate]\nurl = ftp://x\n", "f.ini:2: [replicate] url: 'ftp://x'" },
    { "[replicate]\nurl = https://user@host/\n", "f.ini:2: [replicate] url: holds a user or a password, which can't be given here; allowed is http" },
    { "[replicate]\nurl = https://host:0/\n", "f.ini:2: [replicate] url: 'https://host:0/'" },
    { "[replicate]\nurl = https://host:65536/\n", "f.ini:2: [replicate] url:" },
    { "[replicate]\nurl = https://h/v1?x=1\n", "f.ini:2: [replicate] url:" },
    { "[replicate]\nurl = https://h/a/../b\n", "f.ini:2: [replicate] url:" },
    { "[replicate]\nurl = http://h/v1\n", "f.ini:2: [replicate] url: http would show the token" },
    { "[replicate]\nallow_insecure = on\n", "f.ini:2: [replicate] allow_insecure: cannot be on while url is https; allowed is off" },
    { "[replicate]\nallow_insecure = true\n", "f.ini:2: [replicate] allow_insecure: 'true' is not possible; allowed is on or off" },
    { "[replicate]\ncreate_rate = 600\n", "f.ini:2: [replicate] create_rate: '600' is not possible; allowed is a rate from 1/min" },
    { "[replicate]\ncreate_rate = 0/min\n", "f.ini:2: [replicate] create_rate: '0/min'" },
    { "[replicate]\npoll_min = 20s\n", "f.ini:2: [replicate] poll_min: replicate.poll_min is larger than replicate.poll_max" },
    { "[replicate]\npoll_max = 20ms\n", "f.ini:2: [replicate] poll_max: replicate.poll_min is larger" },
    { "[replicate]\nwebhook_url = https://x/\n", "f.ini:2: [replicate] webhook_url: is not supported yet" },
    { "[replicate]\ndownload_hosts = a/b\n", "f.ini:2: [replicate] download_hosts: 'a/b'" },
    { "[replicate]\ndownload_hosts = *\n", "f.ini:2: [replicate] download_hosts: '*'" },
    { "[replicate]\ndownload_hosts = ,\n", "f.ini:2: [replicate] download_hosts: ','" },
    { "[storage]\ndriver = s3\n", "f.ini:2: [storage] driver: s3 is not supported yet; allowed is supabase or dir" },
    { "[storage]\ndriver = disk\n", "f.ini:2: [storage] driver: 'disk' is not possible; allowed is one of" },
    { "[storage]\naccess_key_id = a\n", "f.ini:2: [storage] access_key_id: is not supported yet" },
    { "[storage]\nsecret_access_key = a\n", "f.ini:2: [storage] secret_access_key: is not supported yet" },
    { "[storage]\nregion = eu\n", "f.ini:2: [storage] region: is not supported yet" },
    { "[storage]\npublic_url = shop\n", "f.ini:2: [storage] public_url: 'shop'" },
    { "[storage]\npublic_url = https://s.example/storage/v1\n", "f.ini:2: [storage] public_url: is the address that url has from outside: https://HOST without /storage/v1" },
    { "[storage]\nbucket = a/b\n", "f.ini:2: [storage] bucket: 'a/b'" },
    { "[storage]\nbucket = ..\n", "f.ini:2: [storage] bucket: '..'" },
    { "[storage]\npath = {user_id}.glb\n", "f.ini:2: [storage] path: '{user_id}.glb'" },
    { "[storage]\npath = {user}/{job_id}\n", "f.ini:2: [storage] path:" },
    { "[storage]\npath = ../{job_id}\n", "f.ini:2: [storage] path:" },
    { "[storage]\npath = a/./{job_id}\n", "f.ini:2: [storage] path:" },
    { "[storage]\npath = a//{job_id}\n", "f.ini:2: [storage] path:" },
    { "[storage]\npath = /{job_id}\n", "f.ini:2: [storage] path:" },
    { "[storage]\npath = {job_id}/\n", "f.ini:2: [storage] path:" },
    { "[storage]\npath = {job_id\n", "f.ini:2: [storage] path:" },
    { "[storage]\npath = {job_id}}\n", "f.ini:2: [storage] path:" },
    { "[storage]\npath = a%2f{job_id}\n", "f.ini:2: [storage] path:" },
    { "[storage]\npath = \xc3\xa4{job_id}\n", "f.ini:2: [storage] path:" },
    { "[asset]\nclamd = /run/clamd.sock\n", "f.ini:2: [asset] clamd: is not supported yet" },
    { "[asset]\nmax_size = 5GiB\n", "f.ini:2: [asset] max_size: '5GiB'" },
    { "[metrics]\nlisten = 9464\n", "f.ini:2: [metrics] listen: '9464' is not possible; allowed is HOST:PORT or [IPV6]:PORT" },
    { "[metrics]\nlisten = :9464\n", "f.ini:2: [metrics] listen: ':9464'" },
    { "[metrics]\nlisten = 127.0.0.1:65536\n", "f.ini:2: [metrics] listen: '127.0.0.1:65536'" },
    { "[metrics]\nlisten = 127.0.0.1:\n", "f.ini:2: [metrics] listen: '127.0.0.1:'" },
    { "[metrics]\nlisten = ::1:9464\n", "f.ini:2: [metrics] listen: '::1:9464'" },
    { "[metrics]\nlisten = [localhost]:1\n", "f.ini:2: [metrics] listen: '[localhost]:1'" },
    { "[log]\nlevel = INFO\n", "f.ini:2: [log] level: 'INFO'" },
    { "[pipeline text]\n", "f.ini:1: [pipeline text] steps: is not set" },
    { "[pipeline text]\nsteps =\n", "f.ini:2: [pipeline text] steps: is not set" },
    { "[pipeline text]\nsteps = paint, foo\n", "f.ini:2: [pipeline text] steps: names the unknown step 'foo'" },
    { "[pipeline text]\nsteps = paint, paint\n", "f.ini:2: [pipeline text] steps: names step 'paint' twice" },
    { "[pipeline text]\nsteps = a/b\n", "f.ini:2: [pipeline text] steps: holds something that is no step's name" },
    { "[pipeline text]\nsteps = sculpt\n", "f.ini:2: [pipeline text] steps: begins with step 'sculpt', which uses ${image}" },
    { "[pipeline text]\nsteps = paint\ntimeout = 1s\n", "f.ini:3: [pipeline text] timeout: is not a key of this section; its keys are steps\n" },
    { "[pipeline image]\nsteps = sculpt\n[pipeline image]\nsteps = sculpt\n", "f.ini:3: [pipeline image] is there twice" },
    { "[step a]\nmodel = x/y\n[step a]\nmodel = x/z\n", "f.ini:3: [step a] is there twice" },
    { "[step a]\n", "f.ini:1: [step a] model: is not set" },
    { "[step a]\nmodel = x\n", "f.ini:2: [step a] model: is not a model" },
    { "[step a]\nmodel = x/y:latest\n", "f.ini:2: [step a] model: is not a model" },
    { "[step a]\nmodel = x/y/z\n", "f.ini:2: [step a] model: is not a model" },
    { "[step a]\nmodel = ../y\n", "f.ini:2: [step a] model: is not a model" },
    { "[step a]\nmodel = x/y?z\n", "f.ini:2: [step a] model: is not a model" },
    { "[step a]\nmodel = deployment:x\n", "f.ini:2: [step a] model: is not a model" },
    { "[step a]\nmodel = x/y\nmodel = x/z\n", "f.ini:3: [step a] model: is there twice" },
    { "[step a]\nmodel = x/y\noutput = mesh\n", "f.ini:3: [step a] output: is not a JSON pointer" },
    { "[step a]\nmodel = x/y\noutput = /a~2\n", "f.ini:3: [step a] output: is not a JSON pointer" },
    { "[step a]\nmodel = x/y\ntimeout = 2d\n", "f.ini:3: [step a] timeout: is out of range" },
    { "[step a]\nmodel = x/y\ncolour = red\n", "f.ini:3: [step a] colour: is not a key of this section; its keys are model, input.NAME, output and timeout\n" },
    { "[step a]\nmodel = x/y\ninput. = red\n", "f.ini:3: [step a] input.: names nothing" },
    { "[step a]\nmodel = x/y\ninput.p = ${promt}\n", "f.ini:3: [step a] input.p: holds the unknown variable '${promt}'" },
    { "[step a]\nmodel = x/y\ninput.p = [[\"a ${x\"]]\n", "f.ini:3: [step a] input.p: holds the unknown variable '${x'" },
    { "[step a]\nmodel = x/y\ninput.p = [\"a ;b\"]\n", "f.ini:3: [step a] input.p: begins as JSON does and is cut off" },
    { "[step a]\nmodel = x/y\ninput.p = 99999999999999999999\n", "f.ini:3: [step a] input.p: is JSON that cannot be sent" },
    { "[step a]\nmodel = x/y\ninput.p = [\"\\ud800\"]\n", "f.ini:3: [step a] input.p: is JSON that cannot be sent" },
    { "[worker]\nmax_jobs = 184467440737095516170\n", "f.ini:2: [worker] max_jobs: " },
    { "[worker]\nspool_dir = /a\x01" "b\n", "f.ini:2: [worker] spool_dir: " },
    { "[worker]\nspool_dir = /" A200 A200 A200 A200 A200 A200 "\n", "f.ini:2: [worker] spool_dir: " },
    { "[worker]\ninstance = " A40 A40 A40 "\n", "f.ini:2: [worker] instance: " },
    { "[storage]\nbucket = .\n", "f.ini:2: [storage] bucket: '.'" },
    { "[replicate]\nurl = https://\n", "f.ini:2: [replicate] url: 'https://'" },
    { "[replicate]\nurl = https:///x\n", "f.ini:2: [replicate] url: 'https:///x'" },
    { "[replicate]\nurl = https://.h/\n", "f.ini:2: [replicate] url: 'https://.h/'" },
    { "[replicate]\nurl = https://-h/\n", "f.ini:2: [replicate] url: 'https://-h/'" },
    { "[replicate]\nurl = https://a..b/\n", "f.ini:2: [replicate] url: 'https://a..b/'" },
    { "[replicate]\nurl = https://a!b/\n", "f.ini:2: [replicate] url: 'https://a!b/'" },
    { "[replicate]\nurl = https://h:/\n", "f.ini:2: [replicate] url: 'https://h:/'" },
    { "[replicate]\nurl = https://h:123456/\n", "f.ini:2: [replicate] url: 'https://h:123456/'" },
    { "[replicate]\nurl = https://h:12x/\n", "f.ini:2: [replicate] url: 'https://h:12x/'" },
    { "[replicate]\nurl = https://" A200 A40 A40 "/\n", "f.ini:2: [replicate] url: " },
    { "[replicate]\ndownload_hosts = ok.example *.\n", "f.ini:2: [replicate] download_hosts: 'ok.example *.'" },
    { "[replicate]\ntoken = a\x7f\n", "f.ini:2: [replicate] token: is not what it should be" },
    { "[storage]\nurl = abc\n", "f.ini:2: [storage] url: 'abc'" },
    { "[storage]\npath = {job_id}/" A200 A40 "a" "\n", "f.ini:2: [storage] path: " },
    { "[storage]\npath = {job_id}/" A200 "/" A200 "/" A200 "\n", "f.ini:2: [storage] path: " },
    { "[database]\nurl = //x\n", "f.ini:2: [database] url: is not what it should be" },
    { "[step a]\nmodel = x/y\ntimeout = 1ms\n", "f.ini:3: [step a] timeout: is out of range" },
    { "[step a]\nmodel = x/y\ntimeout = soon\n", "f.ini:3: [step a] timeout: is out of range" },
    { "[step " A40 "]\nmodel = x/y\n", "f.ini:1: [step " },
    { "[step a]\nmodel = x/y\n  z\n", "f.ini:3: [step a] an indented line" },
    { "[step a]\nmodel = x/y\ninputs.x = red\n", "f.ini:3: [step a] inputs.x: is not a key of this section; its keys are model, input.NAME, output and timeout; is input.x meant?\n" },
    { "[step a]\nmodel = x/y\nInput.imageURL = red\n", "f.ini:3: [step a] Input.imageURL: is not a key of this section; its keys are model, input.NAME, output and timeout; is input.imageURL meant?\n" },
    { "[step a]\nmodel = x/y\ntime_out = 1s\n", "f.ini:3: [step a] time_out: is not a key of this section; its keys are model, input.NAME, output and timeout; is timeout meant?\n" },
    { "[step a]\nmodel = x/y\nR8aBcD==\n", "f.ini:3: [step a] this key: is not a key of this section" },
    { "[pipeline image]\nsteps = sculpt\nstep = paint\n", "f.ini:3: [pipeline image] step: is not a key of this section; its keys are steps; is steps meant?\n" },
    { "[database]\nkeep = 30d\n", "f.ini:2: [database] keep: is not a key of this section; its keys are url, listen_url, listen, poll_interval, lease, event_retention; keep is called event_retention now\n" },
    { "[log]\nlevels = info\n", "f.ini:2: [log] levels: is not a key of this section; its keys are level, target; is level meant?\n" },
    { "[log]\nbucket = x\n", "f.ini:2: [log] bucket: is not a key of this section; its keys are level, target; bucket is one of [storage]\n" },
    { "[storage]\npublic_url = https://x.supabase.co/rest/v1/\n", "f.ini:2: [storage] public_url: is the address" },
    { "[storage]\nurl = \"https://x.supabase.co\"\n", "f.ini:2: [storage] url: is in quotes; take them off\n" },
    { "[database]\nurl = 'postgresql://w:AAABBB@h/d'\n", "f.ini:2: [database] url: is in quotes; take them off\n" },
    { "[database]\nurl = postgresql://w:AAA\xc3\xa4@h/d\n", "f.ini:2: [database] url: holds what is no printable ASCII; percent-encode" },
};
/* clang-format on */

static void errors(void **state) {
    static const char secrets[] = "[replicate]\ntoken=t\n[storage]\nkey=k\nurl=https://h\n";
    ConfigSource src = { .dropin = { "s.ini", secrets, strlen(secrets) } };

    (void) state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ConfigErrors e = { 0 };
        Config *c = NULL;
        int r = parse_all(&src, wrong[i].text, &c, &e);

        if (r != -EINVAL || e.n != 1 || strncmp(e.text, wrong[i].says, strlen(wrong[i].says)) != 0)
            fail_msg("%s\nsays %d (%u): %s", wrong[i].text, r, e.n, e.text ? e.text : "nothing");
        assert_int_equal(e.text[strlen(e.text) - 1], '\n');
        assert_null(c);
        config_errors_done(&e);
    }
}

static void errors_all_at_once(void **state) {
    char *environ_[] = { "DATABASE_URL=mysql://root:hunter2@x/", "REPLICATE_API_TOKEN=r8_hun ter2",
                         "https_proxy=ftp://me:hunter2@proxy", NULL };
    ConfigText credential = { "meshifyd.supabase_service_role_key", "hunter2\x01", 8 };
    const char dropin[] = "[log]\nlevel = loud\n";
    ConfigSource src = { .environ = environ_,
                         .credentials = &credential,
                         .n_credentials = 1,
                         .dropin = { "d.ini", dropin, strlen(dropin) } };
    ConfigErrors e = { 0 };
    Config *c = NULL;

    (void) state;
    assert_int_equal(
        parse_all(&src,
                  "[worker]\nmax_jobs = 0\nfoo = 1\n[replicate]\ntoken = hunter2\ntoken = hunter2\n"
                  "url = x\n[storage]\nsecret_access_key = hunter2\n[step a]\nmodel = b\n",
                  &c, &e),
        -EINVAL);
    assert_int_equal(e.n, 12);
    assert_null(strstr(e.text, "hunter2"));
    assert_null(strstr(e.text, "hun ter2"));
    assert_non_null(strstr(e.text, "d.ini:2: [log] level: 'loud'"));
    assert_non_null(strstr(e.text, "environment DATABASE_URL: [database] url: is not"));
    assert_non_null(strstr(e.text, "environment REPLICATE_API_TOKEN: [replicate] token: is not"));
    assert_non_null(strstr(e.text, "environment https_proxy: is not a proxy's URL; allowed is "));
    assert_non_null(
        strstr(e.text, "credential meshifyd.supabase_service_role_key: [storage] key: is not"));
    assert_non_null(strstr(e.text,
                           "f.ini: [storage] url: is not set; write https://PROJECT.supabase.co "
                           "here, or set the environment variable SUPABASE_URL\n"));
    config_errors_done(&e);
}

/* Passwords that are not encoded, as people paste them: AAA and BBB with something between. Said is what to do;
 * no piece of one, nor of what follows it. */
/* clang-format off */
static const struct {
    const char *url, *says; /* NULL: it is good */
} urls[] = {
    { "postgresql://w:AAA@BBB@127.0.0.1:1/app", "can't be read as it was meant; percent-encode @ / % #" },
    { "postgresql://w:AAA/BBB@127.0.0.1:1/app", "can't be read as it was meant; percent-encode" },
    { "postgresql://w:123/BBB@127.0.0.1:1/app", "can't be read as it was meant; percent-encode" },
    { "postgresql://w:123/BBB?AAA=1@127.0.0.1:1/app", "can't be read as it was meant; percent-encode" },
    { "postgresql://w:123/BBB?aaa=1@127.0.0.1:1/app", "can't be read as it was meant; percent-encode" },
    { "postgresql://w:AAA@BBB/AAA@127.0.0.1:1/app", "can't be read as it was meant; percent-encode" },
    { "postgresql://w:AAA@BBB?AAA@127.0.0.1:1/app", "can't be read as it was meant; percent-encode" },
    { "postgresql://w:AAA@BBB?aaa=bbb@127.0.0.1:1/app", "can't be read as it was meant; percent-encode" },
    { "postgresql://w:AAA@BBB,AAA:1@127.0.0.1:1/app", "can't be read as it was meant; percent-encode" },
    { "postgresql://w@AAA:BBB@127.0.0.1:1/app", "can't be read as it was meant; percent-encode" },
    { "postgresql://w:AAABBB", "holds no port from 1 to 65535 behind the host's colon" },
    { "postgresql://w:AAA/BBB", "holds no port from 1 to 65535 behind the host's colon" },
    { "postgresql://w:AAA%zzBBB@127.0.0.1:1/app", "can't be read; percent-encode" },
    { "postgresql://w:AAA%00BBB@127.0.0.1:1/app", "can't be read; percent-encode" },
    { "postgresql://w:AAABBB%@127.0.0.1:1/app", "can't be read; percent-encode" },
    { "postgresql://w:AAA BBB@127.0.0.1:1/app", "can't be read as it was meant; percent-encode" },
    { "postgresql://w:AAABBB@[127.0.0.1:1/app", "can't be read; percent-encode" },
    { "postgresql://w@127.0.0.1:1/app?password=AAA&BBB", "can't be read; percent-encode" },
    { "postgresql://w@127.0.0.1:1/app?password=AAA&BBB=1", "holds an unknown parameter, which can't be shown; percent-encode" },
    { "postgresql://w@127.0.0.1:1/app?password=AAA=BBB", "can't be read; percent-encode" },
    { "postgresql://w@127.0.0.1:1/app?password=AAABBB&bogus=1", "holds an unknown parameter, which can't be shown; percent-encode" },
    { "postgresql://w@127.0.0.1:1/app?password=AAA&bbb=3", "holds an unknown parameter, which can't be shown; percent-encode" },
    { "postgresql://w@127.0.0.1:1/app?user=w;password=AAA&bbb=3", "holds an unknown parameter, which can't be shown; percent-encode" },
    { "postgresql://w@127.0.0.1:1/app;password=AAABBB", "can't be read as it was meant; write ? before" },
    { "postgresql://w@127.0.0.1:1/app&password=AAABBB", "can't be read as it was meant; write ? before" },
    { "postgresql://w@127.0.0.1;password=AAABBB/app", "can't be read as it was meant; write ? before" },
    { "postgresql://w@/app?host=AAA%20BBB", "can't be read as it was meant; write ? before" },
    { "postgresql://w@/app?host=w:AAA%40BBB", "can't be read as it was meant; write ? before" },
    { "host=127.0.0.1;port=1;password=AAABBB", "can't be read as it was meant; part its parameters with blanks" },
    { "host=127.0.0.1&port=1&password=AAABBB", "can't be read as it was meant; part its parameters with blanks" },
    { "host=127.0.0.1,port=1,password=AAABBB", "can't be read as it was meant; part its parameters with blanks" },
    { "host=127.0.0.1; password=AAABBB", "can't be read as it was meant; part its parameters with blanks" },
    { "host='127.0.0.1 AAABBB'", "can't be read as it was meant; part its parameters with blanks" },
    { "host=w:AAA@BBB", "can't be read as it was meant; part its parameters with blanks" },
    { "hostaddr=127.0.0.1;password=AAABBB", "can't be read as it was meant; part its parameters with blanks" },
    { "host=127.0.0.1 port=1;password=AAABBB", "can't be read as it was meant; part its parameters with blanks" },
    { "host=127.0.0.1 dbname=app;password=AAABBB port=1", "can't be read as it was meant; part its parameters with blanks" },
    { "host=127.0.0.1 user=w,Password=AAABBB port=1", "can't be read as it was meant; part its parameters with blanks" },
    { "host=127.0.0.1;password=AAA bbb=1", "holds an unknown parameter, which can't be shown; put a value" },
    { "host=127.0.0.1 password=AAA port=1 bbb=1", "holds an unknown parameter, which can't be shown; put a value" },
    { "Host=127.0.0.1;Password=AAABBB", "holds the unknown parameter 'Host'" },
    { "postgresql://w.abc:[AAABBB]@127.0.0.1:1/app?pgbouncer=true&connection_limit=1", "holds the unknown parameter 'pgbouncer'; take it out" },
    { "postgres://w.abc:AAABBB@127.0.0.1:1/app?sslmode=require&supa=base-pooler.x", "holds the unknown parameter 'supa'; take it out" },
    { "postgresql://w:AAABBB@127.0.0.1:1/app?prepareThreshold=0", "holds the unknown parameter 'prepareThreshold'; take it out" },
    { "host=127.0.0.1 port=1 dbname=app user=w password=AAA BBB", "can't be read; put a value with blanks or quotes into quotes" },
    { "host=127.0.0.1 password=AAA BBB=1 dbname=app", "holds an unknown parameter, which can't be shown; put a value with blanks" },
    { "host=127.0.0.1 password=AAA bbb=1 dbname=app", "holds an unknown parameter, which can't be shown; put a value with blanks" },
    { "host=127.0.0.1 password='AAA'BBB' dbname=app", "can't be read; put a value with blanks or quotes into quotes" },
    { "host=127.0.0.1 password='AAABBB dbname=app", "can't be read; put a value with blanks or quotes into quotes" },
    { "host=127.0.0.1 password='AAABBB' pgbouncer=true", "holds the unknown parameter 'pgbouncer'" },
    { "host=127.0.0.1 pool_size = 3 password=AAABBB", "holds the unknown parameter 'pool_size'" },
    { "host=127.0.0.1 password=AAA port=BBB", "holds a port that is no number" },
    { "host=127.0.0.1 password=AAA port=65536", "holds a port that is no number" },
    { "postgresql://w:AAA#BBB@127.0.0.1:1/app", NULL },
    { "postgresql://w:AAA?BBB@127.0.0.1:1/app", NULL },
    { "postgresql://w:[AAABBB]@127.0.0.1:1/app", NULL },
    { "postgresql://w:AAA%40BBB@127.0.0.1:1/app", NULL },
    { "postgresql://w:AAA&=:BBB@a,b:5433,[::1]:5434/app?sslmode=verify-full&ssl=true", NULL },
    { "postgresql:///app?host=/run/postgresql&user=w@tenant", NULL },
    { "postgresql://h/app?options=-c%20geqo%3Doff", NULL },
    { "postgres://", NULL },
    { "host=@abstract port=1,,2 password = 'A \\' A\\\\' dbname=app", NULL },
    { "host=/run/postgresql@14,@meshify,fe80::1%eth0 dbname=a,b password=A;b=c,d=e", NULL },
    { "host=h options='-c geqo=off -c search_path=a,b -c x.y=1'", NULL },
    { "service=prod", NULL },
};
/* clang-format on */

static void database_urls(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        for (int listen = 0; listen < 2; listen++) {
            ConfigErrors e = { 0 };
            Config *c = NULL;
            char text[600];
            const char *why;
            int r;

            (void) snprintf(text, sizeof text, GOOD "[database]\n%s = %s\n",
                            listen ? "listen_url" : "url", urls[i].url);
            r = parse_all(&nothing, text, &c, &e);
            why = e.text ? strstr(e.text, "url: ") : NULL;
            if (r != (urls[i].says ? -EINVAL : 0) ||
                (urls[i].says &&
                 (!why || strncmp(why + 5, urls[i].says, strlen(urls[i].says)) != 0)) ||
                (why && (strstr(why, "AAA") || strstr(why, "BBB") || strstr(why, "bbb"))))
                fail_msg("%s\nsays %d: %s", urls[i].url, r, e.text ? e.text : "nothing");
            config_free(c);
            config_errors_done(&e);
        }
}

/* What holds a login in another key is not shown, nor what stands behind a question mark. */
static void other_urls(void **state) {
    static const char *const keys[] = {
        "[replicate]\nurl",  "[replicate]\nwebhook_url", "[replicate]\ndownload_hosts",
        "[storage]\nurl",    "[storage]\npublic_url",    "[storage]\nbucket",
        "[storage]\npath",   "[metrics]\nlisten",        "[worker]\ninstance",
        "[worker]\nmax_jobs"
    };
    static const char *const values[] = {
        "https://w:AAABBB@h/v1", "https://w:AAA/BBB@h/v1",    "//w:AAABBB@h",
        "w:AAABBB@h:1",          "https://h/v1?token=AAABBB", "https://h/v1#AAABBB"
    };

    (void) state;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
            ConfigErrors e = { 0 };
            Config *c = NULL;
            char text[300];

            (void) snprintf(text, sizeof text, "[replicate]\ntoken=t\n[storage]\nkey=k\n%s = %s\n",
                            keys[i], values[k]);
            if (parse_all(&nothing, text, &c, &e) != -EINVAL || strstr(e.text, "AAA") ||
                strstr(e.text, "BBB"))
                fail_msg("%s\nsays: %s", text, e.text ? e.text : "nothing");
            config_errors_done(&e);
        }
}

static void quotes_are_warned_of(void **state) {
    char *environ_[] = { "SUPABASE_SERVICE_ROLE_KEY='eyJ.hunter2'", NULL };
    ConfigSource src = { .environ = environ_ };
    ConfigErrors e = { 0 };
    Config *c = NULL;

    (void) state;
    assert_int_equal(
        parse_all(&src,
                  "[replicate]\ntoken = \"r8_hunter2\"\n[storage]\nkey=\"x\"\nurl=https://h\n", &c,
                  &e),
        0);
    assert_string_equal(
        c->warnings,
        "f.ini:2: [replicate] token: is in quotes, which are sent with it; take them off\n"
        "environment SUPABASE_SERVICE_ROLE_KEY: [storage] key: is in quotes, which are sent with "
        "it; take them off\n");
    c = config_free(c);
    environ_[0] = "SUPABASE_SERVICE_ROLE_KEY=eyJ.good";
    assert_int_equal(
        parse_all(&src, "[replicate]\ntoken = r8_x\n[storage]\nkey=\"x\"\nurl=https://h\n", &c, &e),
        0);
    assert_null(c->warnings);
    config_free(c);
}

static void missing(void **state) {
    ConfigErrors e = { 0 };
    Config *c = NULL;

    (void) state;
    assert_int_equal(parse_all(&nothing, NULL, &c, &e), -EINVAL);
    assert_string_equal(
        e.text,
        "f.ini: [replicate] token: is not set; write the token here, or set the environment "
        "variable "
        "REPLICATE_API_TOKEN, or give the systemd credential replicate_api_token\n"
        "f.ini: [storage] url: is not set; write https://PROJECT.supabase.co here, or set the "
        "environment variable SUPABASE_URL\n"
        "f.ini: [storage] key: is not set; write the service role key here, or set the environment "
        "variable SUPABASE_SERVICE_ROLE_KEY, or give the systemd credential "
        "supabase_service_role_key\n");
    config_errors_done(&e);
    assert_int_equal(
        parse_all(&nothing, "[storage]\ndriver = dir\n[replicate]\ntoken = t\n", &c, &e), -EINVAL);
    assert_string_equal(e.text, "f.ini: [storage] url: is not set; write an absolute path here\n");
    config_errors_done(&e);
    assert_int_equal(parse_all(&nothing, GOOD "driver = dir\n", &c, &e), -EINVAL);
    assert_string_equal(e.text,
                        "f.ini:4: [storage] url: is not a directory; with driver = dir it is an "
                        "absolute path\n");
    config_errors_done(&e);
    assert_int_equal(
        parse_all(&nothing, "[replicate]\ntoken = t\n[storage]\nkey = k\nurl = /srv\n", &c, &e),
        -EINVAL);
    assert_int_equal(e.n, 1);
    config_errors_done(&e);
    assert_int_equal(
        parse_all(
            &nothing,
            "[replicate]\ntoken = t\n[storage]\nkey = k\nurl = https://x.supabase.co/rest/v1\n", &c,
            &e),
        -EINVAL);
    assert_non_null(strstr(
        e.text, "f.ini:5: [storage] url: is not a Supabase project; with driver = supabase it is "
                "https://HOST without /storage/v1, /rest/v1"));
    config_errors_done(&e);
    assert_int_equal(parse_all(&nothing,
                               "[replicate]\ntoken = t\n[storage]\nkey = k\nurl = "
                               "https://supabase.com/dashboard/project/x\n",
                               &c, &e),
                     -EINVAL);
    assert_non_null(strstr(e.text, "f.ini:5: [storage] url: is not a Supabase project"));
    config_errors_done(&e);
}

static void errors_are_bounded(void **state) {
    ConfigErrors e = { 0 };
    Config *c = NULL;
    char text[40000] = "";
    size_t n = 0, lines = 0;

    (void) state;
    for (int i = 0; i < 1000; i++)
        n += (size_t) sprintf(text + n, "[section%d]\n", i);
    assert_int_equal(parse_all(&nothing, text, &c, &e), -EINVAL);
    for (const char *p = e.text; (p = strchr(p, '\n')); p++)
        lines++;
    assert_int_equal(lines, 100);
    assert_int_equal(e.n, 1003);
    config_errors_done(&e);
}

static void too_many(void **state) {
    static const struct {
        const char *begin, *each;
        int max;
        const char *end, *says;
    } cases[] = {
        { "", "[step s%d]\nmodel = x/y\n", 60, "", "[step s60] is one section too many" },
        { "[step a]\nmodel = x/y\n", "input.k%d = 1\n", 63, "", "[step a]" },
        { "", "[step s%d]\nmodel = x/y\n", 16,
          "[pipeline image]\nsteps = s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 s12 s13 s14 s15%s\n",
          "names too many steps; at most 16" },
    };

    (void) state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int more = 0; more < 2; more++) {
            ConfigErrors e = { 0 };
            Config *c = NULL;
            char text[8000];
            size_t n = (size_t) snprintf(text, sizeof text, GOOD "%s", cases[i].begin);
            int r;

            for (int k = 0; k < cases[i].max + more; k++) {
                char number[12], *at = strstr(cases[i].each, "%d");

                (void) snprintf(number, sizeof number, "%d", k);
                n += (size_t) snprintf(text + n, sizeof text - n, "%.*s%s%s",
                                       (int) (at - cases[i].each), cases[i].each, number, at + 2);
            }
            if (cases[i].end[0])
                (void) snprintf(text + n, sizeof text - n, "%.*s%s\n",
                                (int) strcspn(cases[i].end, "%"), cases[i].end, more ? " s16" : "");
            r = parse_all(&nothing, text, &c, &e);
            print_message("# case %zu, one more: %d: %s\n", i, more, e.text ? e.text : "");
            assert_int_equal(r, more ? -EINVAL : 0);
            if (more)
                assert_non_null(strstr(e.text, cases[i].says));
            config_free(c);
            config_errors_done(&e);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors),     cmocka_unit_test(errors_all_at_once),
        cmocka_unit_test(missing),    cmocka_unit_test(errors_are_bounded),
        cmocka_unit_test(too_many),   cmocka_unit_test(database_urls),
        cmocka_unit_test(other_urls), cmocka_unit_test(quotes_are_warned_of),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("config errors", tests, NULL, NULL);
}
