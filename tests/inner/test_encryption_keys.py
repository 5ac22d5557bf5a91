"""Keys: where a setting says they are, looked up when they are needed, and told to nobody."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Iterable, Sequence
from uuid import UUID

import pytest

from offload_backend.address import AssetAddress, TaskAddress, blob_name
from offload_backend.blobstore import Stretch
from offload_backend.configuration import read_configuration
from offload_backend.crypto import Keyring, Secret
from offload_backend.errors import (
    BlobCorruptError,
    ConfigError,
    ForeignRefError,
    UnreadableBlobError,
    WrongKeyError,
)
from offload_backend.lifecycle.contents import content_of, difference
from offload_backend.settings import Settings
from tests.inner.stores import BIG, TASK, FaultyStore, a_ref, changed, name_in

TEXT = "hunter2-hunter2-hunter2-hunter2-"
KEY = TEXT.encode()
FORMS = {
    "hexadecimal": KEY.hex(),
    "upper case": KEY.hex().upper(),
    "base64": base64.b64encode(KEY).decode(),
    "without padding": base64.b64encode(KEY).decode().rstrip("="),
    "for URLs": base64.urlsafe_b64encode(KEY).decode(),
    "with white space around": f" {KEY.hex()}\n",
}


def keyring(*entries: str) -> Keyring:
    settings = Settings.load({"encryption_keys": entries})
    return Keyring("encryption_keys", settings.encryption_keys, settings)


def source(name: str) -> str:
    return f"class:{__name__}.{name}"


class MySource:
    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def fresh(self) -> Secret:
        return Secret(KEY, b"wrapped")

    def unwrapped(self, wrapped: bytes) -> Sequence[bytes]:
        return [KEY] if wrapped == b"wrapped" else []


class Raising(MySource):
    def fresh(self) -> Secret:
        raise RuntimeError(f"cannot use {TEXT}")

    def unwrapped(self, wrapped: bytes) -> Sequence[bytes]:
        raise RuntimeError(f"cannot use {TEXT}")


class Short(MySource):
    def fresh(self) -> Secret:
        return Secret(KEY[:16])


class Wide(MySource):
    def fresh(self) -> Secret:
        return Secret(KEY, bytes(4097))


class NoSecret(MySource):
    def fresh(self):
        return KEY

    def unwrapped(self, wrapped: bytes):
        return None


@pytest.mark.parametrize("form", FORMS)
def test_a_key_in_the_environment_or_a_file(form, monkeypatch, tmp_path):
    monkeypatch.setenv("MY_KEY", FORMS[form])
    (tmp_path / "key").write_text(FORMS[form])
    for entry in ("k1=env:MY_KEY", f"k1=file:{tmp_path}/key"):
        key_id, secret = keyring(entry).to_write()
        assert (key_id, secret.key, secret.wrapped) == ("k1", KEY, b"")
        assert list(keyring(entry).to_read("k1")) == [KEY]
        assert list(keyring(entry).to_read("k1", b"wrapped")) == []


def test_every_byte_of_base64_for_urls_is_what_it_was(monkeypatch):
    key = bytes(range(224, 256))
    monkeypatch.setenv("MY_KEY", base64.urlsafe_b64encode(key).decode())
    assert keyring("k1=env:MY_KEY").to_write()[1].key == key


@pytest.mark.parametrize(
    "text",
    ["", TEXT, KEY.hex()[:-2], f"{KEY.hex()}00", base64.b64encode(KEY[:31]).decode(), "é" * 43, KEY.hex() + "\nx"],
)
def test_what_is_no_key_is_an_error_that_does_not_quote_it(text, monkeypatch, tmp_path):
    monkeypatch.setenv("MY_KEY", text)
    (tmp_path / "key").write_text(text)
    for entry in ("k1=env:MY_KEY", f"k1=file:{tmp_path}/key"):
        for ask in (lambda ring: ring.to_write(), lambda ring: ring.to_read("k1")):
            with pytest.raises(ConfigError, match=r"the key 'k1' of .offload_backend. encryption_keys") as caught:
                ask(keyring(entry))
            assert "openssl rand -base64 32" in caught.value.hint
            assert not text or text not in str(caught.value)
            assert caught.value.__cause__ is None


def test_a_key_that_is_not_there_is_an_error(monkeypatch, tmp_path):
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ConfigError, match="is empty or not set"):
        keyring("k1=env:MY_KEY").to_write()
    with pytest.raises(ConfigError, match="cannot be read: FileNotFoundError"):
        keyring(f"k1=file:{tmp_path}/missing").to_write()


def test_airflows_fernet_keys_are_one_of_ours(monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW_CONFIG", str(tmp_path / "airflow.cfg"))
    other = base64.urlsafe_b64encode(bytes(32)).decode()
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", f"{FORMS['for URLs']},{other}")
    assert keyring("f=fernet").to_write()[1].key == KEY
    assert list(keyring("f=fernet").to_read("f")) == [KEY, bytes(32)]
    monkeypatch.delenv("AIRFLOW__CORE__FERNET_KEY")
    with pytest.raises(ConfigError, match="fernet_key is empty or not set"):
        keyring("f=fernet").to_write()
    # In airflow.cfg, where a face of this package has read it:
    (tmp_path / "airflow.cfg").write_text(
        f"[core]\nfernet_key = {FORMS['for URLs']}\n[offload_backend]\nencryption_keys = f=fernet\n"
    )
    settings = read_configuration().settings({})
    assert Keyring("encryption_keys", settings.encryption_keys, settings).to_write()[1].key == KEY
    assert TEXT not in repr(settings)
    assert FORMS["for URLs"] not in repr(settings)


def test_a_source_of_ones_own_is_made_once_and_when_it_is_needed():
    MySource.made = 0
    ring = keyring(f"a={source('MySource')}", f"b={source('Missing')}")
    assert MySource.made == 0
    assert ring.to_write()[1].wrapped == b"wrapped"
    assert list(ring.to_read("a", b"wrapped")) == [KEY]
    assert list(ring.to_read("a", b"other")) == []
    assert MySource.made == 1


@pytest.mark.parametrize("name", ["Missing", "Raising", "Short", "Wide", "NoSecret"])
def test_a_source_that_gives_no_key_is_an_error_that_quotes_nothing(name):
    with pytest.raises(
        ConfigError, match=r"the key 'a' of .offload_backend. encryption_keys cannot be had"
    ) as caught:
        keyring(f"a={source(name)}").to_write()
    assert TEXT not in str(caught.value)
    assert caught.value.__suppress_context__
    if name in ("Raising", "NoSecret"):
        with pytest.raises(ConfigError, match="cannot be had"):
            keyring(f"a={source(name)}").to_read("a")


def test_a_class_that_is_no_dotted_path_is_an_error():
    with pytest.raises(ConfigError, match="cannot be had: ImportError"):
        keyring("a=class:Nothing").to_write()


def test_an_id_that_is_not_there_is_told_at_once():
    with pytest.raises(UnreadableBlobError, match="the key 'gone' is not among those") as caught:
        keyring("k1=env:MY_KEY").reader("gone")
    assert caught.value.hint.startswith("add gone=<source> to [offload_backend] encryption_keys")


@pytest.mark.parametrize(
    "entry",
    [
        KEY.hex(), f"k1={KEY.hex()}", f"k1=hex:{KEY.hex()}", "k1=env:", "k1=fernet:", "K1=env:X", "=env:X",
        f"{'k' * 33}=env:X", "k/1=env:X", "k1=", "k1=kms:", "k1=class:", "k1=file:", "k1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("setting", ["encryption_keys", "signing_keys"])
def test_an_entry_that_names_no_place_is_refused_and_not_quoted(entry, setting):
    with pytest.raises(ConfigError) as caught:
        Settings.load({setting: f"ok=env:X {entry}"})
    assert f"[offload_backend] {setting}" in caught.value.message
    assert KEY.hex() not in str(caught.value)


def test_an_id_stands_for_one_key():
    with pytest.raises(ConfigError, match="an id stands for two keys"):
        Settings.load({"encryption_keys": "k1=env:A k1=env:B"})


# What a set and a get make of it.


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    monkeypatch.setenv("KEY_1", "11" * 32)
    monkeypatch.setenv("KEY_2", "22" * 32)


ONE = {"encryption_keys": "k1=env:KEY_1"}
BOTH = {"encryption_keys": "k2=env:KEY_2 k1=env:KEY_1"}


def test_a_set_is_one_put_and_a_get_one_get(stores):
    text = stores.offloader(**ONE).offload(BIG, TASK, "k")
    ref, store = a_ref(text), stores.at["s3://bucket/prefix"]
    assert (ref.frames, ref.key) == ("encrypted", "k1")
    assert ref.url.endswith(".json.enc")
    assert stores.offloader(**ONE).resolve(text) == BIG
    assert store.calls == ["put", "get"]
    data = b"".join(store.get(name_in(text)))
    assert b"half" not in data
    assert difference(store, name_in(text), ref.size, content_of(ref)) == ("", ref.size)


def test_keys_rotate_while_tasks_run(stores):
    """New key last, on all workers; then first; then rows rewritten; then the old one away."""
    plain = stores.offloader().offload(BIG, TASK, "k")
    old = stores.offloader(**ONE).offload(BIG, TASK, "k")
    new = stores.offloader(**BOTH).offload(BIG, TASK, "k")
    assert (a_ref(old).key, a_ref(new).key) == ("k1", "k2")
    both_known = stores.offloader(encryption_keys="k1=env:KEY_1 k2=env:KEY_2")
    for text in (plain, old, new):
        assert both_known.resolve(text) == stores.offloader(**BOTH).resolve(text) == BIG
    with pytest.raises(UnreadableBlobError, match="the key 'k1' is not among"):
        stores.offloader(encryption_keys="k2=env:KEY_2").resolve(old)
    with pytest.raises(UnreadableBlobError, match="the key 'k1' is not among"):
        stores.offloader().resolve(old)


def test_a_missing_key_costs_no_request_and_a_wrong_one_says_so(stores, monkeypatch):
    offloader = stores.offloader(**ONE)
    text = offloader.offload(BIG, TASK, "k")
    store = stores.at["s3://bucket/prefix"]
    store.calls.clear()
    with pytest.raises(UnreadableBlobError):
        stores.offloader(encryption_keys="k9=env:KEY_2").resolve(text)
    assert store.calls == []
    monkeypatch.setenv("KEY_1", "33" * 32)
    with pytest.raises(WrongKeyError):
        stores.offloader(**ONE).resolve(text)
    monkeypatch.delenv("KEY_1")
    with pytest.raises(ConfigError, match="k1"):
        stores.offloader(**ONE).resolve(text)
    store.calls.clear()
    with pytest.raises(ConfigError, match="k1"):
        stores.offloader(**ONE).offload(BIG, TASK, "k")
    assert store.calls == []


def test_a_ref_that_names_another_key_or_framing_opens_nothing(stores):
    text = stores.offloader(**ONE).offload(BIG, TASK, "k")
    with pytest.raises(WrongKeyError):
        stores.offloader(**BOTH).resolve(changed(text, key="k2"))
    with pytest.raises(BlobCorruptError):
        stores.offloader(**BOTH).resolve(changed(text, key="", frames="sealed"))
    plain = stores.offloader().offload(BIG, TASK, "k")
    with pytest.raises(BlobCorruptError):
        stores.offloader(**BOTH).resolve(changed(plain, key="k1", frames="encrypted"))


def test_where_everything_is_encrypted_nothing_else_is_believed(stores):
    plain = stores.offloader().offload(BIG, TASK, "k")
    strict = stores.offloader(**ONE, unencrypted_blobs="refuse")
    with pytest.raises(ForeignRefError, match="is not encrypted") as caught:
        strict.resolve(plain)
    assert "unencrypted_blobs = accept" in caught.value.hint
    peer = "s3://bucket/prefix/dag/run/task/-1/key"
    with pytest.raises(ForeignRefError, match="is not encrypted"):
        strict.resolve(peer)
    with pytest.raises(ForeignRefError, match="is not encrypted"):
        strict.look(plain)
    assert strict.resolve(strict.offload(BIG, TASK, "k")) == BIG
    assert stores.offloader(unencrypted_blobs="refuse").resolve(plain) == BIG


STATES = [
    (TaskAddress("dag", "run", "other", 3, UUID(int=7)), "k"),
    (TaskAddress("d" * 200, "run/é", "other"), "k" * 400 + "\ud800"),
    (AssetAddress(name="orders"), "k"),
    (AssetAddress(uri="s3://orders/" + "x" * 200), "."),
]


@pytest.mark.parametrize(("address", "key"), [*STATES, (TASK, "other")])
@pytest.mark.parametrize("value", [BIG, bytes(100_000)], ids=["json", "tree"])
def test_a_blob_that_was_copied_under_the_name_of_other_state_is_no_value_of_it(stores, value, address, key):
    offloader = stores.offloader(**ONE, inline_limit=0)
    text = offloader.offload(value, TASK, "k")
    name, store = name_in(text), stores.at["s3://bucket/prefix"]
    blob_id, _, extension = name.rpartition("/")[2].partition(".")
    copy = blob_name("default", address, key, blob_id, extension)
    store.put(copy, store.get(name))
    with pytest.raises(BlobCorruptError, match="encrypted for other state than its name says"):
        offloader.resolve(text.replace(name, copy))
    assert offloader.resolve(text) == value
    assert offloader.resolve(offloader.offload(value, address, key)) == value


def test_a_view_of_an_encrypted_tree(stores):
    text = stores.offloader(**ONE).offload({"a": {(1, 2)}, "b": b"x" * 100_000}, TASK, "k")
    view = stores.offloader(**ONE).look(text)
    assert view["a"].value() == {(1, 2)}
    assert view["b"].value() == b"x" * 100_000
    with pytest.raises(UnreadableBlobError):
        stores.offloader().look(text)


def test_settings_that_are_pickled_or_shown_hold_no_key():
    settings = Settings.load(BOTH)
    assert b"\x11" * 32 not in pickle.dumps(settings)
    assert "11" * 32 not in repr(settings)


class CopyingStore(FaultyStore):
    """Would copy, and counts how often it is asked."""

    copies = 0

    def put_with_copies(self, name: str, stretches: Iterable[Stretch], source: str) -> int:
        self.copies += 1
        self.put(name, (buffer for stretch in stretches for buffer in stretch.buffers))
        return 0


@pytest.mark.parametrize(("keys", "copies"), [(ONE, 0), ({}, 2)], ids=["encrypted", "not encrypted"])
def test_nothing_of_an_encrypted_blob_is_copied_into_the_next(stores, keys, copies):
    store = stores.at["s3://bucket/prefix"] = CopyingStore("s3://bucket/prefix")
    value = b"x" * 7_000_000
    offloader = stores.offloader(**keys, compression_level=0)
    text = offloader.offload(value, TASK, "k")
    offloader.offload(value, TASK, "k")
    assert offloader.resolve(text) == value
    offloader.offload(value, TASK, "k")
    assert store.copies == copies
