"""Signatures are those that botocore makes."""

from __future__ import annotations

from datetime import datetime, timezone
from unittest.mock import patch
from urllib.parse import urlsplit

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import example, given
from hypothesis import strategies as st

from offload_backend.stores.s3_signing import Credentials, encoded_path, encoded_query, signed

printable = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=30)
keys = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FF, exclude_categories=("Cc",)), max_size=60)
secrets = st.text(st.characters(codec="ascii", exclude_categories=("Cc",)), min_size=1, max_size=40)
names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)
moments = st.integers(946_684_800, 4_102_444_800).map(
    lambda second: datetime.fromtimestamp(second, tz=timezone.utc)
)


class Oracle(auth.S3SigV4Auth):
    def payload(self, request):
        return "UNSIGNED-PAYLOAD"


@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE"]),
    host=st.sampled_from(["bucket.s3.eu-west-1.amazonaws.com", "127.0.0.1:9000", "minio.example:80", "[::1]:1"]),
    path=keys,
    query=st.lists(st.tuples(printable.filter(bool), printable), max_size=4, unique_by=lambda pair: pair[0]),
    headers=st.dictionaries(names.map(lambda name: f"x-amz-meta-{name}"), values, max_size=3),
    credentials=st.builds(Credentials, secrets, secrets, st.just("") | secrets),
    region=st.sampled_from(["us-east-1", "eu-central-1", "cn-north-1"]),
    now=moments,
)
@example(
    method="PUT",
    host="h",
    path="/b/a+b c/~é%2F=&'()*!",
    query=[("a-b", "1"), ("a", "2"), ("uploads", "")],
    headers={"range": "bytes=0-9", "if-match": '"abc"', "x-amz-copy-source": "b/k%20x"},
    credentials=Credentials("k", "s", "t/+="),
    region="us-east-1",
    now=datetime(2026, 1, 1, tzinfo=timezone.utc),
)
def test_a_signature_is_the_one_of_botocore(*, method, host, path, query, headers, credentials, region, now):
    target, asked = encoded_path(f"/{path}"), encoded_query(query)
    ours = signed(method, target, asked, {"host": host, **headers}, credentials=credentials, region=region, now=now)
    url = f"https://{host}{target}" + (f"?{asked}" if asked else "")
    request = AWSRequest(method, url, headers={"Host": host, **headers})
    keys = BotocoreCredentials(credentials.key, credentials.secret, credentials.token or None)
    with patch.object(auth, "get_current_datetime", lambda: now):
        Oracle(keys, "s3", region).add_auth(request)
    theirs = {name.lower(): value for name, value in request.headers.items()}
    assert ours["authorization"] == theirs["authorization"]
    assert ours == theirs
    assert urlsplit(url).path == target


def test_a_secret_is_not_shown():
    assert "hunter2" not in repr(Credentials("key", "hunter2", "hunter2"))
