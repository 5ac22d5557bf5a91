"""Mutants of what keeps old and new values apart while something goes wrong."""

from __future__ import annotations

__all__ = ["FAULTS"]

_MATRIX = "tests/faults/test_matrix.py"
_SET = (_MATRIX, "-k", "set-s3")
_LARGE = (_MATRIX, "-k", "large-s3")
_READ = (_MATRIX, "-k", "get and large")
_FILES = (_MATRIX, "-k", "set-file")
_DELETE = (_MATRIX, "-k", "delete-s3")

FAULTS: dict[tuple[str, tuple[str, ...]], list[tuple[str, str, str]]] = {
    ("blobs.py", _SET): [
        (
            "        self._put(store, name, blob, blob_scope(address, key))\n",
            "        try:\n            self._put(store, name, blob, blob_scope(address, key))\n"
            "        except StoreError:\n            pass\n",
            "a ref is handed out although its blob was refused",
        ),
    ],
    ("namespace.py", _DELETE): [
        (
            "            text = self._core_store.delete(self.address, _checked(key))\n"
            "            self._values.deleted(self.address, key, text)\n",
            "            row = self._core_store.get(self.address, _checked(key))\n"
            "            self._values.deleted(self.address, key, row.text if row else None)\n"
            "            self._core_store.delete(self.address, key)\n",
            "the blob goes before its row",
        ),
    ],
    ("stores/s3_multipart.py", _LARGE): [
        (
            "                self._give_up(upload_id, pool, sending)\n",
            "                pass\n",
            "an upload that fails is not aborted",
        ),
    ],
    ("stores/folders.py", _FILES): [
        (
            "                attempt.callback(_remove_if_there, folder, name)\n",
            "",
            "what was not published stays behind",
        ),
    ],
    ("blobfile/unpack.py", _READ): [
        (
            "    if digest_of((frame,)) != place.digest:\n",
            "    if False:\n",
            "frames are not compared with their digests",
        ),
    ],
}
