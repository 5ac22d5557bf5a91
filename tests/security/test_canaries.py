"""Secrets and contents are planted everywhere, and come out nowhere: neither in logs nor errors, rows or output."""

from __future__ import annotations

import base64
import json
import logging
import secrets
import socket
import sqlite3
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from offload_backend import connect, open_value
from offload_backend.address import TaskAddress
from offload_backend.cli.main import app
from offload_backend.corestores import rest_client
from offload_backend.errors import OffloadError
from offload_backend.settings import Settings
from tests.fault_proxy import FaultProxy
from tests.security.canaries import Canaries, told_of, watching
from tests.security.policies import documented, on

MIB = 1024 * 1024
SDK = {"botocore": logging.INFO, "aiobotocore": logging.INFO}
"""At DEBUG, AWS's own library writes down its requests; docs/permissions.md and SECURITY.md say so."""


@pytest.fixture
def canaries():
    return Canaries()


@pytest.fixture
def watch(canaries, capfd):
    with watching(canaries, capfd, SDK) as watch:
        yield watch


@pytest.fixture
def content(canaries):
    """Texts that values hold: a key of a dict, a string, and the text of an object."""
    return {what: canaries.plant(what, f"content/{secrets.token_hex(12)}+x") for what in ("key", "text", "repr")}


@pytest.fixture(params=["direct", "boto3", "fsspec"])
def transport(request):
    return request.param


@pytest.fixture
def options(guarded, canaries):
    """storage_options with temporary credentials: access key, secret and session token."""
    iam, role = guarded.server.client("iam"), f"role-{secrets.token_hex(6)}"
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", **trust}))
    document = json.dumps(on(documented()["Operator"], guarded.name))
    iam.put_role_policy(RoleName=role, PolicyName="rights", PolicyDocument=document)
    arn = f"arn:aws:iam::123456789012:role/{role}"
    given = guarded.server.client("sts").assume_role(RoleArn=arn, RoleSessionName="canary")["Credentials"]
    return {
        "endpoint_url": guarded.server.url,
        "region_name": "us-east-1",
        "key": canaries.plant("access key", given["AccessKeyId"]),
        "secret": canaries.plant("secret key", given["SecretAccessKey"]),
        "token": canaries.plant("session token", given["SessionToken"]),
    }


@pytest.fixture
def keys(canaries, monkeypatch, tmp_path):
    """Settings with keys that encrypt and sign."""
    texts = {what: base64.b64encode(secrets.token_bytes(32)).decode() for what in ("encryption key", "signing key")}
    for what, text in texts.items():
        canaries.plant(what, text)
    monkeypatch.setenv("OFFLOAD_TEST_KEY", texts["encryption key"])
    (tmp_path / "key").write_text(texts["signing key"])
    return {"encryption_keys": "k1=env:OFFLOAD_TEST_KEY", "signing_keys": f"s1=file:{tmp_path}/key"}


@pytest.fixture
def opened(guarded, options, transport, tmp_path):
    """Stores with these secrets; arguments are settings in place of others."""

    def open_it(**settings):
        values = {
            "storage_options": options,
            "transport": transport,
            "inline_limit": 0,
            "part_size": 5 * MIB,
            "give_up_after": "60s",
            "connect_timeout": 2.0,
            "read_timeout": 5.0,
            **settings,
        }
        return connect(guarded.path, f"sqlite:///{tmp_path}/state.db", **values)

    return open_it


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def task_of(stores):
    return stores.task_store("etl", "run", "load")


def test_what_succeeds_is_silent(*, watch, opened, guarded, options, keys, content, transport):
    value = {content["key"]: content["text"], "bytes": content["text"].encode(), "many": [content["text"]] * 5_000}
    with opened(**keys) as stores:
        task, asset = task_of(stores), stores.asset_store(name="orders")
        task.set("key", value)
        task.set("large", {"padding": secrets.token_bytes(6 * MIB), **value})
        task.set("large", {"padding": secrets.token_bytes(6 * MIB), **value})
        asset.set("key", (content["text"],))
        assert task.get("key") == value
        assert asset.get("key") == (content["text"],)
        rows = list(stores._core_store.rows())
        watch.saw(*(str(row) for row in rows), repr(stores), repr(task), repr(asset))
        ref = next(row.text for row in rows if row.key == "large")
        settings = {"path": guarded.path, "storage_options": options, "transport": transport, **keys}
        view = open_value(ref, isolation="deployment", **settings)
        watch.saw(repr(view), repr(view["many"]), str(view["many"].shape))
        watch.saw(*guarded.objects(), *map(header_of, bodies(guarded)))
        task.delete("key")
        task.clear()
    assert watch.found() == set()


