"""Envelopes that somebody who may edit state writes through Airflow's REST API; then a real task reads them."""

from __future__ import annotations

import json
import threading
import uuid
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from offload_backend.address import AssetAddress, StateAddress, TaskAddress
from offload_backend.offloader import Offloader
from offload_backend.ref import BlobRef, format_ref, parse_ref
from offload_backend.row import TYPED
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
from tests.airflow.rest_site import RestSite, password_of
from tests.airflow.test_running_airflow import on_s3
from tests.s3 import KEY, SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.s3 import S3

CONTENT = "what-nobody-else-may-read"
PREFIX = "forged"
ASSETS = {"A": "probe_a", "B": "probe_b"}

FOREIGN, CORRUPT, UNREADABLE = "ForeignRefError", "BlobCorruptError", "UnreadableBlobError"

CODE = """
from offload_backend.airflow.running import started_task

big = [ti.task_id] * 30_000
if ti.try_number == 1:
    store.set("own", big)
    store.set("doomed", big)
    assets[A].set("own", big)
    raise RuntimeError("the first try ends here; what comes next is written by somebody else")

def tried(read, key):
    try:
        return ["value", str(read(key))[:200]]
    except Exception as error:
        return [type(error).__name__, f"{error!r} {error} {error.__cause__} {vars(error)}"]

result = {"task": {key: tried(store.get, key) for key in conf["task"]}}
result["asset"] = {key: tried(assets[A].get, key) for key in conf["asset"]}
result["own"] = [store.get("own") == big, assets[A].get("own") == big]
result["started"] = str(started_task())
for number, key in enumerate(conf["task"]):
    store.delete(key) if number % 2 else store.set(key, big)
for number, key in enumerate(conf["asset"]):
    assets[A].delete(key) if number % 2 else assets[A].set(key, big)
store.clear()
store.set("own", big)
"""


class Listener:
    """Counts who connects, where nobody should."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listener.asked.append(self.path)
                self.send_error(404)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"127.0.0.1:{self.server.server_port}"


@contextmanager
def listening() -> Iterator[Listener]:
    listener = Listener()
    thread = threading.Thread(target=listener.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.server.shutdown()
        thread.join()
        listener.server.server_close()


def stored(s3: S3, address: StateAddress, key: str = "k", **settings: Any) -> str:
    """The ref of a value that somebody else's task has stored in the bucket, where ours lie."""
    options = {"endpoint_url": s3.endpoint, "key": KEY, "secret": SECRET, "region_name": "us-east-1"}
    path = settings.pop("path", f"s3://{s3.bucket}/{PREFIX}")
    loaded = Settings.load({"path": path, "inline_limit": 0, "storage_options": options, **settings})
    return Offloader(loaded, lambda path: open_store(path, loaded)).offload([CONTENT], address, key)


def ref_of(text: str) -> BlobRef:
    ref = parse_ref(text)
    assert isinstance(ref, BlobRef)
    return ref


def theirs(s3: S3, address: TaskAddress) -> dict[str, str]:
    """Values that are others', or elsewhere: each would come back if it were asked for."""
    s3.client.create_bucket(Bucket=f"{s3.bucket}-other")
    peer = f"{address.dag_id}/{address.run_id}/other/-1/k"
    for bucket, name in ((s3.bucket, f"{PREFIX}/{peer}"), (s3.bucket, f"{PREFIX}/assets/orders/k")):
        s3.client.put_object(Bucket=bucket, Key=name, Body=json.dumps(CONTENT).encode())
    return {
        "another dag": stored(s3, replace(address, dag_id="payroll")),
        "another run": stored(s3, replace(address, run_id="r")),
        "another task": stored(s3, replace(address, task_id="on_a_loop")),
        "another index": stored(s3, replace(address, map_index=0)),
        "an asset": stored(s3, AssetAddress(name="orders")),
        "another deployment": stored(s3, address, deployment="other"),
        "another prefix": stored(s3, address, path=f"s3://{s3.bucket}/{PREFIX}-other"),
        "another bucket": stored(s3, address, path=f"s3://{s3.bucket}-other/{PREFIX}"),
        "the peer's, of another task": f"s3://lab@{s3.bucket}/{PREFIX}/{peer}",
        "the peer's, of an asset": f"s3://{s3.bucket}/{PREFIX}/assets/orders/k",
    }


