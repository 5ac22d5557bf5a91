"""How much memory a value may take here, whatever its ref claims."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from offload_backend.errors import UnreadableBlobError
from offload_backend.ref import BlobRef
from offload_backend.settings import Settings

__all__ = ["memory_limit", "refuse_large", "within_memory"]

_SMALL = 64 * 1024 * 1024
"""So few bytes are not worth a look at the machine."""

_HINT = (
    "give the worker more memory, or read parts of the value with offload_backend.open_value; if the ref may be "
    "forged, lower [offload_backend] max_value_bytes"
)


def memory_limit() -> int | None:
    """Bytes of memory that this process may have at most: what the machine has, or its control groups and limits
    allow, and what it may swap out beside that. ``None`` where the system does not tell.
    """
    swap = _swap(Path("/proc/meminfo"))
    resident = (*_of_machine(), *_of_control_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")))
    return min((*(limit + swap for limit in resident), *_of_process()), default=None)


@contextmanager
def within_memory(raw: int) -> Iterator[None]:
    """Raise :class:`UnreadableBlobError` for a value of more bytes than this process may have, before anything is
    fetched; and where its memory does not suffice all the same.
    """
    limit = memory_limit() if raw > _SMALL else None
    if limit is not None and raw > limit:
        raise UnreadableBlobError(
            f"the value takes {raw} bytes, more than the {limit} of memory that this process may have", hint=_HINT
        )
    try:
        yield
    except MemoryError as error:
        raise UnreadableBlobError("the value takes more memory than there is", hint=_HINT) from error


def refuse_large(settings: Settings, ref: BlobRef) -> None:
    """Nothing is allocated for a ref that claims more than may be, or than its own facts allow.

    Raises :class:`UnreadableBlobError`.
    """
    from offload_backend.blobfile import most_raw_bytes, most_sealed_bytes, most_stored_bytes

    impossible = ref.size > most_stored_bytes(ref.raw) or ref.seal > most_sealed_bytes(ref.raw)
    impossible = impossible or ref.raw > most_raw_bytes(ref.size)
    if ref.raw > settings.max_value_bytes or impossible:
        raise UnreadableBlobError(
            f"the ref claims {max(ref.raw, ref.size)} bytes, more than this deployment reads",
            hint="raise [offload_backend] max_value_bytes if the ref is genuine",
        )


def _of_machine() -> Iterator[int]:
    with suppress(AttributeError, OSError, ValueError):
        pages = os.sysconf("SC_PHYS_PAGES")
        if pages > 0:  # -1 where it cannot be told
            yield os.sysconf("SC_PAGE_SIZE") * pages


def _swap(facts: Path) -> int:
    """Bytes of the machine's swap space. What of it a control group may take is not asked: this only allows."""
    with suppress(OSError, ValueError, IndexError):
        for line in facts.read_text(encoding="ascii").splitlines():
            if line.startswith("SwapTotal:"):
                return int(line.split()[1]) * 1024
    return 0


def _of_process() -> Iterator[int]:
    with suppress(ImportError):
        import resource

        for name in ("RLIMIT_AS", "RLIMIT_DATA"):
            kind = getattr(resource, name, None)  # not everywhere
            soft = resource.RLIM_INFINITY if kind is None else resource.getrlimit(kind)[0]
            if soft != resource.RLIM_INFINITY:
                yield soft


def _of_control_groups(groups: Path, mount: Path) -> Iterator[int]:
    """Of the process's group and of all above it, in either version of control groups."""
    try:
        lines = groups.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, colon, rest = line.partition(":")
        controllers, second, path = rest.partition(":")
        if not colon or not second:
            continue
        if not controllers:
            folder, name = mount, "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = mount / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for above in (group, *group.parents):
            with suppress(OSError, ValueError):  # not there, or "max"
                yield int((folder / above / name).read_text(encoding="ascii"))
