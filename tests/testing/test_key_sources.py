"""Every source of secrets that comes with the package keeps the contract."""

from __future__ import annotations

import boto3
import pytest

from offload_backend.crypto.kms import KmsKey
from offload_backend.crypto.static import FernetKeys, KeyInEnvironment, KeyInFile
from offload_backend.settings import Settings
from offload_backend.testing.key_source import KeySourceContract

KEYS = ["01" * 16 + "ab" * 16, "02" * 16 + "cd" * 16]


class TestKeyInEnvironment(KeySourceContract):
    @pytest.fixture
    def make_source(self, monkeypatch):
        monkeypatch.setenv("A_KEY_OF_A_TEST", KEYS[0])
        return lambda: KeyInEnvironment("A_KEY_OF_A_TEST")


class TestKeyInFile(KeySourceContract):
    @pytest.fixture
    def make_source(self, tmp_path):
        (tmp_path / "key").write_text(KEYS[0])
        return lambda: KeyInFile(str(tmp_path / "key"))


class TestFernetKeys(KeySourceContract):
    @pytest.fixture
    def make_source(self):
        return lambda: FernetKeys(lambda: ",".join(KEYS))


class TestKmsKey(KeySourceContract):
    @pytest.fixture
    def make_source(self, offload_s3, monkeypatch):
        """moto's server is KMS, too."""
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", offload_s3.endpoint_url)
        key = boto3.client("kms").create_key()["KeyMetadata"]["KeyId"]
        return lambda: KmsKey(key, Settings())
