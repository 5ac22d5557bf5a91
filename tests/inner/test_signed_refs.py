"""Signed refs: what nobody with a key has written is refused before any store is asked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload_backend.errors import ConfigError, ForeignRefError, UnreadableBlobError
from offload_backend.lifecycle.named import named_blob
from offload_backend.ref import is_ref, parse_ref, signature_of
from offload_backend.settings import Settings
from offload_backend.signature import Signatures
from tests.inner.stores import BIG, HOME, TASK, a_ref, name_in
from tests.inner.test_ref import OLD_TEXT, REF, SECRET_TEXT, TEXT
from tests.inner.values import THOROUGH

GOLDEN = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "golden/signed_refs_v1.jsonl").read_text().splitlines()
]
ONE, TWO = bytes(range(32)), bytes(range(32, 64))
KEYS = {"signing_keys": "s1=env:SIGN_ONE"}
NEWER = {"signing_keys": "s2=env:SIGN_TWO s1=env:SIGN_ONE"}


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    monkeypatch.setenv("SIGN_ONE", ONE.hex())
    monkeypatch.setenv("SIGN_TWO", base64.b64encode(TWO).decode())


def signatures(**settings):
    return Signatures(Settings.load({"path": HOME, **settings}))


def as_documented(text: str, signer: str, secret: bytes) -> str:
    """The signature of docs/formats.md, by RFC 5869 and RFC 2104 alone."""
    pseudorandom = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    info = b"offload_backend signature of refs, version 1"
    key = hmac.new(pseudorandom, info + b"\x01", hashlib.sha256).digest()
    covered = f"{text}&signer={signer}"
    return f"{covered}&mac={hmac.new(key, covered.encode(), hashlib.sha256).hexdigest()}"


@pytest.mark.parametrize("text", [TEXT, OLD_TEXT, SECRET_TEXT], ids=["sealed", "zstd", "encrypted"])
def test_a_signature_is_the_documented_one(text):
    signed = signatures(**KEYS).signed(text)
    assert signed == as_documented(text, "s1", ONE)
    assert is_ref(signed)
    assert parse_ref(signed) == parse_ref(text)
    signatures(**KEYS).check(signed)


@pytest.mark.parametrize("entry", GOLDEN, ids=lambda entry: entry["signer"])
def test_what_was_signed_verifies_for_ever(entry, monkeypatch):
    monkeypatch.setenv("SIGN_GOLDEN", entry["secret"])
    keyed = signatures(signing_keys=f"{entry['signer']}=env:SIGN_GOLDEN")
    keyed.check(entry["text"])
    ref = a_ref(entry["text"])
    assert (ref.size, ref.raw) == (entry["size"], entry["raw"])
    assert keyed.signed(entry["text"].partition("&signer=")[0]) == entry["text"]


def test_a_value_is_signed_and_read_and_its_blob_is_its_own(stores):
    offloader = stores.offloader(**KEYS)
    text = offloader.offload(BIG, TASK, "k")
    assert signature_of(text).signer == "s1"
    assert text.rpartition("&mac=")[0].endswith("&signer=s1")
    assert offloader.resolve(text) == BIG
    assert offloader.look(text).value() == BIG
    assert offloader.blob_of(text).scope == "task/dag/run/task/3"
    assert named_blob(text, "default", HOME).name == name_in(text)
    assert offloader.discard([text]).deleted == (name_in(text),)


def test_what_stays_in_the_row_is_not_signed(stores):
    offloader = stores.offloader(**KEYS)
    assert offloader.offload(1, TASK, "k") == "1"
    typed = offloader.offload((1,), TASK, "k")
    assert typed.startswith("data:")
    assert "mac" not in typed
    assert offloader.resolve(typed) == (1,)


def test_keys_are_rotated_without_a_pause(stores):
    before, after = stores.offloader(**KEYS), stores.offloader(**NEWER)
    old = before.offload(BIG, TASK, "k")
    new = after.offload(BIG, TASK, "k")
    assert (signature_of(old).signer, signature_of(new).signer) == ("s1", "s2")
    assert after.resolve(old) == after.resolve(new) == BIG
    with pytest.raises(UnreadableBlobError, match="'s2'") as caught:
        before.resolve(new)
    assert "signing_keys" in caught.value.hint


def test_without_keys_a_signature_is_not_looked_at(stores):
    text = stores.offloader(**KEYS).offload(BIG, TASK, "k")
    plain = stores.offloader()
    assert plain.resolve(text) == BIG
    assert plain.resolve(text[:-1] + ("0" if text[-1] != "0" else "1")) == BIG
    assert signature_of(plain.offload(BIG, TASK, "k")) is None


def refused(stores, text, error=ForeignRefError, **settings):
    store = stores.open(HOME)
    store.calls.clear()
    offloader = stores.offloader(**KEYS, **settings)
    for use in (offloader.resolve, offloader.look):
        with pytest.raises(error) as caught:
            use(text)
    assert store.calls == []
    assert offloader.discard([text]).deleted == ()
    assert offloader.blob_of(text) is None
    assert store.calls == []
    return caught.value


def test_an_unsigned_ref_is_refused_until_it_is_accepted(stores):
    text = stores.offloader().offload(BIG, TASK, "k")
    error = refused(stores, text)
    assert error.message == "the ref is not signed"
    assert "unsigned_refs" in error.hint
    accepting = stores.offloader(**KEYS, unsigned_refs="accept")
    assert accepting.resolve(text) == BIG
    assert accepting.discard([text]).deleted == (name_in(text),)


def test_a_peers_ref_is_governed_by_the_same_setting(stores):
    stores.open(HOME).put("dag/run/task/-1/k", [b"[1]"])
    url = f"{HOME}/dag/run/task/-1/k"
    with pytest.raises(ForeignRefError, match="not signed"):
        stores.offloader(**KEYS).resolve(url)
    assert stores.offloader(**KEYS, unsigned_refs="accept").resolve(url) == [1]


@pytest.mark.parametrize("unsigned_refs", ["refuse", "accept"])
def test_a_wrong_signature_is_refused_whatever_is_accepted(stores, unsigned_refs):
    text = stores.offloader(**KEYS).offload(BIG, TASK, "k")
    for wrong in (
        text[:-1] + ("0" if text[-1] != "0" else "1"),
        text.replace("&raw=", "&raw=1"),
        text.replace("&codec=json", "&codec=tree"),
        text.replace("/k/", "/l/"),
        text.replace(f"&blake3={a_ref(text).digest}", f"&blake3={'0' * 64}"),
        as_documented(text.partition("&signer=")[0], "s1", TWO),
    ):
        assert wrong != text
        error = refused(stores, wrong, unsigned_refs=unsigned_refs)
        assert "signing_keys" in error.hint
        assert ONE.hex() not in str(error)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.rpartition("&mac=")[0],
        lambda text: text.replace("&signer=s1", ""),
        lambda text: f"{text}&about=x",
        lambda text: text + text.partition("&signer=s1")[2],
        lambda text: text[:-1],
        lambda text: text[:-64] + text[-64:].upper(),
        lambda text: text.replace("&signer=s1", "&signer=S1"),
        lambda text: text.replace("&signer=s1", f"&signer={'s' * 33}"),
    ],
)
def test_half_a_signature_or_one_elsewhere_is_none(change):
    text = change(as_documented(TEXT, "s1", ONE))
    with pytest.raises((ForeignRefError, UnreadableBlobError)):
        parse_ref(text)


def test_a_bare_url_has_no_signature():
    tail = as_documented(TEXT, "s1", ONE).partition("&signer")[2]
    assert signature_of(f"{HOME}/x&signer{tail}") is None


@THOROUGH
@given(st.data(), st.characters(exclude_categories=()))
def test_no_other_text_verifies(data, character):
    signed = as_documented(TEXT, "s1", ONE)
    position = data.draw(st.integers(0, len(signed) - 1))
    changed = signed[:position] + character + signed[position + data.draw(st.integers(0, 2)) :]
    if changed != signed:
        with pytest.raises((ForeignRefError, UnreadableBlobError)):
            signatures(**KEYS).check(changed)


def test_a_ref_of_a_key_that_is_not_configured_says_which(stores):
    text = as_documented(stores.offloader().offload(BIG, TASK, "k"), "other", TWO)
    error = refused(stores, text, UnreadableBlobError)
    assert "'other'" in error.message
    assert "add other=" in error.hint


def test_keys_that_cannot_be_used_say_so_and_nothing_is_deleted(stores, monkeypatch):
    text = stores.offloader(**KEYS).offload(BIG, TASK, "k")
    monkeypatch.setenv("SIGN_ONE", "not a key at all")
    error = refused(stores, text, ConfigError)
    assert "signing_keys" in str(error)
    assert "not a key" not in str(error)
    with pytest.raises(ConfigError):
        stores.offloader(**KEYS).offload(BIG, TASK, "k")


class Counting:
    """A source that takes a while to give its key."""

    asked = 0

    def fresh(self):
        from offload_backend.crypto import Secret

        type(self).asked += 1
        return Secret(ONE)

    def unwrapped(self, wrapped):
        return [self.fresh().key]


def test_a_set_and_a_get_look_a_key_up_once_and_deleting_does_not(stores):
    counting = {"signing_keys": f"s1=class:{__name__}.Counting"}
    Counting.asked = 0
    offloader, reader = stores.offloader(**counting), stores.offloader(**counting)
    text = offloader.offload(BIG, TASK, "k")
    assert offloader.blob_of(text) is not None
    assert Counting.asked == 1
    assert reader.resolve(text) == BIG
    assert reader.blob_of(text) is not None
    assert Counting.asked == 2
    forged = text[:-1] + ("0" if text[-1] != "0" else "1")
    assert reader.blob_of(forged) is None
    assert list(reader.discard([text]).deleted) == [name_in(text)]
    assert Counting.asked == 3


def test_the_same_secret_in_a_file_is_the_same_key(stores, tmp_path):
    (tmp_path / "key").write_text(f"{ONE.hex()}\n")
    text = stores.offloader(**KEYS).offload(BIG, TASK, "k")
    assert stores.offloader(signing_keys=f"s1=file:{tmp_path}/key").resolve(text) == BIG


@pytest.mark.parametrize("keys", ["s1", "=env:X", "S1=env:X", "s1=", "s1=kms:alias/x", "s1=env:A s1=env:B"])
def test_what_names_no_key_that_signs_is_a_config_error(keys):
    with pytest.raises(ConfigError, match="signing_keys"):
        Settings.load({"signing_keys": keys})


def test_a_key_pasted_into_the_setting_is_not_quoted():
    with pytest.raises(ConfigError) as caught:
        Settings.load({"signing_keys": ONE.hex()})
    assert ONE.hex() not in str(caught.value)


class Changing:
    """A source whose key is another one each time."""

    def fresh(self):
        from offload_backend.crypto import Secret

        return Secret(ONE, b"wrapped")

    def unwrapped(self, wrapped):
        return [ONE] if wrapped else []


def test_a_source_whose_keys_change_cannot_sign(stores):
    offloader = stores.offloader(signing_keys=f"s1=class:{__name__}.Changing")
    with pytest.raises(ConfigError, match="another one each time"):
        offloader.offload(BIG, TASK, "k")


def test_a_ref_that_was_formatted_is_read_signed():
    assert parse_ref(as_documented(TEXT, "s1", ONE)) == REF