def bodies(guarded):
    client = guarded.server.client("s3")
    return [client.get_object(Bucket=guarded.name, Key=key)["Body"].read() for key in guarded.objects()]


def header_of(blob):
    """The content of the frame that a blob begins with."""
    return blob[8 : 8 + int.from_bytes(blob[4:8], "little")]


def echo(headers):
    """What S3 tells of a signature that it does not find right: what it has signed itself."""
    named = "".join(f"{name.lower()}:{value}\n" for name, value in headers.items())
    return f"<Error><Code>SignatureDoesNotMatch</Code><StringToSign>{named}</StringToSign></Error>"


FAILURES = ["secret", "key", "token", "refused", "an error", "an echo", "a page", "in the endpoint", "in a proxy"]
ANSWERS = {"an error": (500, "<Error><Code>InternalError</Code></Error>"), "a page": (200, "<html></html>")}
OPERATIONS = ("PutObject", "GetObject", "DeleteObjects", "DeleteObject")


@pytest.mark.parametrize("failure", FAILURES)
def test_a_request_that_fails_tells_no_secret(*, watch, opened, canaries, options, content, monkeypatch, failure):
    wrong = canaries.plant("wrong secret", f"wrong-{secrets.token_hex(16)}+x")
    answers = {**ANSWERS, "an echo": (403, echo({"x-amz-security-token": options["token"], "key": options["key"]}))}
    nobody = f"127.0.0.1:{closed_port()}"
    with opened() as stores:
        task_of(stores).set("key", [content["text"]])
    with FaultProxy(options["endpoint_url"]) as proxy:
        changed = {
            "secret": {"secret": wrong},
            "key": {"key": canaries.plant("wrong key", f"ASIA{secrets.token_hex(10).upper()}")},
            "token": {"token": wrong},
            "refused": {"endpoint_url": f"http://{nobody}"},
            "in the endpoint": {"endpoint_url": f"http://user:{wrong}@{nobody}"},
            "in a proxy": {},
        }.get(failure, {"endpoint_url": proxy.url})
        for operation in OPERATIONS if failure in answers else ():
            proxy.answer(operation, *answers[failure], times=0)
        if failure == "in a proxy":
            monkeypatch.setenv("HTTP_PROXY", f"http://user:{wrong}@{nobody}")
            monkeypatch.setenv("NO_PROXY", "")
        with opened(storage_options={**options, **changed}, give_up_after="1s") as stores:
            task = task_of(stores)
            with watch.failing(OffloadError):
                task.get("key")
            with watch.failing(OffloadError):
                task.set("key", {content["key"]: content["text"]})
                task.get("key")  # s3fs takes any page for an answer
            task.delete("key")
            watch.saw(repr(stores), repr(task))
    assert watch.found() == set()


