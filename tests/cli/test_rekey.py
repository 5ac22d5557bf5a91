"""``offload rekey`` with real keys, rows and blobs; killed in the middle, and run again."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import tracemalloc
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from offload_backend.address import AssetAddress, TaskAddress
from offload_backend.blobfile import SealedBlob
from offload_backend.blobs import Blobs
from offload_backend.corestores.sql import SqlCoreStore
from offload_backend.errors import ForeignRefError, OffloadError, UnreadableBlobError
from offload_backend.lifecycle import copying
from offload_backend.lifecycle.rekey import Rekeying
from offload_backend.offloader import Offloader
from offload_backend.ref import parse_ref, signature_of
from offload_backend.row import envelope
from offload_backend.settings import Settings
from offload_backend.storemap import StoreMap
from offload_backend.stores.local import LocalBlobStore
from offload_backend.stores.opening import open_store
from tests.cli.deployments import TASK, OnDisk

ORDERS = AssetAddress(name="orders")
VALUES = {"a": [1, 2.5, "three"], "b": {"nested": (1, b"\x00" * 3000)}, "c": "x" * 5000}


class Keyed(OnDisk):
    """A deployment whose keys are in the environment as this test has set them."""

    def settings(self, **changes):
        return Settings.load({"path": self.path, "inline_limit": 0, **changes})

    def offloader(self, **changes):
        settings = self.settings(**changes)
        return Offloader(settings, lambda path: open_store(path, settings))

    def write(self, values, address=TASK, **settings):
        """Rows as a task that has these settings writes them, long ago; their refs."""
        offloader, rows = self.offloader(**settings), SqlCoreStore(self.core_store)
        refs = {key: offloader.offload(value, address, key) for key, value in values.items()}
        for key, ref in refs.items():
            rows.set(address, key, envelope(ref), expires_at=None)
        rows.close()
        self.make_rows_old()
        return refs

    def make_rows_old(self):
        """Written two days ago: no request that did so can still be on its way."""
        engine = create_engine(self.core_store)
        with engine.begin() as connection:
            for table in ("offload_task_state", "offload_asset_state"):
                then = (datetime.now(timezone.utc) - timedelta(days=2)).strftime("%Y-%m-%d %H:%M:%S.%f")
                connection.execute(text(f"UPDATE {table} SET updated_at = :then"), {"then": then})
        engine.dispose()

    def refs(self):
        rows = SqlCoreStore(self.core_store)
        found = {row.key: json.loads(row.text)["__airflow_state_ref__"] for row in rows.rows()}
        rows.close()
        return found

    def values(self, **settings):
        """Of every row, as a task that has these settings reads them."""
        offloader = self.offloader(**settings)
        return {key: offloader.resolve(ref) for key, ref in self.refs().items()}

    def keys_of_blobs(self):
        return {parse_ref(ref).key for ref in self.refs().values()}

    def configure(self, **settings):
        """What the command finds in its environment."""
        for name, value in settings.items():
            os.environ[f"AIRFLOW__OFFLOAD_BACKEND__{name.upper()}"] = value


@pytest.fixture
def keyed(no_configuration, monkeypatch, tmp_path):
    for number in (1, 2):
        monkeypatch.setenv(f"KEY{number}", f"{number:064x}")
    for name in ("ENCRYPTION_KEYS", "SIGNING_KEYS", "UNSIGNED_REFS", "UNENCRYPTED_BLOBS", "RECLAIM"):
        # Registered with monkeypatch, which takes away what configure() sets.
        monkeypatch.setenv(f"AIRFLOW__OFFLOAD_BACKEND__{name}", "")
        monkeypatch.delenv(f"AIRFLOW__OFFLOAD_BACKEND__{name}")
    return Keyed(tmp_path).adopted()


OLD, BOTH, NEW = "k1=env:KEY1", "k2=env:KEY2 k1=env:KEY1", "k2=env:KEY2"


def rekey(keyed, *arguments):
    return keyed.offload("rekey", "--grace", "0s", *arguments)


@pytest.mark.parametrize("before", ["", OLD], ids=["unencrypted", "an older key"])
def test_every_blob_is_encrypted_with_the_first_key_and_no_other_is_needed_any_more(keyed, before):
    keyed.write(VALUES, encryption_keys=before)
    keyed.write({"total": [7] * 1000}, ORDERS, encryption_keys=before)
    old = set(keyed.blobs())
    keyed.configure(encryption_keys=BOTH)
    told = rekey(keyed)
    assert told.exit_code == 0, told.output
    assert "4 rows rewritten, 4 blobs written anew" in told.stdout
    assert "4 old blobs deleted" in told.stdout
    assert keyed.keys_of_blobs() == {"k2"}
    assert keyed.values(encryption_keys=NEW) == {**VALUES, "total": [7] * 1000}
    assert not set(keyed.blobs()) & old
    assert len(keyed.blobs()) == 4
    again = json.loads(rekey(keyed, "--output", "json").stdout)
    assert (again["rows"], again["wanted"]["rows"], again["done"]["rows"]) == (4, 0, 0)


def test_a_blob_written_anew_says_the_same_of_itself(keyed):
    [old] = keyed.write({"b": VALUES["b"]}).values()
    keyed.configure(encryption_keys=NEW)
    assert rekey(keyed).exit_code == 0
    [new] = map(parse_ref, keyed.refs().values())
    assert (new.about, new.codec, new.raw) == (parse_ref(old).about, parse_ref(old).codec, parse_ref(old).raw)
    assert new.url.rpartition("/")[0] == parse_ref(old).url.rpartition("/")[0]


def test_refs_are_signed_anew_and_no_blob_is_touched(keyed):
    keyed.write(VALUES, signing_keys="s1=env:KEY1")
    before = {path: path.stat().st_mtime_ns for path in keyed.blobs()}
    keyed.configure(signing_keys="s2=env:KEY2 s1=env:KEY1")
    told = rekey(keyed)
    assert told.exit_code == 0, told.output
    assert "3 rows rewritten, 0 blobs written anew" in told.stdout
    assert {path: path.stat().st_mtime_ns for path in keyed.blobs()} == before
    assert keyed.values(signing_keys="s2=env:KEY2") == VALUES
    assert json.loads(rekey(keyed, "--output", "json").stdout)["wanted"]["rows"] == 0


def test_a_key_that_is_another_one_now_signs_anew_although_its_id_is_the_same(keyed, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "0" * 63 + "1")
    keyed.write(VALUES, signing_keys="s=fernet")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "0" * 63 + "2," + "0" * 63 + "1")
    keyed.configure(signing_keys="s=fernet")
    assert "3 rows rewritten" in rekey(keyed).stdout
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "0" * 63 + "2")
    assert keyed.values(signing_keys="s=fernet") == VALUES


def test_several_keys_of_one_id_are_told_for_no_ref_tells_them_apart(keyed, monkeypatch):
    old, both = "1" * 64, "2" * 64 + "," + "1" * 64
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", old)
    keyed.write(VALUES, encryption_keys="f=fernet")
    keyed.configure(encryption_keys="f=fernet")
    assert "several keys" not in rekey(keyed).stdout
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", both)
    told = rekey(keyed)
    assert "0 of 3 rows need it" in told.stdout
    assert "the id 'f' stands for several keys: a blob of it may need any of them" in told.stdout
    keyed.configure(encryption_keys="g=fernet f=fernet")
    told = json.loads(rekey(keyed, "--output", "json").stdout)
    assert (told["done"]["rows"], told["ids_of_several_keys"]) == (3, ["g", "f"])
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "2" * 64)
    assert keyed.values(encryption_keys="g=fernet") == VALUES


def test_what_nobody_has_signed_is_signed_only_where_it_is_read(keyed):
    keyed.write(VALUES)
    keyed.configure(signing_keys="s1=env:KEY1")
    for told in (rekey(keyed, "--dry-run"), rekey(keyed)):
        assert told.exit_code == 4
        assert "0 of 3 rows need it" in told.stdout
        assert "the ref is not signed; set [offload_backend] unsigned_refs = accept" in told.stdout
    assert {signature_of(ref) for ref in keyed.refs().values()} == {None}
    keyed.configure(unsigned_refs="accept")
    assert rekey(keyed).exit_code == 0
    assert keyed.values(signing_keys="s1=env:KEY1", unsigned_refs="refuse") == VALUES


def test_a_forged_ref_is_not_made_good(keyed):
    refs = keyed.write(VALUES, signing_keys="s1=env:KEY1")
    rows = SqlCoreStore(keyed.core_store)
    forged = refs["a"].replace("&about=", "&about=x")
    rows.set(TASK, "a", envelope(forged), expires_at=None)
    rows.close()
    keyed.configure(signing_keys="s2=env:KEY2 s1=env:KEY1", encryption_keys=NEW)
    told = json.loads(rekey(keyed, "--output", "json").stdout)
    assert (told["done"]["rows"], told["failures"]) == (2, 1)
    assert "not as it was signed" in told["failed"][f"{TASK} key 'a'"]
    assert keyed.refs()["a"] == forged
    with pytest.raises(ForeignRefError):
        keyed.offloader(signing_keys="s2=env:KEY2 s1=env:KEY1").resolve(forged)


@pytest.mark.parametrize(
    ("keys", "setting", "what"),
    [
        ({"signing_keys": "s1=env:KEY1"}, "unsigned_refs", "are not signed"),
        ({"encryption_keys": OLD}, "unencrypted_blobs", "name what is not encrypted"),
    ],
)
def test_what_a_setting_makes_unreadable_is_told_before_it_is_made_and_after(keyed, keys, setting, what):
    refs = keyed.write(VALUES, **keys)
    copied, peers = envelope(keyed.write({"d": 1})["d"]), envelope("file:///peer/state.json")
    rows = SqlCoreStore(keyed.core_store)
    for key, row_text in (("copied", copied), ("peers", peers), ("signed", envelope(refs["a"]))):
        rows.set(TASK, key, row_text, expires_at=None)
    rows.remove([found for found in rows.found() if found.row.key == "d"])
    rows.close()
    keyed.configure(**keys, **{setting: "accept"})
    dry = rekey(keyed, "--dry-run")
    assert dry.exit_code == 0
    assert f"2 of those refs {what}: with {setting} = refuse, no task could read them" in dry.stdout
    keyed.configure(**{setting: "refuse"})
    for told in (rekey(keyed, "--dry-run"), rekey(keyed)):
        assert told.exit_code == 0
        assert f"2 of those refs {what}, and {setting} is refuse: no task can read them" in told.stdout
    assert json.loads(rekey(keyed, "--output", "json").stdout)["lacking"] == {setting: 2}


def test_what_is_not_encrypted_is_encrypted_only_where_it_is_read(keyed):
    keyed.write(VALUES)
    keyed.configure(encryption_keys=NEW, unencrypted_blobs="refuse")
    for told in (rekey(keyed, "--dry-run"), rekey(keyed)):
        assert told.exit_code == 4
        assert "the blob is not encrypted" in told.stdout
    assert keyed.keys_of_blobs() == {""}


def test_rows_whose_key_is_missing_are_listed_and_stop_no_other(keyed):
    keyed.write({"a": VALUES["a"]}, encryption_keys="k0=env:KEY1")
    keyed.write({"b": VALUES["b"], "c": VALUES["c"]}, encryption_keys=OLD)
    blobs = len(keyed.blobs())
    keyed.configure(encryption_keys=BOTH)
    assert "1 rows can not be rewritten" in rekey(keyed, "--dry-run").stdout
    told = rekey(keyed)
    assert told.exit_code == 4
    assert f"{TASK} key 'a': " in told.stdout
    assert "'k0' is not among those of [offload_backend] encryption_keys" in told.stdout
    assert "1 rows could not be rewritten" in told.stderr
    assert len(keyed.blobs()) == blobs
    assert {key: parse_ref(ref).key for key, ref in keyed.refs().items()} == {"a": "k0", "b": "k2", "c": "k2"}


@pytest.mark.parametrize("setting", ["encryption_keys", "signing_keys"])
def test_a_key_that_cannot_be_had_is_told_before_anything_happens(keyed, setting):
    keyed.write(VALUES)
    keyed.configure(unsigned_refs="accept", **{setting: "k3=env:NOT_SET"})
    blobs = keyed.blobs()
    told = rekey(keyed)
    assert told.exit_code == 2
    assert "'k3'" in told.stderr
    assert keyed.blobs() == blobs


def test_without_keys_it_says_what_to_set(keyed):
    told = rekey(keyed)
    assert told.exit_code == 2
    assert "encryption_keys" in told.stderr


def test_encryption_is_taken_off_only_when_asked_for(keyed):
    keyed.write(VALUES, encryption_keys=OLD)
    keyed.configure(encryption_keys=OLD)
    assert "0 of 3 rows need it" in rekey(keyed).stdout
    assert rekey(keyed, "--decrypt").exit_code == 0
    assert keyed.keys_of_blobs() == {""}
    assert keyed.values() == VALUES
    keyed.configure(unencrypted_blobs="refuse")
    assert rekey(keyed, "--decrypt").exit_code == 2


def test_a_dry_run_a_limit_and_a_dag(keyed):
    keyed.write(VALUES)
    keyed.write({"other": 1}, TaskAddress("other", "run", "load"))
    keyed.configure(encryption_keys=NEW)
    blobs = keyed.blobs()
    dry = rekey(keyed, "--dry-run")
    assert dry.exit_code == 0
    assert "4 of 4 rows need it, 4 blobs" in dry.stdout
    assert "dry run" in dry.stdout
    assert keyed.blobs() == blobs
    assert "2 rows rewritten" in rekey(keyed, "--dag", "etl", "--limit", "2").stdout
    assert "1 rows rewritten" in rekey(keyed, "--dag", "etl").stdout
    assert parse_ref(keyed.refs()["other"]).key == ""


def test_old_blobs_that_stay_are_told_with_the_reason(keyed, monkeypatch):
    keyed.write({"a": 1})
    keyed.configure(encryption_keys=NEW, reclaim="never")
    assert "1 old blobs stay, as reclaim = never says" in rekey(keyed).stdout
    keyed.configure(encryption_keys=BOTH.replace("k2", "k3"), reclaim="eager")
    keyed.write({"b": 1})
    monkeypatch.setattr(LocalBlobStore, "delete", lambda *_: pytest.fail("nothing may be deleted"))
    engine = create_engine(keyed.core_store)
    with engine.begin() as connection:
        connection.execute(text("UPDATE offload_task_state SET updated_at = '2100-01-01 00:00:00.000000'"))
    engine.dispose()
    assert "1 old blobs stay, written within commit_window" in rekey(keyed).stdout


def test_an_impossible_grace_is_told(keyed):
    keyed.configure(encryption_keys=NEW)
    told = keyed.offload("rekey", "--grace", "soon")
    assert told.exit_code == 2
    assert "--grace 10m" in told.stderr


def places(keyed):
    offload = Path(sys.executable).parent / "offload"
    return [offload, "rekey", "--path", keyed.path, "--core-store", keyed.core_store, "--grace", "0s"]


def test_progress_is_shown_on_a_terminal_and_never_in_the_output(keyed):
    keyed.write(VALUES)
    keyed.configure(encryption_keys=NEW)
    terminal, stderr = pty.openpty()
    try:
        command = [*places(keyed), "--output", "json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, check=True)
        shown = os.read(terminal, 65536).decode()
    finally:
        os.close(stderr)
        os.close(terminal)
    assert json.loads(done.stdout)["done"]["rows"] == 3
    assert "rows, " in shown
    assert "3/3" in shown


KILLED = """
import itertools, os, signal, sys
from offload_backend.cli.main import app
from offload_backend.lifecycle import rewrite
from offload_backend.lifecycle.rekey import Rekeying

