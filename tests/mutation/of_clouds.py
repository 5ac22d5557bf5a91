"""Mutants of what Google Cloud Storage and Azure need of us beyond what their drivers do."""

from __future__ import annotations

__all__ = ["CLOUDS"]

_GCS = ("tests/stores/test_gcs.py", "-k", "not TestGcs")
_AZURE = ("tests/stores/test_azure.py", "-k", "not TestAzure")

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
}