class Odd:
    """An object that nobody stores, and that tells what it holds."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text

    def __reduce__(self):
        raise RuntimeError("cannot be pickled")


UNSUPPORTED = {
    "an object": lambda content: {"a": [content["text"], Odd(content["repr"])]},
    "a function": lambda content: [content["text"], lambda: content["repr"]],
    "a lone surrogate": lambda content: {"a": content["text"] + "\ud800", "b": {1, content["text"]}},
    "an endless number": lambda content: [content["text"], 10**5000, object()],
    "a huge value": lambda content: content["text"] * 50_000,
    "an exception": lambda content: [ValueError(content["text"])],
    "a generator": lambda content: (each for each in [content["text"]]),
}


@pytest.mark.parametrize("codec", ["auto", "pickle"])
@pytest.mark.parametrize("what", UNSUPPORTED)
def test_a_value_that_is_refused_is_not_quoted(watch, content, tmp_path, what, codec):
    with connect(tmp_path / "blobs", "memory://", inline_limit=0, max_value_bytes=100_000, codec=codec) as stores:
        try:
            task_of(stores).set("key", UNSUPPORTED[what](content))
        except OffloadError as error:
            watch.saw(*told_of(error))
    assert watch.found() == set()


def damaged(blob, how):
    if how == "the end is lost":
        return blob[:-20]
    position = {"the seal": len(blob) - 5, "the header": 12, "a frame": len(blob) // 2}[how]
    return blob[:position] + bytes([blob[position] ^ 0x55]) + blob[position + 1 :]


@pytest.mark.parametrize("how", ["the end is lost", "the seal", "the header", "a frame"])
@pytest.mark.parametrize("encrypted", [False, True], ids=["", "encrypted"])
def test_a_damaged_blob_is_not_quoted(*, watch, content, keys, tmp_path, how, encrypted):
    value = {content["key"]: content["text"], "at": (content["text"], b"\xff" + content["text"].encode())}
    settings = keys if encrypted else {}
    with connect(tmp_path / "blobs", "memory://", inline_limit=0, compression_level=0, **settings) as stores:
        task = task_of(stores)
        task.set("key", value)
        (file,) = (path for path in (tmp_path / "blobs").rglob("*") if path.is_file())
        file.write_bytes(damaged(file.read_bytes(), how))
        with watch.failing(OffloadError):
            task.get("key")
        file.unlink()
        with watch.failing(OffloadError):
            task.get("key")
    assert watch.found() == set()


def test_a_row_that_somebody_wrote_is_not_quoted(watch, content, tmp_path):
    texts = [
        f"s3://key:{content['text'].replace('/', '-')}@bucket/x#size=1&raw=1&blake3=00",
        f"s3://bucket/x?X-Amz-Signature={content['text']}",
        f'data:application/vnd.offload.tree+json,{{"{content["key"]}',
        f"data:application/vnd.offload.tree+json,[{content['text']}]",
    ]
    with connect(tmp_path / "blobs", "memory://") as stores:
        task = task_of(stores)
        for text in texts:
            envelope = json.dumps({"__airflow_state_ref__": text})
            stores._core_store.set(TaskAddress("etl", "run", "load"), "key", envelope, expires_at=None)
            with watch.failing(OffloadError):
                task.get("key")
    assert watch.found() == set()


def test_a_database_that_fails_is_not_given_away_with_what_it_was_to_store(watch, content, tmp_path):
    with connect(tmp_path / "blobs", f"sqlite:///{tmp_path}/state.db") as stores:
        task = task_of(stores)
        task.set("key", content["text"])
        with closing(sqlite3.connect(tmp_path / "state.db")) as database:
            refuse = "SELECT RAISE(ABORT, 'not today')"
            for verb in ("INSERT", "UPDATE"):
                database.execute(
                    f"CREATE TRIGGER no_{verb} BEFORE {verb} ON offload_task_state BEGIN {refuse}; END"
                )
        for key in ("key", "other"):
            with watch.failing(OffloadError):
                task.set(key, {content["key"]: content["text"]})
    assert watch.found() == set()


BAD_PLACES = [
    "postgresql://user:{}@127.0.0.1:{port}/db",
    "postgresql://127.0.0.1:{port}/db?user=me&password={}",
    "postgresql://user:{}@host@127.0.0.1:{port}/db",
    "postgresql://user:{}@127.0.0.1:none/db",
    "postgresql://user:{}@127.0.0.1:{port}/db?nonsense={}",
    "nosuch://user:{}@127.0.0.1/db",
    "mysql+mysqldb://user:{}@127.0.0.1:{port}/db",
    "airflow+postgresql://user:{}@127.0.0.1:{port}/db",
    "airflow+postgresql+psycopg2://user:{}@127.0.0.1:{port}/db",
    "airflow-rest+http://user:{}@127.0.0.1:{port}",
    "airflow-rest+http://user:{}@127.0.0.1:{port}/?x={}",
    "airflow-rest+ftp://user:{}@127.0.0.1",
    "roots+http://user:{}@127.0.0.1",
    "{}",
]
COMMANDS = [["verify", "--output", "json"], ["gc", "adopt"], ["expire"]]


@pytest.mark.parametrize("place", BAD_PLACES)
def test_a_command_that_cannot_reach_its_rows_tells_no_password(
    *, watch, canaries, no_machine, monkeypatch, tmp_path, place
):
    monkeypatch.setattr(rest_client, "PAUSES", (0.0, 0.0))
    password = canaries.plant("password", f"pass-{secrets.token_hex(12)}")
    core_store = place.replace("{}", password).replace("{port}", str(closed_port()))
    for command in COMMANDS:
        where = ["--path", str(tmp_path), "--core-store", core_store]
        done = CliRunner().invoke(app, [*command, *where])
        assert done.exit_code in (1, 2, 3)
        assert isinstance(done.exception, SystemExit)
        watch.saw(done.output, done.stderr)
    with watch.failing(OffloadError), connect(tmp_path, core_store.removeprefix("airflow+")) as stores:
        task_of(stores).set("key", 1)
    assert watch.found() == set()


@pytest.fixture
def unhelpful():
    """An API that never gives what is asked for; what it answers goes by the path's first part."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            kind = self.path.split("/")[1]
            status, body = {
                "denied": (401, b'{"detail": "no"}'),
                "broken": (500, b"oops"),
                "page": (200, b"<html>"),
                "moved": (302, b""),
            }[kind]
            if self.path.endswith("/version") and kind == "denied":
                status, body = 200, b'{"version": "3.3.2"}'
            self.send_response(status)
            self.send_header("content-type", "text/html" if kind == "page" else "application/json")
            self.send_header("content-length", str(len(body)))
            self.send_header("location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.do_GET()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", ["denied", "broken", "page", "moved"])
