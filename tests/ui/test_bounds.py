"""What is opened and what not, by whichever server is asked: settings, bounds, whose a value is."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from threading import Barrier, Event, current_thread, main_thread
from typing import TYPE_CHECKING, Any

import anyio
import pytest

pytest.importorskip("airflow.sdk", reason="Airflow is not installed here: run `make test`")

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.airflow.ui import answers
from offload_backend.airflow.ui import contents as module
from offload_backend.airflow.ui.contents import Contents
from offload_backend.airflow.ui.turns import BusyError
from offload_backend.corestore import FoundRow, Row
from offload_backend.errors import BlobCorruptError, ConfigError, ForeignRefError, UnreadableBlobError
from offload_backend.offloader import Offloader
from offload_backend.ref import format_ref, parse_ref
from offload_backend.row import envelope
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store

if TYPE_CHECKING:
    from offload_backend.address import StateAddress

TASK = TaskAddress("dag", "run", "task", 3)
VALUE = {"rows": list(range(2_000))}


class Deployment:
    """Values of one path; ``contents`` is a server that is told of it."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.settings = Settings.load({"path": path.as_uri(), "inline_limit": 0, **settings})
        self.contents = Contents(self.settings)

    def offload(self, value: Any, address: StateAddress = TASK, key: str = "key") -> str:
        writer = Offloader(self.settings, lambda path: open_store(path, self.settings))
        return writer.offload(value, address, key)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def row(text: str, address: StateAddress = TASK, key: str = "key", *aliases: AssetAddress) -> FoundRow:
    return FoundRow(Row(address, key, envelope(text), datetime.now(timezone.utc), None), ("t", 1), aliases)


def test_a_value_is_opened_in_its_own_row_alone(deployment: Deployment) -> None:
    text = deployment.offload(VALUE)
    assert deployment.contents.show(row(text), text).form == "json"
    elsewhere = [
        row(text, replace(TASK, dag_id="other")),
        row(text, replace(TASK, run_id="other")),
        row(text, replace(TASK, map_index=4)),
        row(text, TASK, "other"),
        row(text, AssetAddress(name="dag")),
    ]
    for found in elsewhere:
        for asked in (deployment.contents.show, deployment.contents.check, deployment.contents.download):
            with pytest.raises(ForeignRefError, match="other state"):
                asked(found, text)


def test_isolation_of_the_deployment_does_not_open_other_rows(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, isolation="deployment")
    text = deployment.offload(VALUE)
    with pytest.raises(ForeignRefError, match="other state"):
        deployment.contents.show(row(text, TASK, "other"), text)


def test_an_assets_value_is_opened_whether_it_was_known_by_name_or_uri(deployment: Deployment) -> None:
    name, uri = AssetAddress(name="orders"), AssetAddress(uri="s3://shop/orders")
    for address in (name, uri):
        text = deployment.offload(VALUE, address)
        assert deployment.contents.show(row(text, name, "key", uri), text).form == "json"
    with pytest.raises(ForeignRefError, match="other state"):
        deployment.contents.show(row(text, name, "key", AssetAddress(uri="s3://shop/others")), text)


def test_another_place_or_deployment_is_not_opened(tmp_path: Path) -> None:
    text = Deployment(tmp_path / "here").offload(VALUE)
    with pytest.raises(ForeignRefError, match="outside the locations"):
        Deployment(tmp_path / "there").contents.show(row(text), text)
    with pytest.raises(ForeignRefError, match="belongs to the deployment"):
        Deployment(tmp_path / "here", deployment="other").contents.show(row(text), text)


def test_without_a_path_the_setting_is_named(deployment: Deployment) -> None:
    text = deployment.offload(VALUE)
    server = Contents(Settings.load({}))
    assert server.location == ""
    for asked in (server.show, server.check, server.download):
        with pytest.raises(ConfigError) as caught:
            asked(row(text), text)
        assert "[offload_backend] path" in caught.value.hint


def test_the_location_is_told_without_its_connection(tmp_path: Path) -> None:
    assert Contents(Settings.load({"path": "s3://conn@bucket/prefix"})).location == "s3://bucket/prefix"


def test_an_encrypted_value_is_opened_with_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UI_KEY", "00" * 32)
    deployment = Deployment(tmp_path, encryption_keys="k=env:UI_KEY")
    text = deployment.offload(VALUE)
    deployment.contents.check(row(text), text)
    assert '"rows"' in deployment.contents.show(row(text), text).text
    sent = deployment.contents.download(row(text), text)
    assert (sent.extension, b"".join(sent.pieces)[:9]) == ("json", b'{"rows":[')


def test_a_ref_that_nobody_signed_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UI_KEY", "00" * 32)
    unsigned = Deployment(tmp_path).offload(VALUE)
    deployment = Deployment(tmp_path, signing_keys="k=env:UI_KEY")
    signed = deployment.offload(VALUE)
    assert deployment.contents.show(row(signed), signed).form == "json"
    for asked in (deployment.contents.show, deployment.contents.check, deployment.contents.download):
        with pytest.raises(ForeignRefError, match="not signed"):
            asked(row(unsigned), unsigned)


