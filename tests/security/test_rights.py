"""Who has just the rights of docs/permissions.md can do everything; with one less, what fails names it."""

from __future__ import annotations

import json
import logging
import os

import pytest
from typer.testing import CliRunner

from offload_backend import connect, open_value
from offload_backend.cli.main import app
from offload_backend.crypto.kms import KmsKey
from offload_backend.errors import BlobNotFoundError, StoreError
from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
from tests.security.policies import documented, rights_of, without

MIB = 1024 * 1024
POLICIES = documented()
WORKER = POLICIES["Worker"]
OPERATOR = POLICIES["Operator"]
SMALL = ["x" * 100]
LARGE = os.urandom(6 * MIB)
"""Two parts of an upload, the first of which can be copied."""


@pytest.fixture(params=["direct", "boto3", "fsspec"])
def transport(request):
    return request.param


@pytest.fixture
def open_as(guarded, transport, tmp_path):
    """Stores of one database, with a policy's rights; arguments are settings."""

    def open_it(policy, **settings):
        values = {
            "storage_options": guarded.user(policy),
            "transport": transport,
            "inline_limit": 0,
            "part_size": 5 * MIB,
            "give_up_after": "60s",
            **settings,
        }
        return connect(guarded.path, f"sqlite:///{tmp_path}/state.db", **values)

    return open_it


def task_of(stores):
    return stores.task_store("etl", "run", "load")


def denied(action) -> str:
    """What the user reads of the refusal."""
    with pytest.raises(StoreError) as caught:
        action()
    assert caught.value.reason == "denied"
    return str(caught.value)


def test_the_page_has_a_policy_for_each_part():
    assert set(POLICIES) == {"Worker", "Worker that never deletes", "Reader", "Operator", "Keys of AWS KMS"}


def test_a_worker_sets_gets_copies_and_gives_space_back(open_as, guarded):
    with open_as(WORKER) as stores:
        task = task_of(stores)
        task.set("small", SMALL)
        task.set("large", LARGE)
        task.set("large", LARGE + b"more")
        assert task.get("small") == SMALL
        assert task.get("large") == LARGE + b"more"
        task.delete("small")
        assert len(guarded.objects()) == 1
        task.clear()
    assert guarded.objects() == []
    assert guarded.unfinished_uploads() == 0


def test_a_worker_that_never_deletes_sets_and_gets(open_as, guarded):
    with open_as(POLICIES["Worker that never deletes"], reclaim="never") as stores:
        task = task_of(stores)
        task.set("large", LARGE)
        task.set("large", SMALL)
        assert task.get("large") == SMALL
        task.delete("large")
    assert len(guarded.objects()) == 2


def test_a_reader_reads_whole_values_and_stretches(open_as, guarded, transport):
    refs = []
    with open_as(WORKER) as stores:
        task_of(stores).set("large", {"bytes": LARGE, "small": SMALL})
        refs += [row.text for row in stores._core_store.rows()]
    with open_as(POLICIES["Reader"]) as stores:
        task = task_of(stores)
        assert task.get("large")["bytes"] == LARGE
        assert "s3:PutObject" in denied(lambda: task.set("small", SMALL))
    view = open_value(
        refs[0], path=guarded.path, storage_options=guarded.user(POLICIES["Reader"]), transport=transport
    )
    assert view["small"].value() == SMALL


@pytest.mark.parametrize("value", [SMALL, LARGE], ids=["one request", "in parts"])
def test_without_put_object_a_set_fails_and_the_old_value_stays(open_as, value):
    with open_as(WORKER) as stores:
        task_of(stores).set("key", "before")
    with open_as(without(WORKER, "s3:PutObject")) as stores:
        told = denied(lambda: task_of(stores).set("key", value))
        assert "grant s3:PutObject" in told
        assert task_of(stores).get("key") == "before"


def test_without_get_object_a_get_fails_and_a_set_copies_nothing(open_as):
    with open_as(without(WORKER, "s3:GetObject")) as stores:
        task = task_of(stores)
        task.set("large", LARGE)
        task.set("large", LARGE + b"more")
        assert "grant s3:GetObject" in denied(lambda: task.get("large"))
    with open_as(WORKER) as stores:
        assert task_of(stores).get("large") == LARGE + b"more"


def test_without_delete_object_the_blob_stays_and_a_warning_names_the_right(open_as, guarded, caplog):
    with open_as(without(WORKER, "s3:DeleteObject")) as stores, caplog.at_level(logging.WARNING):
        task = task_of(stores)
        task.set("key", SMALL)
        task.delete("key")
        assert task.get("key", default=None) is None
    assert len(guarded.objects()) == 1
    assert "s3:DeleteObject" in caplog.text


def test_without_abort_a_failed_upload_stays_behind_and_a_warning_names_the_right(guarded, caplog):
    def upload(policy):
        settings = Settings(storage_options=guarded.user(policy), part_size=5 * MIB, give_up_after="60s")
        with pytest.raises(ZeroDivisionError), caplog.at_level(logging.WARNING):
            open_store(guarded.path, settings).put("v1/default/breaks", broken())

    def broken():
        yield LARGE
        yield LARGE
        raise ZeroDivisionError

    upload(WORKER)
    assert guarded.unfinished_uploads() == 0
    assert caplog.text == ""
    upload(without(WORKER, "s3:AbortMultipartUpload"))
    assert guarded.unfinished_uploads() == 1
    assert "grant s3:AbortMultipartUpload" in caplog.text


