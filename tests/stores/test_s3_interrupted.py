"""Signal handlers that raise in the middle of a request, as a task's time limit does."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from offload_backend.stores.s3_multipart import MultipartUpload
from offload_backend.stores.s3_objects import SentPart, Target

HTTP = ("s3_http.py", "s3_requests.py", "s3_read.py", "http/client.py")
UPLOAD = ("s3_multipart.py", "_adjust_thread_count")
SIZE = 70_000


class TimeIsUpError(BaseException):
    """As Airflow's own, nothing that ``except Exception`` catches."""


def interrupted(action, line, where=HTTP):
    """Whether the action, which was to be interrupted at that line of those it runs in these files or functions,
    got so far.
    """
    seen = 0

    def in_a_frame(_frame, event, _argument):
        nonlocal seen
        seen += event == "line"
        if event == "line" and seen == line:
            raise TimeIsUpError
        return in_a_frame

    before = sys.gettrace()
    sys.settrace(lambda frame, *_: in_a_frame if names(frame.f_code).endswith(where) else None)
    try:
        action()
    except TimeIsUpError:
        return True
    finally:
        sys.settrace(before)
    return False


def names(code):
    return code.co_name if code.co_name in UPLOAD else code.co_filename


@pytest.mark.parametrize("what", ["put", "get", "read_into"])
def test_no_request_gets_the_answer_to_one_that_was_interrupted(open_through, what):
    store, other = open_through(tries=1), b"other" * SIZE
    store.put("v1/blob", [b"blob" * SIZE])
    store.put("v1/other", [other])
    memory = memoryview(bytearray(4 * SIZE))
    action = {
        "put": lambda: store.put("v1/new", [b"new" * SIZE]),
        "get": lambda: b"".join(store.get("v1/blob")),
        "read_into": lambda: store.read_into("v1/blob", 0, memory, len(memory)),
    }[what]
    line = 1
    while interrupted(action, line):
        assert b"".join(store.get("v1/other")) == other
        assert len(store._transport()._requests._route[1]._idle) == 1
        line += 3
    assert line > 50


class Uploads:
    """As S3: what arrives after an abort may stay."""

    def __init__(self):
        self.begun, self.parts = False, []

    def create(self, target, patience):
        self.begun = True
        return "id"

    def send(self, upload_id, number, patience):
        if patience.is_cut:
            raise TimeoutError
        time.sleep(0.002)
        self.parts.append(number)
        return SentPart(number, "etag", ())

    def complete(self, target, upload_id, parts, patience):
        self.begun, self.parts = False, []
        return "etag"

    def abort(self, target, upload_id, patience):
        self.begun, self.parts = False, []


def test_an_upload_that_is_interrupted_is_aborted_and_no_part_comes_later():
    others, line, uploads = set(threading.enumerate()), 1, Uploads()

    def upload():
        parts = (uploads.send for _ in range(4))
        MultipartUpload(uploads, Target("key", "s3://b/key"), concurrency=2, seconds=5).run(parts)

    while interrupted(upload, line, UPLOAD):
        for thread in set(threading.enumerate()) - others:
            thread.join(5)  # on a busy machine it ends a moment later
        assert not uploads.begun, line
        assert not uploads.parts, line
        line, uploads = line + 1, Uploads()
    assert line > 30
