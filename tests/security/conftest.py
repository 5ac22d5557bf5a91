"""An S3 server that enforces IAM, and users of it with exactly the rights of a policy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from boto3.session import Session

from tests.security.policies import Policy, on

ROOT = Path(__file__).parents[2]
EVERYTHING = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@dataclass(frozen=True)
class StrictS3:
    """The server; ``admin`` may do everything."""

    url: str
    admin: Session

    def client(self, service: str) -> Any:
        return self.admin.client(service, endpoint_url=self.url)

    def user(self, policy: Policy) -> dict[str, str]:
        """The storage_options of a new user who has this policy and nothing else."""
        return {"endpoint_url": self.url, "region_name": "us-east-1", **_new_user(self.client("iam"), policy)}


@dataclass(frozen=True)
class Guarded:
    """A fresh bucket of the server."""

    server: StrictS3
    name: str

    @property
    def path(self) -> str:
        return f"s3://{self.name}/airflow-state"

    def user(self, policy: Policy) -> dict[str, str]:
        """As :meth:`StrictS3.user`, with the policy of docs/permissions.md for this bucket."""
        return self.server.user(on(policy, self.name))

    def objects(self) -> list[str]:
        found = self.server.client("s3").list_objects_v2(Bucket=self.name)
        return [entry["Key"] for entry in found.get("Contents", ())]

    def unfinished_uploads(self) -> int:
        return len(self.server.client("s3").list_multipart_uploads(Bucket=self.name).get("Uploads", ()))


def _new_user(iam: Any, policy: Policy) -> dict[str, str]:
    name = uuid.uuid4().hex
    iam.create_user(UserName=name)
    document = json.dumps({"Version": "2012-10-17", **policy})
    iam.put_user_policy(UserName=name, PolicyName="rights", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}


@pytest.fixture(scope="session")
def strict_s3() -> Iterator[StrictS3]:
    command = [sys.executable, "-m", "tests.security.strict_s3"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        nobody = Session("nobody", "nothing", region_name="us-east-1")
        admin = _new_user(nobody.client("iam", endpoint_url=url), EVERYTHING)
        with urlopen(Request(f"{url}/moto-api/reset-auth", b"0", {"content-type": "text/plain"})) as answer:
            assert answer.status == 200
        yield StrictS3(url, Session(admin["key"], admin["secret"], region_name="us-east-1"))
        server.stdin.close()


@pytest.fixture
def guarded(strict_s3: StrictS3, no_machine: None) -> Guarded:
    name = f"guarded-{uuid.uuid4().hex}"
    strict_s3.client("s3").create_bucket(Bucket=name)
    return Guarded(strict_s3, name)


@pytest.fixture
def no_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own configuration, neither Airflow's nor AWS's."""
    for name in os.environ:
        if name.startswith(("AIRFLOW", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow-home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data-home"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
