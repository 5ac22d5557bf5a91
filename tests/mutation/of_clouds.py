"""Mutants of what drivers, and what others overwrite meanwhile, need of us beyond what drivers do."""

from __future__ import annotations

__all__ = ["CLOUDS"]

_GCS = ("tests/stores/test_gcs.py", "-k", "not TestGcs")
_AZURE = ("tests/stores/test_azure.py", "-k", "not TestAzure")
_UNCHANGED = ("tests/stores/test_unchanged.py",)
_REST = ("tests/stores/test_s3_faults.py", "-k", "not_mixed or the_rest or conditions")

CLOUDS = {
    ("stores/opening.py", _GCS): [
        (
            'kind = _gcsfs() if url.scheme == "gs" else fsspec.get_filesystem_class(url.scheme)',
            "kind = fsspec.get_filesystem_class(url.scheme)",
            "gcsfs asks for the bucket's layout first",
        ),
        (
            "        raise opening_error(error, url.scheme, str(url)) from None\n",
            "        raise opening_error(error, url.scheme, str(url)) from error\n",
            "a driver that cannot be made quotes the token",
        ),
        ('        defaults["consistency"] = "md5"', "        pass", "what arrives at Google is not compared"),
    ],
    ("stores/fsspec.py", _GCS): [
        (
            "if second is None and not (self._is_google and _GCSFS_BOUNDARY in first):",
            "if second is None:",
            "gcsfs cuts a blob that holds its own boundary",
        ),
    ],
    ("stores/fsspec_errors.py", _GCS): [
        (
            'is_forbidden = kind is OSError and str(error).startswith("Forbidden")',
            "is_forbidden = False",
            "a 403 of Google's is an error without a reason",
        ),
        (
            '    if doing in ("put", "list"):\n',
            '    if doing == "put":\n',
            "a listing of a bucket that is not there is about a blob",
        ),
        (
            "    if kind.__name__ in _GIVE_NO_CREDENTIALS and _status(error) == 0:\n",
            "    if False:\n",
            "credentials that are not there have no reason",
        ),
    ],
    ("stores/fsspec_listing.py", _AZURE): [
        ("    if not found:\n", "    if False:\n", "a container that is not there is an empty one"),
        (
            "    if not isinstance(found, dict):\n",
            "    if False:\n",
            "a blob with a folder's name hides what is in the folder",
        ),
        (
            '[entry for path, entry in found.items() if path.startswith(f"{folder}/")]',
            "list(found.values())",
            "neighbours of the location are listed",
        ),
    ],
    ("stores/fsspec.py", _UNCHANGED): [
        (
            "yield from read_unchanged(partial(self._blocks, name), partial(self._version, name), location)",
            "yield from self._blocks(name)",
            "blocks of two values are one value",
        ),
        (
            "        if is_written_once(name):\n",
            "        if False:\n",
            "a blob is asked for its version",
        ),
        (
            "whole = self._read(name, 0, self._block + 1)",
            "whole = self._read(name, 0, self._block)",
            "a value longer than a block ends with it",
        ),
        ("        if self._reads_at_once:\n", "        if True:\n", "a file is read at once by any driver"),
        (
            "        self._filesystem.invalidate_cache()\n        path =",
            "        path =",
            "the version is what a driver remembers of it",
        ),
    ],
    ("stores/fsspec_listing.py", _UNCHANGED): [
        ("    if not any(map(entry.get, _VERSIONS)):\n", "    if False:\n", "a time alone is a version"),
        ('(*_VERSIONS, *_TIMES, "size")', "_VERSIONS", "the same content again is the same version"),
    ],
    ("stores/unchanged.py", _UNCHANGED): [
        ("    if version() != before:\n", "    if False:\n", "a version is not compared"),
        (
            "    if first.digest() != second.digest():\n",
            "    if False:\n",
            "a second reading is not compared",
        ),
        (
            "return parse_blob_name(name) is not None",
            "return True",
            "whatever has a name is taken to be written once",
        ),
    ],
    ("stores/local.py", _UNCHANGED): [
        (
            'read_twice(whole, f"{self._location}/{name}")',
            "whole()",
            "a file that is overwritten in place is read once",
        ),
    ],
    ("stores/s3_read.py", _REST): [
        (
            "proven = etag or offset == start",
            "proven = True",
            "the rest is asked of a store that has no ETags",
        ),
        ("    if etag and reader.etag != etag:\n", "    if False:\n", "the rest may be of another object"),
        (
            "partial(ask, offset, end, etag, patience)",
            'partial(ask, offset, end, "", patience)',
            "the rest is asked for without a condition",
        ),
    ],
}