def written_by_hand(s3: S3, url: str, secret: Path) -> dict[str, str]:
    """What nobody has stored; ``url`` is of an own blob."""
    below, facts = f"s3://{s3.bucket}/{PREFIX}", "#" + url.partition("#")[2]
    bare = url.partition("#")[0]
    name = bare.removeprefix(f"{below}/")
    return {
        "a file": f"file://{secret}",
        "a file with facts": f"file://{secret}{facts}",
        "/etc/passwd": "file:///etc/passwd",
        "the metadata service": "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
        "a connection": bare.replace("s3://", "s3://admin@") + "-gone",
        "a password": bare.replace("s3://", "s3://user:pass@") + "-gone",
        "up": f"{below}/../{PREFIX}-other/{name}{facts}",
        "up, bare": f"{below}/../{PREFIX}-other/x",
        "up, encoded": f"{below}/%2e%2e/{PREFIX}-other/{name}{facts}",
        "up, encoded, bare": f"{below}/%2e%2e/{PREFIX}-other/x",
        "up, encoded twice": f"{below}/%252e%252e/{name}{facts}",
        "a scheme that looks alike": bare.replace("s3", "\uff533", 1) + facts,
        "a colon that looks alike": bare.replace("://", "\uff1a//", 1) + facts,
        "a slash that looks alike": bare.replace(f"/{PREFIX}/", f"/{PREFIX}\u2215", 1) + facts,
        "a dot that looks alike": bare.replace(s3.bucket, f"{s3.bucket}\u2024x", 1) + facts,
        "a chained driver": f"simplecache::{bare}{facts}",
        "a line break": f"{bare}\n{facts}",
        "an unknown scheme": f"gopher://{s3.bucket}/{PREFIX}/{name}{facts}",
        "no value": "os.system",
        "a class": TYPED + '{"offload_tree":1,"value":{"$":["dataclass",1,["subprocess:Popen",{"args":"id"},[]]]},'
        '"buffers":[]}',
    }


OWN_BLOB: dict[str, tuple[dict[str, Any], str]] = {
    "another size": ({"size": 100}, CORRUPT),
    "another digest": ({"digest": "0" * 64}, CORRUPT),
    "another codec": ({"codec": "pickle"}, UNREADABLE),
    "a length beyond all": ({"raw": 10**18}, UNREADABLE),
}
"""Refs of the task's own blob with other facts, and what they are."""


def write(site: RestSite, account: str, address: StateAddress, envelopes: dict[str, str]) -> None:
    """Through Airflow's API, as this account, which is no admin."""
    with httpx.Client(base_url=site.url, timeout=60.0, trust_env=False) as client:
        login = {"username": account, "password": password_of(account)}
        token = client.post("/auth/token", json=login).raise_for_status().json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        for path, params in site._lists(address):
            for key, text in envelopes.items():
                body = {"value": {"__airflow_state_ref__": text}}
                client.put(f"{path}/{quote(key, safe='')}", params=params, json=body).raise_for_status()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret.json"
    file.write_text(json.dumps(CONTENT))
    return file


def test_forged_envelopes_read_and_delete_nothing_that_is_not_the_tasks_own(
    rest_site: RestSite, s3: S3, secret: Path
) -> None:
    address, env = TaskAddress("probe", f"forged-{uuid.uuid4().hex}", "sync"), on_s3(s3, PREFIX)
    victims = theirs(s3, address)
    of_assets = {key: victims[key] for key in ("an asset", "another dag", "the peer's, of an asset")}
    keys = {*victims, *written_by_hand(s3, "#", secret), "another host", *OWN_BLOB}
    conf = {"code": CODE, "task": sorted(keys), "asset": sorted(of_assets)}
    run = rest_site.airflow.trigger("probe", conf, address.run_id)
    assert "the first try ends here" in run.attempt("sync", env=env).log, run.log
    [own] = [row.ref for row in rest_site.airflow.rows().task if (row.run_id, row.key) == (run.run_id, "own")]
    with listening() as listener:
        elsewhere = {"another host": f"http://{listener.url}/x#{own.partition('#')[2]}"}
        of_own = {key: format_ref(replace(ref_of(own), **facts)) for key, (facts, _) in OWN_BLOB.items()}
        forged = {**victims, **written_by_hand(s3, own, secret), **elsewhere, **of_own}
        write(rest_site, "user", address, forged)
        write(rest_site, "op", AssetAddress(name="probe_a"), of_assets)
        before, asked = names(s3), len(s3.requests)
        assert run.attempt("sync", env=env).state == "success", run.log
    found = run.result("sync")
    other = {"a class": UNREADABLE, **{key: kind for key, (_, kind) in OWN_BLOB.items()}}
    assert {key: told[0] for key, told in found["task"].items()} == {**dict.fromkeys(keys, FOREIGN), **other}
    assert {key: told[0] for key, told in found["asset"].items()} == dict.fromkeys(of_assets, FOREIGN)
    assert found["own"] == [True, True]
    assert found["started"] == str(address)  # what callbacks go by
    assert CONTENT not in json.dumps(found) + run.log
    assert listener.asked == []
    read = {each.path for each in s3.requests[asked:] if each.operation == "GetObject"}
    places = (f"/v1/default/task/probe/{run.run_id}/sync/-1/own/", "/v1/default/asset/name=probe_a/own/")
    assert len(read) == 2
    assert all(any(f"/{s3.bucket}/{PREFIX}{place}" in path for place in places) for path in read)
    gone = {name for name in before - names(s3) if "/sync/-1/doomed/" not in name and "/sync/-1/own/" not in name}
    assert gone == set()


def names(s3: S3) -> set[str]:
    """Of all objects of both buckets."""
    found = set()
    for bucket in (s3.bucket, f"{s3.bucket}-other"):
        for page in s3.client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            found |= {f"{bucket}/{entry['Key']}" for entry in page.get("Contents", ())}
    return found