def test_an_api_that_refuses_gets_the_password_and_the_token_and_nobody_else(
    *, watch, canaries, no_machine, monkeypatch, tmp_path, unhelpful, kind
):
    monkeypatch.setattr(rest_client, "PAUSES", (0.0, 0.0))
    password = canaries.plant("password", f"pass-{secrets.token_hex(12)}")
    token = canaries.plant("token", f"eyJ-{secrets.token_hex(24)}")
    for variable in ("", token):
        monkeypatch.setenv("OFFLOAD_AIRFLOW_TOKEN", variable)
        for command in COMMANDS:
            place = f"airflow-rest+http://user:{password}@127.0.0.1:{unhelpful}/{kind}"
            done = CliRunner().invoke(app, [*command, "--path", str(tmp_path), "--core-store", place])
            assert done.exit_code != 0
            watch.saw(done.output, done.stderr)
    assert watch.found() == set()


BAD_SETTINGS = [
    {"path": "s3://key:{}@bucket/prefix"},
    {"path": "s3://bucket/prefix?secret={}"},
    {"path": "s3://bucket/pre fix/{}"},
    {"read_paths": ("s3://key:{}@bucket/prefix",)},
    {"storage_options": '{"secret": "{}"'},
    {"storage_options": '["{}"]'},
    {"storage_options": {"secret": "{}", "nonsense": "{}"}},
    {"storage_options": {"key": "{}"}},
    {"storage_options": {"endpoint_url": "{}"}},
    {"storage_options": {"endpoint_url": "http://[{}"}},
    {"storage_options": {"secret": "{}\n", "key": "{}\n"}},
    {"core_store": "postgresql://user:{}@host:none/db"},
    {"encryption_keys": "{}"},
    {"encryption_keys": "k1={}"},
    {"signing_keys": "k1=base64:{}"},
    {"signing_keys": "k1=env:OFFLOAD_TEST_BAD_KEY"},
    {"encryption_keys": "k1=env:OFFLOAD_TEST_BAD_KEY"},
]


def filled(value, text):
    if isinstance(value, str):
        return value.replace("{}", text)
    if isinstance(value, dict):
        return {name: filled(each, text) for name, each in value.items()}
    return tuple(filled(each, text) for each in value)


@pytest.mark.parametrize("transport", ["direct", "fsspec"], indirect=True)
@pytest.mark.parametrize("changed", BAD_SETTINGS, ids=str)
def test_a_setting_with_a_secret_in_the_wrong_place_does_not_repeat_it(
    *, watch, canaries, no_machine, monkeypatch, tmp_path, transport, changed
):
    secret = canaries.plant("secret", f"secret-{secrets.token_hex(12)}")
    monkeypatch.setenv("OFFLOAD_TEST_BAD_KEY", secret)
    settings = {"path": "s3://bucket/prefix", "core_store": f"sqlite:///{tmp_path}/state.db", "give_up_after": "1s"}
    settings |= {"inline_limit": 0, "transport": transport, "connect_timeout": 0.5, **filled(changed, secret)}
    if "storage_options" not in changed:
        settings["storage_options"] = {
            "endpoint_url": f"http://127.0.0.1:{closed_port()}",
            "key": "k",
            "secret": "s",
        }
    with watch.failing(OffloadError):
        watch.saw(repr(Settings.load(settings)), str(Settings.load(settings)))
        with connect(**settings) as stores:
            watch.saw(repr(stores))
            task_of(stores).set("key", "value")
    assert watch.found() == set()