def test_without_the_right_to_list_a_missing_blob_is_forbidden_and_the_hint_says_so(open_as, guarded):
    with open_as(WORKER) as stores:
        task = task_of(stores)
        task.set("key", SMALL)
        guarded.server.client("s3").delete_object(Bucket=guarded.name, Key=guarded.objects()[0])
        assert "without s3:ListBucket a missing object also reads as 403" in denied(lambda: task.get("key"))
    with open_as(OPERATOR) as stores:  # may list, but only with a prefix, and a GET has none
        denied(lambda: task_of(stores).get("key"))
    listing = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::my-bucket"]}
    with open_as({"Statement": [*WORKER["Statement"], listing]}) as stores, pytest.raises(BlobNotFoundError):
        task_of(stores).get("key")


def test_the_rights_end_at_the_deployment(open_as, guarded, transport):
    with open_as(WORKER, deployment="other") as stores:
        assert "s3:PutObject" in denied(lambda: task_of(stores).set("key", SMALL))
    theirs = "v1/other/task/a/b/c/-1/key/blob.json.zst"
    guarded.server.client("s3").put_object(Bucket=guarded.name, Key=f"airflow-state/{theirs}", Body=b"theirs")
    settings = Settings(storage_options=guarded.user(OPERATOR), transport=transport, give_up_after="60s")
    store = open_store(guarded.path, settings)
    assert "s3:GetObject" in denied(lambda: b"".join(store.get(theirs)))
    assert "s3:ListBucket" in denied(lambda: list(store.list("v1/other/")))
    assert "s3:DeleteObject" in store.delete([theirs]).failed[theirs]
    assert len(guarded.objects()) == 1


COMMANDS = {
    "gc adopt": ["gc", "adopt"],
    "gc run": ["gc", "run", "--delete"],
    "gc status": ["gc", "status"],
    "verify": ["verify", "--contents"],
    "rekey": ["rekey", "--grace", "0s"],
    "expire": ["expire", "--delete"],
    "erase": ["erase", "--dag", "etl", "--delete", "--accept", "running"],
}
"""What an operator runs, in this order."""
NEEDED = {
    "s3:PutObject": "gc adopt",
    "s3:GetObject": "verify",
    "s3:ListBucket": "verify",
    "s3:DeleteObject": "erase",
}
"""One command that each right is needed for."""


@pytest.fixture
def operate(open_as, guarded, transport, monkeypatch, tmp_path):
    """Run a command with a policy's rights; a worker has left a value behind, and another one that no row names."""
    with open_as(WORKER, reclaim="never") as stores:
        task_of(stores).set("key", ["again"])
        task_of(stores).set("key", SMALL)

    def run(policy, command):
        options = Settings(storage_options=guarded.user(policy)).storage_options.get_secret_value()
        monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__STORAGE_OPTIONS", options)
        monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__TRANSPORT", transport)
        monkeypatch.setenv("AIRFLOW__OFFLOAD_BACKEND__ENCRYPTION_KEYS", "k1=env:RIGHTS_KEY")
        monkeypatch.setenv("RIGHTS_KEY", "ab" * 32)
        place = ["--path", guarded.path, "--core-store", f"sqlite:///{tmp_path}/state.db"]
        return CliRunner().invoke(app, [*COMMANDS[command], *place])

    return run


@pytest.mark.parametrize("transport", ["direct", "fsspec"], indirect=True)
def test_an_operator_runs_every_command(operate, guarded):
    for command in COMMANDS:
        done = operate(OPERATOR, command)
        assert done.exit_code == 0, done.output
    assert all("/_gc/" in key for key in guarded.objects())


@pytest.mark.parametrize("right", NEEDED)
@pytest.mark.parametrize("transport", ["direct"], indirect=True)
def test_with_one_right_less_a_command_fails_and_names_it(operate, right):
    assert right in rights_of(OPERATOR)
    if NEEDED[right] != "gc adopt":
        assert operate(OPERATOR, "gc adopt").exit_code == 0
    done = operate(without(OPERATOR, right), NEEDED[right])
    assert done.exit_code != 0, done.output
    assert right in " ".join(done.output.split())


@pytest.mark.parametrize("transport", ["direct"], indirect=True)
def test_verify_needs_no_more_than_the_page_says(operate):
    reading = without(without(without(OPERATOR, "s3:PutObject"), "s3:DeleteObject"), "s3:AbortMultipartUpload")
    assert operate(reading, "verify").exit_code == 0


KMS = POLICIES["Keys of AWS KMS"]


@pytest.fixture
def with_key(strict_s3, no_machine, monkeypatch):
    """Keys of KMS as a new process has them, under one master key, with a policy's rights for that alone."""
    arn = strict_s3.client("kms").create_key()["KeyMetadata"]["Arn"]

    def open_it(policy):
        (documented_arn,) = KMS["Statement"][0]["Resource"]
        user = strict_s3.user(json.loads(json.dumps(policy).replace(documented_arn, arn)))
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", strict_s3.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", user["key"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", user["secret"])
        return KmsKey(arn, Settings())

    return open_it


def test_keys_of_kms_are_made_and_unwrapped_with_these_rights(with_key):
    secret = with_key(KMS).fresh()
    assert with_key(KMS).unwrapped(secret.wrapped) == (secret.key,)
    assert with_key(without(KMS, "kms:GenerateDataKey")).unwrapped(secret.wrapped) == (secret.key,)


def test_with_one_right_of_kms_less_what_fails_names_it(with_key):
    assert "kms:GenerateDataKey" in denied(with_key(without(KMS, "kms:GenerateDataKey")).fresh)
    secret = with_key(KMS).fresh()
    reader = with_key(without(KMS, "kms:Decrypt"))
    assert "kms:Decrypt" in denied(lambda: reader.unwrapped(secret.wrapped))


def test_the_rights_end_at_the_master_key(with_key, strict_s3):
    other = strict_s3.client("kms").create_key()["KeyMetadata"]["Arn"]
    with_key(KMS)
    denied(KmsKey(other, Settings()).fresh)
