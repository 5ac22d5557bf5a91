"""Files and folders below a root, entered one by one by descriptor: no symbolic link is ever followed.

Every function raises :class:`OSError`; its ``errno`` is ``ELOOP`` where a link was met.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

__all__ = [
    "TEMPORARY",
    "create_file",
    "fill",
    "open_file",
    "publish",
    "remove_file",
    "scan",
    "unfinished",
    "write_all",
]

TEMPORARY = ".part#"
"""Begins the name of every unfinished file. Blob names hold no '#', so neither is taken for the other."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TRIES = 50


def create_file(stack: ExitStack, root: str, folders: Sequence[str], name: str) -> tuple[int, int]:
    """Descriptors, closed with the stack, of the folder, made if need be, and of a new empty file in it.

    A file that still has this name when the stack ends is removed, so publish it before. Tried again
    while somebody else prunes the folder away between the two; the file then keeps it.
    """
    for last in (*[False] * (_TRIES - 1), True):
        with ExitStack() as attempt:
            try:
                folder = _make_and_enter(attempt, root, folders)
                # Before there is a file, since an asynchronous exception may come right after.
                attempt.callback(_remove_if_there, folder, name)
                file = os.open(name, _NEW_FILE, 0o666, dir_fd=folder)
            except FileNotFoundError:
                if last:
                    raise
                continue
            attempt.callback(os.close, file)
            stack.push(attempt.pop_all())
            return folder, file
    raise AssertionError("the last attempt returns or raises")


def write_all(file: int, views: Sequence[memoryview]) -> None:
    """Append all bytes of the views, of which there are no more than one system call takes."""
    left = deque(views)
    while left:
        written = os.writev(file, left)
        while left and written >= len(left[0]):
            written -= len(left.popleft())
        if written:
            left[0] = left[0][written:]


def fill(file: int, start: int, buffer: memoryview) -> int:
    """Fill the buffer with the file's bytes from ``start``; how many there were."""
    filled = 0
    while filled < len(buffer):
        count = os.preadv(file, [buffer[filled:]], start + filled)
        if count == 0:
            break
        filled += count
    return filled


def publish(folder: int, temporary: str, name: str) -> None:
    """Give a finished file its name, for good: on the disk when this returns.

    Asking first is enough, since no two writers ever use one name.
    """
    with contextlib.suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, "the name is taken")
    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def open_file(stack: ExitStack, root: str, folders: Sequence[str], name: str) -> int:
    """A descriptor, closed with the stack, of a file to read; what is not a plain file does not exist."""
    file = os.open(name, _OLD_FILE, dir_fd=_enter(stack, root, folders)[-1])
    stack.callback(os.close, file)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise FileNotFoundError(errno.ENOENT, "not a file")
    return file


def scan(root: str, folders: Sequence[str]) -> tuple[dict[str, os.stat_result], list[str]]:
    """The files, with their status, and the folders in one folder.

    Unfinished files, links and what vanishes meanwhile are left out.
    """
    files: dict[str, os.stat_result] = {}
    subfolders: list[str] = []
    with ExitStack() as stack:
        entries = stack.enter_context(os.scandir(_enter(stack, root, folders)[-1]))
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    subfolders.append(entry.name)
                elif stat.S_ISREG(status.st_mode) and not entry.name.startswith(TEMPORARY):
                    files[entry.name] = status
    return files, subfolders


def unfinished(root: str, folders: Sequence[str]) -> dict[str, os.stat_result]:
    """The unfinished files, with their status, in one folder."""
    found: dict[str, os.stat_result] = {}
    with ExitStack() as stack:
        for entry in stack.enter_context(os.scandir(_enter(stack, root, folders)[-1])):
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and entry.name.startswith(TEMPORARY):
                    found[entry.name] = status
    return found


def remove_file(root: str, folders: Sequence[str], name: str) -> None:
    """Remove a file, and the folders that it leaves empty."""
    with ExitStack() as stack:
        descriptors = _enter(stack, root, folders)
        status = os.stat(name, dir_fd=descriptors[-1], follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            raise OSError(errno.ELOOP, "a symbolic link")
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a file")
        os.unlink(name, dir_fd=descriptors[-1])
        # A folder that is in use again, or already gone, ends the climb.
        with contextlib.suppress(OSError):
            for parent, folder in zip(descriptors[-2::-1], reversed(folders), strict=True):
                os.rmdir(folder, dir_fd=parent)


def _remove_if_there(folder: int, name: str) -> None:
    # What cannot be removed stays behind, never listed; the caller's own error tells more.
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=folder)


def _enter(stack: ExitStack, root: str, folders: Sequence[str]) -> list[int]:
    """Descriptors, closed with the stack, of the root and of each folder on the way."""
    descriptors = [os.open(root, _FOLDER)]
    stack.callback(os.close, descriptors[0])
    for folder in folders:
        descriptors.append(_open_folder(folder, descriptors[-1]))
        stack.callback(os.close, descriptors[-1])
    return descriptors


def _make_and_enter(stack: ExitStack, root: str, folders: Sequence[str]) -> int:
    """A descriptor, closed with the stack, of the last folder, after making those that are missing."""
    _make_root(root)
    descriptor = os.open(root, _FOLDER)
    stack.callback(os.close, descriptor)
    for folder in folders:
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, dir_fd=descriptor)
            os.fsync(descriptor)
        descriptor = _open_folder(folder, descriptor)
        stack.callback(os.close, descriptor)
    return descriptor


def _make_root(root: str) -> None:
    """Make the root and what is missing above it, all on the disk when this returns."""
    path = Path(root)
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)


def _open_folder(name: str, parent: int) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except NotADirectoryError:
        # Linux says "not a directory" of a link as well; only the caller's message depends on it.
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, "a symbolic link") from None
        raise
