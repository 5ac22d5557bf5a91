"""No known vulnerability is in what is pinned, as far as a database of them can be reached."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ACCEPTED: dict[str, str] = {}
"""Advisories that do not concern us, with the reason."""


@pytest.fixture(autouse=True)
def _with_pip_audit() -> None:
    if find_spec("pip_audit") is None:
        pytest.skip("pip-audit is not installed here: run `make test`")


class NothingAuditedError(Exception):
    """No database of advisories could be asked about some package: that nothing is known says nothing."""


def known(requirements: Path, *options: str) -> set[str]:
    """What is known against pinned requirements, as ``package version advisory``.

    pip-audit ends well also where it could ask nobody; that is told apart.
    """
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--format", "json", *options]
    command += ["--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    if not done.stdout.startswith("{"):
        raise NothingAuditedError(done.stderr.strip().splitlines()[-1:])
    packages = json.loads(done.stdout)["dependencies"]
    passed_over = [package["name"] for package in packages if "skip_reason" in package]
    if passed_over or not packages:
        raise NothingAuditedError(passed_over)
    return {
        f"{package['name']} {package['version']} {advisory['id']}"
        for package in packages
        for advisory in package["vulns"]
        if not {advisory["id"], *advisory["aliases"]} & ACCEPTED.keys()
    }


def test_nothing_is_known_against_what_is_pinned(tmp_path: Path) -> None:
    probe = tmp_path / "probe.txt"
    lines = (ROOT / "requirements" / "test.txt").read_text().splitlines()
    probe.write_text(next(line for line in lines if line.startswith("zstandard==")))
    try:
        known(probe)  # one package is enough to see that nobody answers
    except NothingAuditedError:
        pytest.skip("no database of advisories can be reached from here: NOTHING WAS AUDITED")
    assert known(ROOT / "requirements" / "test.txt") == set()


@pytest.fixture
def database() -> Iterator[str]:
    """A database of advisories that knows one of zstandard 0.22.0."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            versions = {"versions": ["0.22.0"], "ranges": [], "package": {"name": "zstandard", "ecosystem": "PyPI"}}
            advisory = {"id": "PYSEC-1", "aliases": [], "summary": "bad", "details": "bad", "affected": [versions]}
            found = {"vulns": [advisory]} if asked["version"] == "0.22.0" else {}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("version", "found"), [("0.22.0", {"zstandard 0.22.0 PYSEC-1"}), ("0.25.0", set())])
def test_an_advisory_would_be_found(tmp_path: Path, database: str, version: str, found: set[str]) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"zstandard=={version}\n")
    options = ["--vulnerability-service", "osv", "--osv-url", database, "--cache-dir", str(tmp_path / "cache")]
    assert known(requirements, *options) == found


def test_a_database_that_nobody_reaches_is_told_apart(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("zstandard==0.25.0\n")
    with pytest.raises(NothingAuditedError):
        known(requirements, "--vulnerability-service", "osv", "--osv-url", "http://127.0.0.1:9/v1/query")
