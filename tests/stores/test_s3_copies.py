"""Which bytes are copied and which are sent, and what S3 makes of them."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from offload_backend.blobstore import CopiesRanges, CopiesRefusedError, Stretch
from offload_backend.errors import StoreError
from offload_backend.stores import s3_copies
from offload_backend.stores.s3_copies import pieces_of
from tests.stores.conftest import MIB

SOURCE = random.Random(1).randbytes(400)


@pytest.fixture(params=["direct", "boto3"])
def s3_transport(request):
    return request.param


@st.composite
def stretches(draw):
    """Stretches with random bytes, or with those of the source at their offset."""
    made = []
    for _ in range(draw(st.integers(0, 12))):
        size = draw(st.integers(0, 40))
        end = made[-1].offset + made[-1].size if made and made[-1].offset is not None else 0
        offset = draw(st.none() | st.integers(0, 300) | st.just(min(end, 300)))
        data = draw(st.binary(min_size=size, max_size=size)) if offset is None else SOURCE[offset : offset + size]
        cut = draw(st.integers(0, size))
        made.append(Stretch([data[:cut], memoryview(data)[cut:]], size, offset))
    return made


@given(stretches(), st.integers(5, 12))
@example([Stretch([SOURCE], 400, 0)], 5)
@example([Stretch([b"x"], 1), Stretch([SOURCE[:9]], 9, 0), Stretch([b"y"], 1)], 5)
def test_pieces_hold_the_same_bytes_and_only_the_last_is_small(given_stretches, part_size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3_copies, "SMALLEST", 5)
        pieces = list(pieces_of(iter(given_stretches), part_size))
    bodies = [b"".join(piece.buffers) for piece in pieces]
    assert b"".join(bodies) == b"".join(bytes(buffer) for each in given_stretches for buffer in each.buffers)
    assert all(len(body) == piece.size for body, piece in zip(bodies, pieces, strict=True))
    assert all(piece.size >= 5 for piece in pieces[:-1])
    assert all(piece.size < part_size + 5 for piece in pieces if piece.offset is None)
    for body, piece in zip(bodies, pieces, strict=True):
        if piece.offset is not None:
            assert piece.size >= 5
            assert body == SOURCE[piece.offset : piece.offset + piece.size]


@given(st.lists(st.binary(max_size=40), min_size=1), st.integers(5, 12))
def test_without_copies_the_parts_are_equal(chunks, part_size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3_copies, "SMALLEST", 5)
        sizes = [piece.size for piece in pieces_of([Stretch([chunk], len(chunk)) for chunk in chunks], part_size)]
    assert all(size == part_size for size in sizes[:-1])
    assert all(0 < size <= part_size for size in sizes)


def test_long_runs_are_copied_whole():
    run = Stretch([SOURCE], 400, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3_copies, "SMALLEST", 5)
        pieces = list(pieces_of([Stretch([b"x" * 7], 7), run], 10))
    assert sum(piece.size for piece in pieces if piece.offset is not None) == 400
    assert max(piece.size for piece in pieces) <= 50


OLD = random.Random(2).randbytes(30 * MIB)
NEW = [
    Stretch([b"header"], 6),
    Stretch([memoryview(OLD)[: 8 * MIB]], 8 * MIB, 0),
    Stretch([memoryview(OLD)[8 * MIB : 16 * MIB]], 8 * MIB, 8 * MIB),
    Stretch([b"changed" * MIB], 7 * MIB),
    Stretch([OLD[23 * MIB : 24 * MIB]], MIB, 23 * MIB),
    Stretch([b"index"], 5),
]
WANTED = b"".join(bytes(buffer) for each in NEW for buffer in each.buffers)


def with_old(store, by):
    if by == "put":
        store.put("v1/old", [OLD])
    else:
        assert b"".join(store.get("v1/old")) == OLD
    return store


@pytest.mark.parametrize("by", ["put", "get"])
def test_what_the_source_holds_is_copied_and_not_sent(open_through, fault_proxy, bucket, by):
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/old", Body=OLD)
    store = with_old(open_through(), by)
    assert isinstance(store, CopiesRanges)
    fault_proxy.requests.clear()
    assert store.put_with_copies("v1/new", iter(NEW), "v1/old") == 6 + 16 * MIB - 5 * MIB
    assert bucket.read("state/v1/new") == WANTED
    copies = [request for request in fault_proxy.requests if request.operation == "UploadPartCopy"]
    assert len(copies) == 1
    assert copies[0].headers["x-amz-copy-source-if-match"]
    assert copies[0].headers["x-amz-copy-source-range"] == f"bytes={5 * MIB - 6}-{16 * MIB - 1}"
    sent = [request for request in fault_proxy.requests if request.operation == "UploadPart"]
    assert sum(int(each.headers["content-length"]) for each in sent) == len(WANTED) - (6 + 11 * MIB)


@pytest.mark.parametrize(
    "refusal",
    [
        (404, "NoSuchKey"),
        (403, "AccessDenied"),
        (412, "PreconditionFailed"),
        (501, "NotImplemented"),
        (400, "InvalidArgument"),
        (500, "InternalError"),
    ],
)
def test_what_the_store_will_not_copy_is_sent(open_through, fault_proxy, bucket, refusal):
    store = with_old(open_through(tries=1), "put")
    fault_proxy.refuse("UploadPartCopy", *refusal, times=0)
    assert store.put_with_copies("v1/new", NEW, "v1/old") == 0
    assert bucket.read("state/v1/new") == WANTED
    assert fault_proxy.operations.count("UploadPartCopy") == 1
    assert bucket.unfinished_uploads() == []


def test_a_store_that_takes_a_copy_for_an_empty_part_gets_the_bytes(open_through, fault_proxy, bucket):
    store = with_old(open_through(), "put")
    fault_proxy.answer("UploadPartCopy", 200, "", times=0, ETag='"d41d8cd98f00b204e9800998ecf8427e"')
    assert store.put_with_copies("v1/new", NEW, "v1/old") == 0
    assert bucket.read("state/v1/new") == WANTED


def test_a_store_that_asks_to_slow_down_is_not_sent_what_it_could_copy(open_through, fault_proxy, bucket):
    store = with_old(open_through(tries=1, concurrency=1), "put")
    fault_proxy.requests.clear()
    fault_proxy.refuse("UploadPartCopy", 503, "SlowDown", times=0)
    with pytest.raises(StoreError, match="SlowDown"):
        store.put_with_copies("v1/new", NEW, "v1/old")
    assert fault_proxy.operations.count("UploadPart") == 1
    assert bucket.unfinished_uploads() == []


def test_a_copy_that_s3_has_to_put_off_is_asked_for_again(open_through, fault_proxy, bucket):
    store = with_old(open_through(), "put")
    fault_proxy.refuse("UploadPartCopy", 503, "SlowDown")
    fault_proxy.answer("UploadPartCopy", 200, "<Error><Code>InternalError</Code></Error>")
    assert store.put_with_copies("v1/new", NEW, "v1/old") > 0
    assert bucket.read("state/v1/new") == WANTED


def test_a_source_that_this_store_has_not_seen_is_not_asked_for(open_through, fault_proxy, bucket):
    bucket.client.put_object(Bucket=bucket.name, Key="state/v1/old", Body=OLD)
    assert open_through().put_with_copies("v1/new", NEW, "v1/old") == 0
    assert bucket.read("state/v1/new") == WANTED
    assert not {"UploadPartCopy", "GetObject", "HeadObject"} & set(fault_proxy.operations)


def test_a_small_blob_is_one_request(open_through, fault_proxy, bucket):
    store = with_old(open_through(part_size=8 * MIB), "put")
    fault_proxy.requests.clear()
    assert store.put_with_copies("v1/new", [Stretch([OLD[: 6 * MIB]], 6 * MIB, 0)], "v1/old") == 0
    assert fault_proxy.operations == ["PutObject"]
    assert bucket.read("state/v1/new") == OLD[: 6 * MIB]


def test_a_store_that_cannot_join_what_it_copied_is_told_apart(open_through, fault_proxy, bucket):
    store = with_old(open_through(), "put")
    fault_proxy.refuse("CompleteMultipartUpload", 400, "InvalidPart")
    with pytest.raises(CopiesRefusedError, match="InvalidPart") as caught:
        store.put_with_copies("v1/new", NEW, "v1/old")
    assert "copy_unchanged = false" in caught.value.hint
    assert bucket.unfinished_uploads() == []


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (500, "InternalError")])
def test_what_copies_are_not_to_blame_for_stays_what_it_is(open_through, fault_proxy, bucket, status, code):
    store = with_old(open_through(tries=1), "put")
    fault_proxy.refuse("CompleteMultipartUpload", status, code)
    with pytest.raises(StoreError, match=code) as caught:
        store.put_with_copies("v1/new", NEW, "v1/old")
    assert not isinstance(caught.value, CopiesRefusedError)
