"""A StatsD server: what arrives as UDP, added up."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Statsd:
    """``counts`` are of counters, ``timed`` of how often a timer was sent; names with their tags, if any."""

    def __init__(self, listener: socket.socket) -> None:
        self.port = listener.getsockname()[1]
        self.counts: Counter[str] = Counter()
        self.timed: Counter[str] = Counter()
        self._listener = listener

    def receive(self) -> None:
        """Until the socket is closed."""
        while True:
            try:
                packet = self._listener.recv(65536).decode()
            except OSError:
                return
            for line in packet.splitlines():
                name, _, rest = line.partition(":")
                value, kind, *_ = rest.split("|")
                if kind == "c":
                    self.counts[name] += int(float(value))
                elif kind == "ms":
                    self.timed[name] += 1

    def environment(self, **more: str) -> dict[str, str]:
        """Settings for an Airflow that sends here; ``more`` are of ``[metrics]``."""
        options = {"statsd_on": "True", "statsd_host": "127.0.0.1", "statsd_port": str(self.port), **more}
        return {f"AIRFLOW__METRICS__{name.upper()}": value for name, value in options.items()}


@contextmanager
def serving() -> Iterator[Statsd]:
    """A server on the loopback, until the block ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(0.1)
        statsd, ended = Statsd(listener), threading.Event()

        def run() -> None:
            while not ended.is_set():
                statsd.receive()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield statsd
        finally:
            ended.set()
            thread.join()
