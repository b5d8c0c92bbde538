#!/usr/bin/python3
"""The simulator: its answers against the API's own description, its faults, its options."""

import base64
import hashlib
import http.client
import json
import os
import re
import socket
import struct
import subprocess
import time
import urllib.parse
import jsonschema

from lab import TRELLIS, Process, Sim, clean_environment, is_, main, ok, program, test, wait_for
from lab.postgres import ROOT

with open(os.path.join(ROOT, "tests/sim/openapi.json"), encoding="utf-8") as text:
    OPENAPI = json.load(text)
# Null though the description does not say so, as the service really answers once it reads from its database.
PREDICTION = OPENAPI["components"]["schemas"]["schemas_prediction_response"]["properties"]
for name in ("started_at", "completed_at", "logs"):
    PREDICTION[name]["type"] = ["string", "null"]
# "hidden", which it really answers, is both of the two alternatives.
PREDICTION["version"]["anyOf"] = PREDICTION["version"].pop("oneOf")

TOKEN = {"Authorization": "Bearer t"}
KEY = {"Authorization": "Bearer eyJ.a.b"}
JSON = {**KEY, "Content-Type": "application/json"}
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")


def nullable(schema):
    """OpenAPI's "nullable" in JSON Schema's words."""
    if isinstance(schema, list):
        return [nullable(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {k: nullable(v) for k, v in schema.items()}
    if schema.pop("nullable", False):
        schema["type"] = [schema["type"], "null"]
    return schema


def checker():
    formats = jsonschema.FormatChecker(formats=())
    formats.checks("date-time")(lambda v: not isinstance(v, str) or TIME.match(v) is not None)
    formats.checks("uri")(lambda v: not isinstance(v, str) or urllib.parse.urlsplit(v).scheme in ("http", "https"))
    return formats


def problems(path, method, status, answer):
    """What the description says against this answer."""
    schema = OPENAPI["paths"][path][method]["responses"].get(str(status))
    if schema is None:
        return [f"status {status} is not described"]
    whole = nullable({**schema, "components": OPENAPI["components"]})
    return [e.message for e in jsonschema.Draft202012Validator(whole, format_checker=checker()).iter_errors(answer)]


def fetch(url, method="GET", body=None, headers=TOKEN):
    """Answers status, headers and bytes; no proxy, no redirect, no repetition."""
    at = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=20)
    try:
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        connection.request(method, at.path + (f"?{at.query}" if at.query else ""), data, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def read(url, *args, **more):
    status, headers, text = fetch(url, *args, **more)
    return status, headers, json.loads(text)


def create(sim, prompt="a chair", headers=(), **input_):
    body = {"version": TRELLIS, "input": {"images": ["https://images.example/1.png"], "generate_model": True,
                                          "prompt": prompt, **input_}}
    return read(f"{sim.url}/v1/predictions", "POST", body, headers={**TOKEN, **dict(headers)})


def settled(sim, prediction, seconds=20):
    url = f"{sim.url}/v1/predictions/{prediction}"

    def ended():
        answer = read(url)[2]
        return answer if answer["status"] not in ("starting", "processing") else None
    return wait_for(ended, seconds, "the end of a prediction")


# --- the program ----------------------------------------------------------------------------------


def run(*args):
    return subprocess.run([program("meshify-sim"), *args], capture_output=True, text=True, timeout=20,
                          env=clean_environment(), check=False)


@test
def options():
    ok(run("--version").stdout.startswith("meshify-sim "), "--version")
    ok("--listen" in run("--help").stdout, "--help names the options")
    for args in (("--nonsense",), ("--seed", "x"), ("--listen", "here"), ("--listen", "127.0.0.1:"), ("more",)):
        r = run(*args)
        ok(r.returncode == 64 and r.stderr, f"{' '.join(args)}: 64, and why", r.stderr)
    sim = Sim()
    r = run("--listen", sim.url.removeprefix("http://"))
    ok(r.returncode == 69 and "in use" in r.stderr, "a port in use: 69, and why", r.stderr)
    is_(sim.stop(), 0, "SIGTERM ends it")
    six = Process([program("meshify-sim"), "--listen", "[::1]:0", "--files", "[::1]:0"])
    url = six.wait_line(r"listening on (http://\[::1\]:\d+) files http://\[::1\]:\d+").group(1)
    is_(fetch(f"{url}/_sim/")[0], 200, "IPv6 works")
    is_(six.stop(), 0, "and ends")


# --- Replicate ------------------------------------------------------------------------------------


@test
def answers_are_as_described():
    sim = Sim()
    sim.config(starting_ms=0, processing_ms=300, settle_ms=300, jitter_percent=0)
    status, headers, first = create(sim)
    is_(problems("/predictions", "post", status, first), [], "create")
    is_(first["status"], "starting", "it begins starting")
    ok(headers["Location"].endswith(first["id"]), "Location names it")
    for path, url in (("/models/{model_owner}/{model_name}/predictions", "models/black-forest-labs/flux-schnell"),
                      ("/deployments/{deployment_owner}/{deployment_name}/predictions", "deployments/me/mine")):
        status, _, answer = read(f"{sim.url}/v1/{url}/predictions", "POST", {"input": {"prompt": "a chair"}})
        is_(problems(path, "post", status, answer), [], f"create at {url}")
    seen = set()
    for shape in ("in flight", "from the database"):
        answer = settled(sim, first["id"])
        is_(problems("/predictions/{prediction_id}", "get", 200, answer), [], f"get, {shape}")
        ok(answer["output"]["model_file"].startswith(sim.files), f"the mesh's URL, {shape}")
        ok("%|" in (answer["logs"] or ""), f"logs with a progress bar, {shape}")
        wait_for(lambda: "webhook_completed" in settled(sim, first["id"]), 10, "the database's shape")
        seen.add(tuple(sorted(answer)))
    is_(len(seen), 2, "two shapes")
    is_(problems("/predictions", "get", 200, read(f"{sim.url}/v1/predictions")[2]), [], "list")
    is_(problems("/account", "get", 200, read(f"{sim.url}/v1/account")[2]), [], "account")
    second = create(sim)[2]["id"]
    status, _, answer = read(f"{sim.url}/v1/predictions/{second}/cancel", "POST")
    is_(problems("/predictions/{prediction_id}/cancel", "post", status, answer), [], "cancel")
    is_(answer["status"], "canceled", "cancel cancels")
    sim.config(keep_ms=0)
    gone = read(f"{sim.url}/v1/predictions/{first['id']}")[2]
    is_((gone["data_removed"], gone["output"], gone["input"]), (True, None, {}), "data is removed after a time")
    is_(problems("/predictions/{prediction_id}", "get", 200, gone), [], "get, with data removed")
    sim.stop()


@test
def refusals():
    sim = Sim()
    url = f"{sim.url}/v1/predictions"
    good = {"version": TRELLIS, "input": {"images": ["x"]}}
    cases = (
        ("no token", "POST", good, {}, 401), ("wrong scheme", "POST", good, {"Authorization": "Basic x"}, 401),
        ("no JSON", "POST", b"{", TOKEN, 400), ("no version", "POST", {"input": {}}, TOKEN, 422),
        ("a bad version", "POST", {"version": "x", "input": {}}, TOKEN, 422),
        ("an unknown key", "POST", {**good, "more": 1}, TOKEN, 422),
        ("no images", "POST", {"version": TRELLIS, "input": {}}, TOKEN, 422),
        ("a short Cancel-After", "POST", good, {**TOKEN, "Cancel-After": "1s"}, 422),
        ("a bad Cancel-After", "POST", good, {**TOKEN, "Cancel-After": "soon"}, 422),
        ("another method", "DELETE", None, TOKEN, 404),
    )
    for what, method, body, headers, expected in cases:
        status, _, answer = read(url, method, body, headers=headers)
        ok(status == expected and answer["detail"], f"{what}: {expected}", (status, answer))
    is_(read(f"{url}/unknown")[0], 404, "an unknown prediction: 404")
    is_(sim.predictions(), [], "nothing was made")
    sim.config(api_token="good")
    is_(fetch(url)[0], 401, "another token than the set one: 401")
    is_(fetch(url, headers={"Authorization": "Bearer good"})[0], 200, "the set one")
    sim.stop()


@test
def lifetimes():
    sim = Sim()
    sim.config(cancel_after_min_ms=0, jitter_percent=0, starting_ms=60000)
    waiting = create(sim, headers={"Cancel-After": "1s"}.items())[2]
    ok(waiting.get("deadline"), "Cancel-After gives a deadline")
    is_(settled(sim, waiting["id"])["status"], "aborted", "its end before the start: aborted")
    sim.config(starting_ms=0, processing_ms=60000)
    working = create(sim, headers={"Cancel-After": "1s"}.items())[2]["id"]
    is_(settled(sim, working)["status"], "canceled", "its end while working: canceled")
    sim.stop()


@test
def listing():
    sim = Sim()
    made = [create(sim, f"job {i}")[2]["id"] for i in range(230)]
    pages, url = [], f"{sim.url}/v1/predictions"
    while url:
        page = read(url)[2]
        pages.append([p["id"] for p in page["results"]])
        url = page["next"]
    is_([len(p) for p in pages], [100, 100, 30], "pages of 100")
    is_([i for p in pages for i in p], made[::-1], "newest first, each once")
    ok("logs" not in read(f"{sim.url}/v1/predictions")[2]["results"][0], "no logs in a listing")
    second = read(read(f"{sim.url}/v1/predictions")[2]["next"])[2]
    is_([p["id"] for p in read(second["previous"])[2]["results"]], pages[0], "previous leads back")
    since = next(p["created_at"] for p in second["results"])
    after = read(f"{sim.url}/v1/predictions?created_after={urllib.parse.quote(since)}")[2]
    is_(len(after["results"]), 100, "created_after: a page")
    before = read(f"{sim.url}/v1/predictions?created_before={urllib.parse.quote(since)}")[2]
    is_(before["results"][0]["id"], pages[1][1], "created_before excludes that time")
    is_(read(f"{sim.url}/v1/predictions?created_after=yesterday")[0], 400, "a bad time: 400")
    sim.fault("create", {"late_list_ms": 600000})
    late = create(sim, "late")[2]["id"]
    ok(late not in [p["id"] for p in read(f"{sim.url}/v1/predictions")[2]["results"]], "late listing: not yet there")
    sim.config(shift_ms=700000)
    ok(late in [p["id"] for p in read(f"{sim.url}/v1/predictions")[2]["results"]], "then there")
    sim.stop()


@test
def throttling():
    sim = Sim()
    for how in ("body", "text", "header"):
        sim.config(throttle=how, create_rate={"per_minute": 6, "burst": 1})
        is_(create(sim)[0], 201, f"{how}: one is let through")
        status, headers, answer = create(sim)
        is_(status, 429, f"{how}: the next is not")
        is_(("retry_after" in answer, "resets in ~" in answer["detail"], "Retry-After" in headers),
            (how == "body", how != "header", how == "header"), f"{how}: says there how long")
        is_(headers["ratelimit-remaining"], "0", f"{how}: nothing remains")
    is_(sim.stats()["throttled"], 3, "they are counted")
    is_(fetch(f"{sim.url}/v1/account")[0], 200, "reads have another bucket")
    sim.config(create_rate=None)
    is_([create(sim)[0] for _ in range(3)], [201] * 3, "null lifts the limit")
    sim.stop()


# --- the file host --------------------------------------------------------------------------------


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def check_glb(data):
    """Its JSON chunk, when the container holds together."""
    magic, version, length = struct.unpack_from("<4sII", data)
    size, kind = struct.unpack_from("<I4s", data, 12)
    document = json.loads(data[20:20 + size])
    binary, bin_kind = struct.unpack_from("<I4s", data, 20 + size)
    good = (magic, version, length, kind, bin_kind) == (b"glTF", 2, len(data), b"JSON", b"BIN\0")
    return document if good and 28 + size + binary == len(data) else None


@test
def files():
    sim = Sim()
    sim.config(starting_ms=0, processing_ms=0, glb_bytes=30000, model_bytes={"tencent/hunyuan3d-2mv": 500000})
    urls = [settled(sim, create(sim, f"job {i}")[2]["id"])["output"]["model_file"] for i in range(8)]
    meshes = [fetch(u, headers={}) for u in urls]
    ok(all(check_glb(m[2])["asset"]["version"] == "2.0" for m in meshes), "whole GLBs")
    is_(len({m[2] for m in meshes}), 8, "no two equal")
    ok(all(20000 < len(m[2]) < 45000 for m in meshes), "of about the size set", [len(m[2]) for m in meshes])
    is_(fetch(urls[0], headers={})[2], meshes[0][2], "the same again")
    status, headers, data = meshes[0]
    is_((status, headers["Content-Length"], headers["Accept-Ranges"]), (200, str(len(data)), "bytes"), "length and ranges")
    is_(headers["ETag"], f'"{hashlib.md5(data).hexdigest()}"', "the ETag is the MD5")
    is_(set(headers.get_all("x-goog-hash")),
        {"crc32c=" + base64.b64encode(struct.pack(">I", crc32c(data))).decode(),
         "md5=" + base64.b64encode(hashlib.md5(data).digest()).decode()}, "x-goog-hash")
    for range_, part, said in (("bytes=100-199", data[100:200], f"bytes 100-199/{len(data)}"),
                               ("bytes=29000-", data[29000:], f"bytes 29000-{len(data) - 1}/{len(data)}"),
                               ("bytes=-10", data[-10:], f"bytes {len(data) - 10}-{len(data) - 1}/{len(data)}")):
        status, headers, got = fetch(urls[0], headers={"Range": range_})
        is_((status, got, headers["Content-Range"]), (206, part, said), range_)
    is_(fetch(urls[0], headers={"Range": "bytes=9999999-"})[0], 416, "a range behind the end: 416")
    is_(fetch(urls[0], headers={"Range": "bytes=0-9", "If-Range": '"other"'})[0], 200, "If-Range, changed: the whole")
    is_(fetch(urls[0], "HEAD", headers={})[0], 200, "HEAD")
    is_(sim.stats()["file_authorizations"], 0, "no Authorization so far")
    fetch(urls[0])
    is_(sim.stats()["file_authorizations"], 1, "one that arrives is counted")
    is_(fetch(f"{sim.files}/xezq/unknown/x.glb", headers={})[0], 404, "an unknown file: 404")
    mv = read(f"{sim.url}/v1/predictions", "POST", {"version": "71798fbc" + "0" * 56, "input": {"front_image": "x"}})[2]["id"]
    output = settled(sim, mv)["output"]
    ok(400000 < len(fetch(output, headers={})[2]) < 600000, "another size for a model")
    sim.config(keep_ms=0)
    is_(fetch(urls[0], headers={})[0], 404, "gone after a time")
    sim.stop()


# --- Storage --------------------------------------------------------------------------------------


@test
def storage():
    sim = Sim()
    base = f"{sim.url}/storage/v1"
    glb = {**KEY, "Content-Type": "model/gltf-binary"}
    is_(read(f"{base}/bucket/user_assets", headers=KEY)[2]["public"], False, "the bucket is there, private")
    status, _, answer = read(f"{base}/bucket/other", headers=KEY)
    is_((status, answer["statusCode"]), (400, "404"), "another is not: 400 that says 404")
    status, _, answer = read(f"{base}/object/user_assets/u/1.glb", "POST", b"one", headers=glb)
    is_((status, answer["Key"]), (200, "user_assets/u/1.glb"), "upload")
    status, _, answer = read(f"{base}/object/user_assets/u/1.glb", "POST", b"two", headers=glb)
    is_((status, answer["statusCode"], answer["error"]), (400, "409", "Duplicate"), "again: 400 that says 409")
    is_(fetch(f"{base}/object/user_assets/u/1.glb", "POST", b"three", headers={**glb, "x-upsert": "true"})[0], 200, "upsert")
    info = read(f"{base}/object/info/user_assets/u/1.glb", headers=KEY)[2]
    is_((info["size"], info["content_type"]), (5, "model/gltf-binary"), "info")
    is_(fetch(f"{base}/object/user_assets/u/1.glb", headers=KEY)[2], b"three", "the bytes")
    (o,) = sim.objects()
    is_((o["path"], o["sha256"], o["writes"]), ("user_assets/u/1.glb", hashlib.sha256(b"three").hexdigest(), 2), "as listed")
    signed = read(f"{base}/object/sign/user_assets/u/1.glb", "POST", {"expiresIn": 60}, headers=JSON)[2]["signedURL"]
    is_(fetch(f"{base}{signed}", headers={})[2], b"three", "a signed URL serves it, without a key")
    status, _, answer = read(f"{base}{signed}x", headers={})
    is_((status, answer["error"]), (400, "InvalidJWT"), "a forged one does not")
    sim.config(shift_ms=61000)
    is_(fetch(f"{base}{signed}", headers={})[0], 400, "nor one that is too old")
    is_(read(f"{base}/object/sign/user_assets/u/2.glb", "POST", {"expiresIn": 60}, headers=JSON)[2]["statusCode"], "404",
        "no signature for what is not there")
    for what, headers, good in (("service key", KEY, True), ("secret key", {"apikey": "sb_secret_x"}, True),
                                ("both headers with a secret key",
                                 {"apikey": "sb_secret_x", "Authorization": "Bearer sb_secret_x"}, True),
                                ("a secret key as bearer", {"Authorization": "Bearer sb_secret_x"}, False),
                                ("publishable key", {"apikey": "sb_publishable_x"}, False), ("none", {}, False)):
        status = fetch(f"{base}/bucket/user_assets", headers=headers)[0]
        ok((status == 200) == good, f"{what}: {'good' if good else 'refused'}", status)
    for key in ("a/../b", "ü", "a%2fb/%00"):
        status = fetch(f"{base}/object/user_assets/{urllib.parse.quote(key, safe='/%.')}", "POST", b"x", headers=glb)[0]
        is_(status, 400, f"key {key!r}: refused")
    sim.stop()


ODD_KEYS = ("a b", "a+b", "a&b", "a=b", "a$b", "a@b", "a;b", "a:b", "a,b", "a?b", "(a)'!*b")


def refusal(reply):
    """HTTP status, statusCode, error, message and code."""
    status, _, text = reply
    answer = json.loads(text)
    return (status, *(answer.get(k) for k in ("statusCode", "error", "message", "code")))


@test
def storage_signs():
    sim = Sim()
    base = f"{sim.url}/storage/v1"
    signing, glb = f"{base}/object/sign/user_assets", {**KEY, "Content-Type": "image/png"}
    for key in ODD_KEYS:
        quoted = urllib.parse.quote(f"u/{key}", safe="/")
        is_(read(f"{base}/object/user_assets/{quoted}", "POST", key.encode(), headers=glb)[0], 200, f"{key!r}: uploaded")
        one = read(f"{signing}/{quoted}", "POST", {"expiresIn": 60}, headers=JSON)[2]["signedURL"]
        path, token = one.rsplit("?token=", 1)
        kept = "".join(c if c not in ";/?:@&=+$,#" else f"%{ord(c):02X}" for c in key)
        is_(path, f"/object/sign/user_assets/u/{kept}", f"{key!r}: by path, what separates parts of a URL stays escaped")
        works = not set(key) & set(";?:@&=+$,")
        status, headers, text = fetch(f"{base}/object/sign/user_assets/{quoted}?token={token}", headers={})
        if works:
            is_((status, text, headers["Cache-Control"], headers["X-Robots-Tag"], headers["Expires"] is not None), (200, key.encode(), None, "none", True),
                f"{key!r}: served")
        else:
            is_(json.loads(text)["code"], "InvalidSignature", f"{key!r}: and never works")
        (many,) = read(signing, "POST", {"expiresIn": 60, "paths": [f"u/{key}"]}, headers=JSON)[2]
        path, token = many["signedURL"].rsplit("?token=", 1)
        is_((path, many["error"], many["path"]), (f"/object/sign/user_assets/u/{key}", None, f"u/{key}"), f"{key!r}: in a list, it stands as it is")
        is_(fetch(f"{base}/object/sign/user_assets/{quoted}?token={token}", headers={})[2], key.encode(), f"{key!r}: and works")
    plain = read(signing + "/u/a+b", "POST", {"expiresIn": 60}, headers=JSON)[2]["signedURL"]
    is_(fetch(base + plain, headers={})[0], 200, "sent raw, '+' works")
    gone = read(signing, "POST", {"expiresIn": 60, "paths": ["none", "u/a b"]}, headers=JSON)[2]
    is_([(g["signedURL"] is None, g["error"]) for g in gone],
        [(True, "Either the object does not exist or you do not have access to it"), (False, None)], "a list tells of each")
    is_(read(f"{base}/object/sign/nope", "POST", {"expiresIn": 60, "paths": ["x"]}, headers=JSON)[2][0]["signedURL"], None,
        "also of a bucket that is missing")
    for body, headers, message in (({}, JSON, "body must have required property 'expiresIn'"), (None, KEY, "body must have required property 'expiresIn'"),
                                   ({"expiresIn": 1.5}, JSON, "body/expiresIn must be integer"), ({"expiresIn": 0}, JSON, "body/expiresIn must be >= 1"),
                                   ({"expiresIn": 5}, KEY, "body must be object")):
        is_(refusal(fetch(f"{signing}/u/a%20b", "POST", body, headers)), (400, "400", "Error", message, "InvalidRequest"), f"{body} {headers is JSON}")
    is_(read(f"{signing}/u/a%20b", "POST", {"expiresIn": "60"}, headers=JSON)[0], 200, "a number as text is taken")
    is_(refusal(fetch(f"{signing}/u/a%23b", "POST", {"expiresIn": 60}, JSON))[4], "InvalidKey", "a bad key")
    is_(refusal(fetch(signing, "POST", {"expiresIn": 60, "paths": []}, JSON))[0], 400, "no paths")
    url = base + read(f"{signing}/u/a%20b", "POST", {"expiresIn": 60}, headers=JSON)[2]["signedURL"].replace(" ", "%20")
    is_(fetch(url + "&download=x.txt", headers={})[1]["Content-Disposition"], "attachment; filename=x.txt; filename*=UTF-8''x.txt;", "download=")
    is_(refusal(fetch(url.split("?")[0], headers={}))[3:], ("querystring must have required property 'token'", "InvalidRequest"), "no token")
    is_(refusal(fetch(url.split("?")[0] + "?token=x", headers={}))[3:], ("Invalid Compact JWS", "InvalidJWT"), "junk as token")
    is_(refusal(fetch(url, headers={"Range": "bytes=99-"})), (416, "416", "invalid_range", "invalid range provided", "InvalidRange"), "a range behind the end")
    sim.stop()


def jwt(**claims):
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return {"Authorization": f"Bearer eyJhbGciOiJIUzI1NiJ9.{part}.x"}


@test
def storage_knows_who_asks():
    sim = Sim()
    base = f"{sim.url}/storage/v1"
    glb = {"Content-Type": "model/gltf-binary"}
    fetch(f"{base}/object/user_assets/x", "POST", b"x", {**KEY, **glb})
    for who, key in (("anon", jwt(role="anon")), ("a user", jwt(role="authenticated", sub="1")), ("publishable", {"apikey": "sb_publishable_x"})):
        is_(refusal(fetch(f"{base}/object/user_assets/y", "POST", b"x", {**key, **glb}))[1::2], ("403", "new row violates row-level security policy"), f"{who}: uploads")
        is_(refusal(fetch(f"{base}/bucket/user_assets", headers=key))[4], "NoSuchBucket", f"{who}: sees no bucket")
        is_(refusal(fetch(f"{base}/object/info/user_assets/x", headers=key))[4], "NoSuchKey", f"{who}: nor an object")
        is_(refusal(fetch(f"{base}/object/sign/user_assets/x", "POST", {"expiresIn": 9}, {**key, "Content-Type": "application/json"}))[4], "NoSuchKey", f"{who}: signs none")
        is_(read(f"{base}/object/sign/user_assets", "POST", {"expiresIn": 9, "paths": ["x"]}, headers={**key, "Content-Type": "application/json"})[2][0]["signedURL"],
            None, f"{who}: nor in a list")
        is_(refusal(fetch(f"{base}/object/user_assets/x", "DELETE", None, key))[4], "NoSuchKey", f"{who}: deletes none")
    is_(refusal(fetch(f"{base}/bucket/user_assets", headers=jwt(role="tester"))), (500, "500", "DatabaseError", "database error, code: 22023", "DatabaseError"), "an unknown role")
    is_(refusal(fetch(f"{base}/bucket/user_assets", headers=jwt(sub="1")))[4], "AccessDenied", "no role")
    good = jwt(role="service_role")["Authorization"]
    is_(fetch(f"{base}/bucket/user_assets", headers={"apikey": good[7:]})[0], 200, "a JWT as apikey alone")
    is_(fetch(f"{base}/bucket/user_assets", headers={"Authorization": good[7:]})[0], 200, "without Bearer")
    for what, key in (("expired", jwt(role="service_role", exp=1)), ("none", {}), ("wrong", {"Authorization": "Bearer x"})):
        is_(refusal(fetch(f"{base}/object/info/user_assets/x", headers=key))[4], "NoSuchBucket", f"info, key {what}")
    sim.stop()


def exchange(sim, head, *bodies):
    """The answer to what is written by hand, without the end of the body."""
    host, port = sim.url.removeprefix("http://").split(":")
    s = socket.create_connection((host, int(port)), 20)
    s.sendall(head.encode())
    for body in bodies:
        s.sendall(body)
    answer = b""
    while b"}" not in answer:
        more = s.recv(65536)
        if not more:
            break
        answer += more
    return s, answer.decode()


@test
def storage_refuses_early():
    sim = Sim()
    base = f"{sim.url}/storage/v1"
    glb = {**KEY, "Content-Type": "model/gltf-binary"}
    fetch(f"{base}/object/user_assets/there", "POST", b"x", glb)
    read(f"{base}/bucket", "POST", {"name": "small", "file_size_limit": "1MB", "allowed_mime_types": ["image/png"]}, headers=JSON)
    is_(read(f"{base}/bucket/small", headers=KEY)[2]["file_size_limit"], 1000000, "limits are decimal")
    cases = (
        ("wrong key", "user_assets/y", "Authorization: Bearer x\r\n", "AccessDenied", False),
        ("missing bucket, before a bad key", "nope/a%23", "", "NoSuchBucket", False),
        ("a bad key", "user_assets/a%23", "", "InvalidKey", True),
        ("duplicate", "user_assets/there", "", "KeyAlreadyExists", True),
        ("size", "small/x", "Content-Type: image/png\r\n", "EntityTooLarge", False),
        ("no type", "small/x", "", "mime type application/octet-stream is not supported", False),
        ("a type", "small/x", "Content-Type: model/gltf-binary\r\n", "InvalidMimeType", False),
        ("multipart", "user_assets/x", "Content-Type: multipart/form-data\r\n", "Multipart: Boundary not found", False),
        ("a placeholder with bytes", "user_assets/.emptyFolderPlaceholder", "", "EntityTooLarge", False),
        ("a long element", "user_assets/" + "x" * 256, "", "InternalError", False),
    )
    for what, path, headers, said, unread in cases:
        key = "" if "Authorization" in headers else "Authorization: Bearer eyJ.a.b\r\n"
        s, answer = exchange(sim, f"POST /storage/v1/object/{path} HTTP/1.1\r\nHost: x\r\n{key}{headers}Content-Length: 20000000\r\n\r\n")
        ok(said in answer and "keep-alive" in answer.lower() and "Keep-Alive: timeout=61" in answer, f"{what}: refused before the body", answer)
        s.settimeout(1)
        sent = 0
        try:
            while sent < 16000000:
                sent += s.send(b"x" * 65536)
        except TimeoutError:
            pass
        ok((sent < 16000000) == unread, f"{what}: the rest is {'not read' if unread else 'drained'}", sent)
        s.close()
    chunked = ("POST /storage/v1/object/small/chunked HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer eyJ.a.b\r\nContent-Type: image/png\r\n"
               "Transfer-Encoding: chunked\r\n\r\n")
    s, answer = exchange(sim, chunked, b"200000\r\n", b"x" * 0x200000, b"\r\n0\r\n\r\n")
    ok("200 OK" in answer, "a chunked body passes the size limit", answer)
    s.close()
    is_([o["path"] for o in sim.objects()], ["user_assets/there", "small/chunked"], "nothing else was stored")
    sim.stop()


@test
def storage_words():
    sim = Sim()
    base = f"{sim.url}/storage/v1"
    for path in ("object/nope/x/y", "bucket/user_assets/"):
        status, _, answer = read(f"{base}/{path}", "PATCH" if "object" in path else "GET", headers=KEY)
        is_((status, answer["statusCode"], answer["error"], answer["code"]), (404, "404", "Not Found", "InvalidRequest"), f"unknown route {path}")
    is_(read(f"{base}/nope", headers=KEY)[2], {"message": "Route GET:/nope not found", "error": "Not Found", "statusCode": 404}, "unknown route elsewhere")
    for path, text in (("status", b""), ("health", b'{"healthy":true}'), ("version", b"1.70.6")):
        is_(fetch(f"{base}/{path}", headers={})[::2], (200, text), path)
    meta = base64.b64encode(b'{"sha256":"abc"}').decode()
    for sent, kept in ((meta, {"sha256": "abc"}), ("bm8ganNvbg==", {}), (None, {})):
        fetch(f"{base}/object/user_assets/m", "PUT", b"x", {**KEY, "Cache-Control": "max-age=60", **({"x-metadata": sent} if sent else {})})
        for path in ("info", "info/authenticated"):
            status, headers, answer = read(f"{base}/object/{path}/user_assets/m", headers=KEY)
            is_((answer["metadata"], headers["ETag"], headers["Cache-Control"], headers["Last-Modified"] is not None),
                (kept, answer["etag"], "max-age=60", True), f"{path}: metadata {sent}")
    is_(fetch(f"{base}/bucket/user_assets", "HEAD", headers=KEY)[0], 200, "HEAD of a bucket")
    is_(fetch(f"{base}/object/user_assets/m", "HEAD", headers=KEY)[0], 200, "HEAD of an object")
    is_(fetch(f"{base}/object/user_assets/none", "HEAD", headers=KEY)[::2], (400, b""), "HEAD of none")
    for body in (b"{", b""):
        status, headers, answer = read(f"{base}/object/sign/user_assets/m", "POST", body, headers=JSON)
        is_((status, answer["error"], headers["Connection"].lower()), (400, "FastifyError", "close"), f"JSON {body}")
    is_(read(f"{base}/object/user_assets/m", "DELETE", headers=JSON)[2]["error"], "FastifyError", "DELETE with a type and no body")
    is_(refusal(fetch(f"{base}/object/nope/m", "DELETE", headers=KEY))[4], "NoSuchKey", "DELETE in a missing bucket")
    is_(refusal(fetch(f"{base}/object/user_assets", "DELETE", {}, JSON))[3], "body must have required property 'prefixes'", "DELETE of many, none named")
    (row,) = read(f"{base}/object/user_assets", "DELETE", {"prefixes": ["m", "none"]}, headers=JSON)[2]
    is_((row["name"], row["metadata"]["size"]), ("m", 1), "DELETE of many: whole rows")
    for body, status, word in (({"id": "x"}, "400", "body must have required property 'name'"), ({"name": "a/b"}, "400", "Bucket name invalid"),
                               ({"name": "large", "file_size_limit": "600MB"}, "413", "The object exceeded the maximum allowed size")):
        is_(refusal(fetch(f"{base}/bucket", "POST", body, JSON))[1::2], (status, word), f"bucket {body}")
    is_(refusal(fetch(f"{base}/bucket", "POST", {"name": "a/b"}, JSON))[2], "Invalid Input", "in these words")
    is_(fetch(f"{base}/bucket/user_assets", "PUT", {"allowed_mime_types": ["model/*"]}, JSON)[0], 200, "a bucket can be changed")
    is_(read(f"{base}/bucket/user_assets", headers=KEY)[2]["allowed_mime_types"], ["model/*"], "and was")
    is_(fetch(f"{base}/bucket/user_assets", headers={**KEY, "X-Long": "x" * 17000})[0], 431, "headers over 16 KiB")
    sim.stop()


# --- faults and control ---------------------------------------------------------------------------


def lost(sim, prompt="a chair"):
    """Whether the connection closed without an answer."""
    try:
        create(sim, prompt)
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return True
    return False


@test
def faults():
    sim = Sim()
    sim.config(starting_ms=0, processing_ms=0)
    sim.fault("create", {"status": 503, "headers": {"X-More": "1"}}, match="needle", skip=1, count=2)
    is_([create(sim, "a needle")[0] if i in (0, 3) else fetch(f"{sim.url}/v1/predictions", "POST", {
        "version": TRELLIS, "input": {"images": ["x"], "prompt": "needle"}})[0] for i in range(4)],
        [201, 503, 503, 201], "match, skip and count")
    is_(create(sim, "hay")[0], 201, "what does not match is let through")
    made = len(sim.predictions())
    sim.fault("create", {"close": True})
    ok(lost(sim), "close: no answer")
    is_(len(sim.predictions()), made, "and nothing done")
    sim.fault("create", {"lose_answer": True})
    ok(lost(sim), "lose_answer: no answer")
    is_(len(sim.predictions()), made + 1, "but done")
    sim.fault("create", {"status": 502, "done": True})
    is_(fetch(f"{sim.url}/v1/predictions", "POST", {"version": TRELLIS, "input": {"images": ["x"]}})[0], 502, "done: the status")
    is_(len(sim.predictions()), made + 2, "and done")
    sim.fault("create", {"arrive_ms": 300})
    began, sent = time.time(), http.client.HTTPConnection(sim.url.removeprefix("http://"))
    sent.request("POST", "/v1/predictions", json.dumps({"version": TRELLIS, "input": {"images": ["late"]}}), TOKEN)
    wait_for(lambda: sim.stats()["received"]["create"] == made + 6, 10, "the whole request")
    sent.close()
    ok(len(sim.predictions()) == made + 2, "arrive_ms: not done yet, and the sender is gone")
    late = wait_for(lambda: [p for p in sim.predictions() if p["input"] == {"images": ["late"]}], 10, "the late prediction")
    ok(late[0]["arrived_usec"] / 1e6 - began >= 0.3, "and then done all the same")
    is_(sim.stats()["received"]["create"], made + 6, "once")
    for final, error in (("failed", "CUDA out of memory"), ("canceled", None), ("aborted", None)):
        sim.fault("create", {"final": final, **({"error": error} if error else {})})
        end = settled(sim, create(sim)[2]["id"])
        is_((end["status"], end["error"]), (final, error), f"final {final}")
    sim.fault("create", {"output": {"mesh": [None]}})
    is_(settled(sim, create(sim)[2]["id"])["output"], {"mesh": [None]}, "another output")
    for file in ("truncated", "html", "empty", "not_glb", "wrong_length", "no_length", "bad_hash", "changed", "no_ranges"):
        sim.fault("create", {"file": file})
        url = settled(sim, create(sim, file)[2]["id"])["output"]["model_file"]
        try:
            status, headers, data = fetch(url, headers={})
            whole = len(data) > 12 and data[:4] == b"glTF" and struct.unpack_from("<I", data, 8)[0] == len(data)
            is_((status, whole, "Content-Length" in headers),
                (200, file in ("no_length", "bad_hash", "changed", "no_ranges"), file != "no_length"), f"file {file}")
        except http.client.IncompleteRead:
            is_(file, "wrong_length", "a file that ends too soon")
    sim.fault("get", {"status": 500}, percent=30, count=-1)
    met = [fetch(f"{sim.url}/v1/predictions/x")[0] for _ in range(200)].count(500)
    ok(30 < met < 90, "percent: three of ten or so", met)
    sim.control("DELETE", "faults")
    url = settled(sim, create(sim)[2]["id"])["output"]["model_file"]
    _, headers, right = fetch(url, headers={})
    on = {"Range": "bytes=100-", "If-Range": headers["ETag"]}
    sim.fault("file", {"file": "changed"}, count=3)
    status, headers, changed = fetch(url, headers=on)
    ok((status, check_glb(changed) is not None, changed == right) == (200, True, False), "changed: the whole of another file", status)
    is_(fetch(url, headers={"Range": "bytes=100-", "If-Range": headers["ETag"]})[::2], (206, changed[100:]), "changed: has parts of its own")
    is_(headers["ETag"], f'"{hashlib.md5(changed).hexdigest()}"', "changed: and an ETag")
    is_(fetch(url, headers={})[2], changed, "changed: the same again")
    is_(fetch(url, headers=on)[::2], (206, right[100:]), "and the right one is still there")
    sim.fault("file", {"file": "careless"})
    status, headers, other = fetch(url, headers={**on, "If-Range": '"other"'})
    is_((status, other, headers["ETag"]), (206, bytes(b ^ 255 for b in right[100:]), on["If-Range"]), "careless: a part of other bytes")
    sim.fault("file", {"file": "no_ranges"})
    status, headers, whole = fetch(url, headers=on)
    is_((status, whole, headers["ETag"], headers["Last-Modified"]), (200, right, None, None), "no_ranges: the whole, and nothing to know it by")
    served = sim.stats()["file_bytes"]
    sim.fault("file", {"cut": 1000})
    try:
        fetch(url, headers={})
        ok(False, "cut: the body ends early")
    except http.client.IncompleteRead as short:
        is_(len(short.partial), 1000, "cut: the body ends early")
    is_(sim.stats()["file_bytes"] - served, 1000, "cut: and what came is counted")
    sim.fault("file", {"redirect": f"{sim.url}/elsewhere{{path}}"})
    status, headers, _ = fetch(url, headers={})
    ok(status == 302 and headers["Location"].startswith(f"{sim.url}/elsewhere/xezq/"), "redirect", headers["Location"])
    sim.fault("list", {"stall_ms": 400})
    began = time.monotonic()
    fetch(f"{sim.url}/v1/predictions")
    ok(time.monotonic() - began >= 0.4, "stall: the answer waits")
    sim.fault("list", {"stall_ms": 600000})
    waiting = http.client.HTTPConnection(sim.url.removeprefix("http://"))
    waiting.request("GET", "/v1/predictions", headers=TOKEN)
    wait_for(lambda: sim.stats()["received"]["list"] >= 2, 10, "the stalled request")
    is_(sim.stop(20), 0, "and does not keep the simulator from ending")
    waiting.close()


@test
def control():
    sim = Sim()
    ok(b"POST   /_sim/faults" in fetch(f"{sim.url}/_sim/")[2], "the help")
    for path, method, body, expected, said in (
            ("config", "POST", {"starting_ms": -1}, 400, "starting_ms"),
            ("config", "POST", {"nonsense": 1, "bare": 1}, 400, "nonsense"),
            ("config", "POST", {"create_rate": {"per_minute": 0, "burst": 1}}, 400, "create_rate"),
            ("config", "POST", b"{", 400, ""), ("config", "POST", [], 400, "object"),
            ("faults", "POST", {"endpoint": "nowhere", "do": {"status": 500}}, 400, "endpoint"),
            ("faults", "POST", {"endpoint": "get"}, 400, "do"),
            ("faults", "POST", {"endpoint": "get", "percent": 0, "do": {"status": 500}}, 400, "percent"),
            ("faults", "POST", {"endpoint": "get", "do": {"status": 9000}}, 400, "status"),
            ("faults", "POST", [{"endpoint": "get", "do": {"nonsense": 1}}], 400, "nonsense"),
            ("nowhere", "GET", None, 404, "_sim"), ("stats", "POST", {}, 405, "method")):
        status, _, answer = read(f"{sim.url}/_sim/{path}", method, body)
        ok(status == expected and said in answer["error"], f"{method} {path} {body}: {expected}", answer)
    before = sim.control("GET", "config")
    is_(before["starting_ms"], 300, "nothing was set")
    is_(sim.control("GET", "faults"), [], "no script was taken")
    sim.control("POST", "faults", [{"endpoint": "get", "count": -1, "do": {"status": 500}}] * 2)
    is_(read(f"{sim.url}/v1/predictions/x")[0], 500, "a script of a list is met")
    is_([f["hits"] for f in sim.control("GET", "faults")], [1, 0], "and counted")
    create(sim)
    is_(sim.stats()["requests"]["create"], {"201": 1}, "requests by endpoint and status")
    fetch(f"{sim.url}/storage/v1/object/user_assets/x", "POST", b"x", headers=KEY)
    sim.config(starting_ms=1)
    sim.control("POST", "reset")
    is_((sim.predictions(), sim.objects(), sim.control("GET", "faults"), sim.stats()["received"]["create"],
         sim.control("GET", "config")), ([], [], [], 0, before), "reset forgets all")
    sim.stop()
    ids = []
    for seed in (7, 7, 8):
        sim = Sim(seed)
        ids.append(create(sim)[2]["id"])
        sim.stop()
    ok(ids[0] == ids[1] != ids[2], "ids depend on the seed", ids)


main()
