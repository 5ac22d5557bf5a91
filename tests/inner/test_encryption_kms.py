"""AWS KMS gives the keys: against moto over HTTP, and a server that refuses as KMS does."""

from __future__ import annotations

import json
import os
import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest

from offload_backend.blobfile import header_at_start
from offload_backend.crypto import Keyring, kms
from offload_backend.errors import ConfigError, OffloadError, StoreError, WrongKeyError
from offload_backend.settings import Settings
from tests import s3
from tests.golden.test_encrypted import frames_of
from tests.inner.stores import BIG, TASK, a_ref, name_in


class Kms:
    """moto's KMS with a key of its own, and what was asked of it."""

    def __init__(self, recorder) -> None:
        self.server = s3.S3(recorder.endpoint, "")
        recorder.servers[""] = self.server
        self.client = boto3.client("kms")
        made = self.client.create_key()["KeyMetadata"]
        self.key, self.arn = made["KeyId"], made["Arn"]

    def asked(self) -> int:
        """Requests since the last time."""
        count = len(self.server.requests)
        self.server.requests.clear()
        return count


@pytest.fixture(scope="module")
def recorder():
    with s3.serve() as recorder:
        yield recorder


@pytest.fixture
def aws(recorder, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", recorder.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    found = Kms(recorder)
    found.asked()
    return found


def settings_for(aws: Kms, **changes) -> dict[str, object]:
    return {"encryption_keys": f"kms1=kms:{aws.key}", "inline_limit": 0, "deployment": "prod", **changes}


def test_a_value_is_encrypted_with_a_key_that_kms_made(aws, stores):
    text = stores.offloader(**settings_for(aws)).offload(BIG, TASK, "k")
    assert aws.asked() == 1
    assert stores.offloader(**settings_for(aws)).resolve(text) == BIG
    assert aws.asked() == 1
    data = b"".join(stores.at["s3://bucket/prefix"].get(name_in(text)))
    wrapped = frames_of(data)[-2][56:-16]
    context = {"offload-backend": "prod"}
    key = aws.client.decrypt(CiphertextBlob=wrapped, EncryptionContext=context)["Plaintext"]
    assert len(key) == 32
    assert key not in data
    assert header_at_start(data)["encrypted"] == a_ref(text).key == "kms1"


def test_kms_is_asked_once_for_many_blobs_and_not_for_one_of_them_twice(aws, stores):
    writer = stores.offloader(**settings_for(aws))
    texts = [writer.offload({"n": n}, TASK, "k") for n in range(kms.BLOBS + 1)]
    assert aws.asked() == 2
    reader = stores.offloader(**settings_for(aws))
    assert [reader.resolve(text) for text in texts] == [{"n": n} for n in range(kms.BLOBS + 1)]
    assert aws.asked() == 2
    assert reader.resolve(texts[0]) == {"n": 0}
    assert writer.resolve(texts[0]) == {"n": 0}
    assert aws.asked() == 0


def test_no_key_is_kept_for_long(aws, stores, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(kms.time, "monotonic", lambda: now[0])
    offloader = stores.offloader(**settings_for(aws))
    text = offloader.offload(BIG, TASK, "k")
    assert aws.asked() == 1
    now[0] += kms.SECONDS
    offloader.resolve(text)
    offloader.offload(BIG, TASK, "k")
    assert aws.asked() == 2


def test_few_unwrapped_keys_are_kept(aws, monkeypatch):
    monkeypatch.setattr(kms, "CACHED", 2)
    monkeypatch.setattr(kms, "BLOBS", 1)
    source = kms.KmsKey(aws.key, Settings.load(settings_for(aws)))
    wrapped = [source.fresh().wrapped for _ in range(3)]
    assert len(set(wrapped)) == 3
    aws.asked()
    source.unwrapped(wrapped[2])
    assert aws.asked() == 0
    source.unwrapped(wrapped[0])
    assert aws.asked() == 1
    source.unwrapped(wrapped[0])
    assert aws.asked() == 0


@pytest.mark.parametrize("form", ["alias", "arn", "arn without a region in the environment"])
def test_a_key_may_be_named_in_any_way(aws, stores, form, monkeypatch):
    name = aws.arn
    if form == "alias":
        name = f"alias/{aws.key[:8]}"
        aws.client.create_alias(AliasName=name, TargetKeyId=aws.key)
    if "without" in form:
        monkeypatch.delenv("AWS_DEFAULT_REGION")
    offloader = stores.offloader(**settings_for(aws, encryption_keys=f"k=kms:{name}"))
    assert offloader.resolve(offloader.offload(BIG, TASK, "k")) == BIG


def test_another_deployment_or_another_key_does_not_unwrap_it(aws):
    mine = kms.KmsKey(aws.key, Settings.load(settings_for(aws)))
    wrapped = mine.fresh().wrapped
    other = kms.KmsKey(aws.key, Settings.load(settings_for(aws, deployment="test")))
    assert other.unwrapped(wrapped) == ()
    assert mine.unwrapped(b"") == ()
    assert mine.unwrapped(wrapped[:-1] + bytes([wrapped[-1] ^ 1])) == ()
    assert len(kms.KmsKey(aws.key, Settings.load(settings_for(aws))).unwrapped(wrapped)) == 1


def test_a_blob_of_a_key_that_does_not_unwrap_is_one_of_a_wrong_key(aws, stores):
    text = stores.offloader(**settings_for(aws)).offload(BIG, TASK, "k")
    other = aws.client.create_key()["KeyMetadata"]["KeyId"]
    with pytest.raises((WrongKeyError, StoreError)):  # AWS tells that it is not the right key, moto denies
        stores.offloader(**settings_for(aws, encryption_keys=f"kms1=kms:{other}")).resolve(text)


def test_a_process_that_was_forked_asks_on_connections_of_its_own(aws):
    source = kms.KmsKey(aws.key, Settings.load(settings_for(aws)))
    source.fresh()
    [client] = [source._client[1]]
    child = os.fork()
    if not child:
        try:
            os._exit(0 if source._connected() is not client else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert source._connected() is client


def test_no_key_of_kms_is_shown_or_pickled(aws):
    settings = Settings.load(settings_for(aws))
    ring = Keyring("encryption_keys", settings.encryption_keys, settings)
    _, secret = ring.to_write()
    [source] = ring._sources.values()
    for holder in (ring, source, secret):
        assert secret.key.hex() not in repr(holder)
        assert repr(secret.key) not in repr(holder)
        with pytest.raises(Exception, match=r"pickle"):
            pickle.dumps(holder)


REFUSALS = {
    "AccessDeniedException": (StoreError, "denies", "allow kms:{} on the key"),
    "ThrottlingException": (StoreError, "cannot answer", "passes"),
    "KMSInternalException": (StoreError, "cannot answer", "passes"),
    "ExpiredTokenException": (StoreError, "who asks", "credentials"),
    "NotFoundException": (ConfigError, "refuses", "exists"),
    "DisabledException": (ConfigError, "refuses", "enabled"),
    "KMSInvalidStateException": (ConfigError, "refuses", "enabled"),
}


@pytest.fixture
def refusing(aws, monkeypatch):
    """A server that answers as KMS does when it refuses; with what, is for the test to say."""
    answers = [""]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"__type": answers[-1], "message": "arn:aws:iam::1:user/secret-name"}).encode()
            self.send_response(400)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{server.server_port}")
    yield answers
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_of_kms_says_what_to_do(code, aws, refusing):
    kind, message, hint = REFUSALS[code]
    refusing.append(code)
    settings = Settings.load(settings_for(aws, give_up_after="2s"))
    ring = Keyring("encryption_keys", settings.encryption_keys, settings)
    for operation, ask in (
        ("GenerateDataKey", ring.to_write),
        ("Decrypt", lambda: ring.to_read("kms1", b"some wrapped key")),
    ):
        with pytest.raises(kind, match=message) as caught:
            ask()
        assert hint.format(operation) in caught.value.hint
        assert "the key 'kms1' of [offload_backend] encryption_keys" in str(caught.value)
        assert "secret-name" not in str(caught.value)
        assert operation in caught.value.message


def test_what_kms_has_never_given_is_none_of_its_keys(aws, refusing):
    source = kms.KmsKey(aws.key, Settings.load(settings_for(aws, give_up_after="2s")))
    for code in ("InvalidCiphertextException", "IncorrectKeyException"):
        refusing.append(code)
        assert source.unwrapped(b"x") == ()


def test_without_a_network_credentials_or_a_region_the_error_says_so(aws, monkeypatch, tmp_path):
    settings = Settings.load(settings_for(aws, give_up_after="2s", connect_timeout=1))
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        kms.KmsKey(aws.key, settings).fresh()
    assert caught.value.retryable
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="NoRegionError") as told:
        kms.KmsKey(aws.key, settings).fresh()
    assert "AWS_DEFAULT_REGION" in told.value.hint
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match="no credentials") as unknown:
        kms.KmsKey(aws.key, settings).fresh()
    assert isinstance(unknown.value, OffloadError)
    assert unknown.value.reason == "no-credentials"