last, remade, turns = int(sys.argv.pop(1)), Rekeying.remade, itertools.count(1)
rewrite.ROWS_PER_PAGE, rewrite.SECONDS_TO_COMMIT = 20, 600

def remade_until_killed(*arguments):
    if next(turns) == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return remade(*arguments)

Rekeying.remade = remade_until_killed
app()
"""


def test_killed_in_the_middle_it_goes_on_where_it_was(keyed):
    values = {str(number): number for number in range(60)}
    keyed.write(values)
    keyed.configure(encryption_keys=NEW)
    # While blobs are stored whose rows are not yet written; then when some rows are.
    for last, rewritten in ((11, 0), (31, 20)):
        command = [sys.executable, "-c", KILLED, str(last), *places(keyed)[1:]]
        assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
        assert sum(parse_ref(ref).key == "k2" for ref in keyed.refs().values()) == rewritten
        assert keyed.values(encryption_keys=NEW) == values
        assert len(keyed.blobs()) > len(values)
    assert "40 rows rewritten" in rekey(keyed).stdout
    assert keyed.keys_of_blobs() == {"k2"}
    assert keyed.values(encryption_keys=NEW) == values


def test_a_large_value_is_copied_in_a_few_frames_of_memory(keyed):
    size = 96 * 2**20
    [ref] = keyed.write({"large": os.urandom(size)}).values()
    settings = keyed.settings(encryption_keys=NEW)
    rekeying_ = Rekeying(settings, lambda path: open_store(path, settings))
    tracemalloc.start()
    try:
        new = rekeying_.remade(ref, TASK, "large")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60 * 2**20
    assert keyed.offloader(encryption_keys=NEW).resolve(new) == keyed.offloader().resolve(ref)


def test_a_copy_is_cut_into_the_same_frames(keyed, monkeypatch):
    numpy = pytest.importorskip("numpy")
    monkeypatch.setattr(copying, "STRETCH", 5 * 2**20)
    value = {"words": ["word"] * 300_000, "array": numpy.arange(2_500_000), "small": b"x" * 70_000}
    [ref] = keyed.write({"v": value}).values()
    settings = keyed.settings(encryption_keys=NEW)
    new = Rekeying(settings, lambda path: open_store(path, settings)).remade(ref, TASK, "v")
    blobs = Blobs(settings, StoreMap(settings, lambda path: open_store(path, settings)))
    first, second = (blobs.open(parse_ref(each)) for each in (ref, new))
    assert isinstance(first, SealedBlob)
    cuts = [[place.raw for place in source.seal.places if place.raw] for source in (first, second)]
    assert cuts[0] == cuts[1]
    assert len(cuts[0]) > 5
    back = keyed.offloader(encryption_keys=NEW).resolve(new)
    assert numpy.array_equal(back.pop("array"), value.pop("array"))
    assert back == value


def test_the_old_key_is_needed_no_more_and_the_new_one_is(keyed):
    keyed.write(VALUES, encryption_keys=OLD)
    keyed.configure(encryption_keys=BOTH)
    assert rekey(keyed).exit_code == 0
    with pytest.raises(UnreadableBlobError):
        keyed.values(encryption_keys=OLD)
    with pytest.raises(OffloadError):
        keyed.values()