def test_what_is_too_large_for_a_browser_is_not_sent(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = deployment.offload(VALUE)
    monkeypatch.setattr(module, "MOST_DOWNLOADED", 1_000)
    with pytest.raises(UnreadableBlobError, match="too many for a browser"):
        deployment.contents.download(row(text), text)


def test_no_more_than_so_many_are_sent_at_once(deployment: Deployment) -> None:
    text = deployment.offload(VALUE)
    for _ in range(module.AT_ONCE + 1):  # who is refused for another reason takes nobody's turn
        with pytest.raises(ForeignRefError):
            deployment.contents.download(row(text, key="other"), text)
    sent = [deployment.contents.download(row(text), text) for _ in range(module.AT_ONCE)]
    with pytest.raises(BusyError):
        deployment.contents.download(row(text), text)
    assert deployment.contents.show(row(text), text).form == "json"
    sent[0].close()
    sent[0].close()
    sent[0] = deployment.contents.download(row(text), text)
    with pytest.raises(BusyError):
        deployment.contents.download(row(text), text)
    assert b"".join(sent[0].pieces)[:9] == b'{"rows":['


def test_no_more_than_so_many_are_shown_at_once(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    text = deployment.offload(VALUE)
    opened, looked_at, blobs = Barrier(module.AT_ONCE + 1), Event(), deployment.contents._blobs
    open_one = blobs.open

    def slowly(ref: Any) -> Any:
        if current_thread() is not main_thread():
            opened.wait(60)
            looked_at.wait(60)
        return open_one(ref)

    monkeypatch.setattr(blobs, "open", slowly)
    with ThreadPoolExecutor(module.AT_ONCE) as threads:
        shown = [threads.submit(deployment.contents.show, row(text), text) for _ in range(module.AT_ONCE)]
        opened.wait(60)
        try:
            with pytest.raises(BusyError):
                deployment.contents.show(row(text), text)
            assert deployment.contents.show(row("[1]"), "[1]").text == "[\n  1\n]"  # is there, in its row
        finally:
            looked_at.set()
    assert [each.result().form for each in shown] == ["json"] * module.AT_ONCE
    monkeypatch.undo()
    assert deployment.contents.show(row(text), text).form == "json"


def test_a_download_ends_of_which_nothing_is_taken(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    text = deployment.offload(VALUE)
    download = deployment.contents.download(row(text), text)
    closed = []
    sending = answers._Sending(replace(download, close=lambda: closed.append(download.close())), {})
    monkeypatch.setattr(answers, "STALLED", 0.1)

    async def never(*_: Any) -> Any:
        await anyio.sleep_forever()

    with pytest.raises(TimeoutError):
        anyio.run(sending, {"type": "http"}, never, never)
    assert closed == [None]


def test_of_an_old_format_only_what_is_small_is_read(deployment: Deployment) -> None:
    ref = parse_ref(deployment.offload(VALUE))
    old = format_ref(replace(ref, frames="zstd", seal=0, raw=module.MOST_HELD + 1))  # type: ignore[type-var]
    with pytest.raises(UnreadableBlobError, match="old format"):
        deployment.contents.show(row(old), old)


def test_a_download_that_is_damaged_on_its_way_ends(deployment: Deployment, tmp_path: Path) -> None:
    text = deployment.offload([float(number) for number in range(900_000)])
    ref = parse_ref(text)
    assert ref is not None
    blob = Path(ref.url.removeprefix("file://"))
    content = bytearray(blob.read_bytes())
    content[-ref.seal - 1_000] ^= 1  # type: ignore[union-attr]
    blob.chmod(0o600)
    blob.write_bytes(content)
    sent = deployment.contents.download(row(text), text)
    assert len(next(sent.pieces)) == module.PIECE < sent.size
    with pytest.raises(BlobCorruptError):
        list(sent.pieces)


def test_a_store_is_not_waited_for_as_long_as_in_a_task(tmp_path: Path) -> None:
    assert Deployment(tmp_path).contents.settings.give_up_after == module.PATIENCE
    assert Deployment(tmp_path, give_up_after="5s").contents.settings.give_up_after.total_seconds() == 5


def test_a_typed_value_in_its_row_is_shown_as_it_stands(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, inline_limit=60_000)
    text = deployment.offload({"at": datetime(2026, 1, 2, tzinfo=timezone.utc)})
    assert '"datetime.datetime"' in deployment.contents.show(row(text), text).text


def test_what_can_not_be_sent_as_text_is_escaped(deployment: Deployment) -> None:
    text = '{"half": "\\ud800", "whole": "\\ud83d\\ude00"}'
    shown = deployment.contents.show(row(text), text)
    assert shown.text == '{\n  "half": "\\ud800",\n  "whole": "\U0001f600"\n}'


def test_a_long_row_is_not_taken_apart(deployment: Deployment) -> None:
    text = "[" * (module.MOST_SHOWN + 1)
    shown = deployment.contents.show(row(text), text)
    assert (shown.text, shown.cut) == ("[" * module.BEGINNING, True)


def test_what_is_too_deep_to_be_indented_is_shown_as_it_stands(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    value: Any = []
    for _ in range(2 * sys.getrecursionlimit()):
        value = [value]
    monkeypatch.setattr(module, "MOST_TEXT", 10**9)
    monkeypatch.setattr(module.json, "loads", lambda _: value)  # as Python 3.12 reads it
    text = "[" * 5_000 + "]" * 5_000
    assert module._shown_json(text, len(text)).text == text


@pytest.mark.parametrize("seal", [10**17, 10**7])
def test_a_ref_that_claims_a_long_end_has_nothing_fetched(deployment: Deployment, seal: int) -> None:
    ref = parse_ref(deployment.offload(VALUE))
    forged = format_ref(replace(ref, size=10**18, seal=seal))  # type: ignore[type-var]
    with pytest.raises(UnreadableBlobError, match="no blob ends"):
        deployment.contents.check(row(forged), forged)
