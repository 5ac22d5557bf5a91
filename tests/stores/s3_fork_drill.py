"""A process that uses an S3 store and starts others in the middle of it; run by test_s3_forks.

Threads of the parent put and get while children begin. A child reads what its parent wrote, writes, lists,
deletes and ends; then the parent goes on, over the connections that it had.
"""

from __future__ import annotations

import multiprocessing
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from offload_backend.settings import Settings
from offload_backend.stores.opening import open_store
from offload_backend.stores.patience import Patience

MIB = 1024 * 1024
CHILDREN = 3
LARGE = bytes(range(256)) * 4 * 1024 * 6
SMALL = b"small"


def opened(url, options, transport):
    # One try: what two processes did to one connection would otherwise be mended by another.
    Patience.pause = lambda *_: False
    settings = Settings(storage_options=options, part_size=5 * MIB, transport=transport, read_timeout=20)
    return open_store(url, settings)


def write(store, name):
    store.put(f"v1/{name}", [SMALL])
    store.put(f"v1/{name}-large", [memoryview(LARGE)])


def read(store, name):
    assert b"".join(store.get(f"v1/{name}")) == SMALL
    buffer = bytearray(len(LARGE))
    store.read_into(f"v1/{name}-large", 0, memoryview(buffer), len(LARGE))
    assert buffer == LARGE
    assert store.get_range(f"v1/{name}-large", 256, 4) == LARGE[256:260]


def connects():
    """The connections that are made from now on."""
    made, connect = [], socket.create_connection
    socket.create_connection = lambda *arguments: made.append(arguments) or connect(*arguments)
    return made


def in_a_child(inherited, url, options, transport, number):
    store, made = inherited or opened(url, options, transport), connects()
    read(store, "before")
    assert made or transport != "direct"
    names = [f"child-{number}", f"child-{number}-too"]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: write(store, name), names))
        list(pool.map(lambda name: read(store, name), names))
    assert {info.name for info in store.list(f"v1/child-{number}")} >= {f"v1/{name}" for name in names}
    assert store.delete([f"v1/child-{number}-too"]).failed == {}


def busy(store, number, ended):
    turn = 0
    while not ended.is_set():
        write(store, f"parent-{number}-{turn}")
        read(store, f"parent-{number}-{turn}")
        turn += 1
    return turn


def main(url, options, transport, method):
    store = opened(url, options, transport)
    write(store, "before")
    read(store, "before")
    context, ended = multiprocessing.get_context(method), threading.Event()
    inherited = store if method == "fork" else None
    children = [
        context.Process(target=in_a_child, args=(inherited, url, options, transport, number))
        for number in range(CHILDREN)
    ]
    children[0].start()  # while all connections are idle; the others, while threads use them
    with ThreadPoolExecutor(2) as pool:
        going_on = [pool.submit(busy, store, number, ended) for number in range(2)]
        for child in children[1:]:
            time.sleep(0.05)
            child.start()
        for child in children:
            child.join()
        ended.set()
        assert all(each.result() for each in going_on)
    assert [child.exitcode for child in children] == [0] * CHILDREN
    made = connects()
    for number in range(CHILDREN):
        read(store, f"child-{number}")
    read(store, "before")
    # What a child did with its copies of the connections has not ended the parent's.
    assert transport != "direct" or not made, made
    return "done"


if __name__ == "__main__":
    url, endpoint, authority, transport, method = sys.argv[1:]
    given = {"endpoint_url": endpoint, "key": "test-key", "secret": "test-secret", "region_name": "us-east-1"}
    print(main(url, {**given, "verify": authority} if authority else given, transport, method))
