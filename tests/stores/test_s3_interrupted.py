"""Signal handlers that raise in the middle of a request, as a task's time limit does."""

from __future__ import annotations

import sys

import pytest

HTTP = ("s3_http.py", "s3_requests.py", "s3_read.py", "http/client.py")
SIZE = 70_000


class TimeIsUpError(BaseException):
    """As Airflow's own, nothing that ``except Exception`` catches."""


def interrupted(action, line):
    """Whether the action, which was to be interrupted at that line of those it runs in ``HTTP``, got so far."""
    seen = 0

    def in_a_frame(_frame, event, _argument):
        nonlocal seen
        seen += event == "line"
        if event == "line" and seen == line:
            raise TimeIsUpError
        return in_a_frame

    before = sys.gettrace()
    sys.settrace(lambda frame, *_: in_a_frame if frame.f_code.co_filename.endswith(HTTP) else None)
    try:
        action()
    except TimeIsUpError:
        return True
    finally:
        sys.settrace(before)
    return False


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
