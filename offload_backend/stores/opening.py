"""The store of a configured path, for use without Airflow's connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from offload_backend.blobstore import BlobStore
from offload_backend.errors import ConfigError
from offload_backend.location import EXAMPLE, StorageUrl, parse_location
from offload_backend.settings import Settings
from offload_backend.stores.memory import MemoryBlobStore

if TYPE_CHECKING:
    from offload_backend.stores.s3_objects import S3Objects

__all__ = ["open_s3", "open_store"]

_EXTRAS = {"abfs": "azure", "gs": "gcs", "s3": "s3"}
_memory_stores: dict[str, MemoryBlobStore] = {}


def open_store(path: str, settings: Settings) -> BlobStore:
    """The store of a path, with credentials from ``storage_options`` or the environment.

    Nothing is asked of the store yet. ``memory://name`` is one store per name in this process. Raises
    :class:`ConfigError` for a path that is empty, incomplete or of an unknown kind.
    """
    if not path:
        raise ConfigError(
            "no location for blobs is configured",
            hint=f"set [offload_backend] path, {EXAMPLE}; without Airflow, connect(path=…)",
        )
    url = parse_location(path)
    if url.user:
        raise ConfigError(
            f"{url!s} is configured with a connection id, and connections exist only inside Airflow",
            location=str(url),
            hint="leave out what stands before '@' in the path and set storage_options, or use the "
            "environment for credentials",
        )
    if url.scheme == "file":
        from offload_backend.stores.local import LocalBlobStore

        return LocalBlobStore(str(url))
    if url.scheme == "memory":
        # Atomic by itself: a lock could be held by another thread at the moment of a fork, for good.
        return _memory_stores.setdefault(str(url), MemoryBlobStore(str(url)))
    if url.scheme == "s3" and settings.transport != "fsspec":
        return open_s3(path, settings)
    return _open_fsspec(url, settings)


def open_s3(path: str, settings: Settings) -> BlobStore:
    """The store of an ``s3://`` path that needs neither s3fs nor fsspec."""
    from offload_backend.stores.s3 import S3BlobStore
    from offload_backend.stores.s3_client import client_maker
    from offload_backend.stores.s3_encryption import told_of_encryption

    url, make_client = parse_location(path), client_maker(settings.options)
    encryption = told_of_encryption(settings.options)
    if settings.transport == "boto3":
        return S3BlobStore(str(url), make_client, settings, encryption=encryption)

    def direct() -> S3Objects | None:
        from offload_backend.stores.s3_direct import direct_objects

        return direct_objects(url.authority, settings.options, settings)

    return S3BlobStore(str(url), make_client, settings, direct, encryption=encryption)


def _open_fsspec(url: StorageUrl, settings: Settings) -> BlobStore:
    import fsspec

    from offload_backend.stores.fsspec import FsspecBlobStore
    from offload_backend.stores.fsspec_errors import opening_error

    try:
        kind = _gcsfs() if url.scheme == "gs" else fsspec.get_filesystem_class(url.scheme)
    except (ValueError, ImportError) as error:
        extra = _EXTRAS.get(url.scheme)
        package = f"pip install 'offload-backend[{extra}]'" if extra else "install the package for that storage"
        raise ConfigError(
            f"{url.scheme}:// cannot be opened: {error}",
            location=str(url),
            hint=f"{package} where values are read and written, or correct [offload_backend] path",
        ) from error
    options = _s3fs_options(settings) if url.scheme == "s3" else settings.options
    defaults: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if url.scheme == "gs":
        defaults["consistency"] = "md5"  # gcsfs compares nothing by itself with what arrived
    options = {**defaults, **options}
    try:
        filesystem = kind(**options)
    except Exception as error:  # noqa: BLE001 - drivers have no base class in common, and some look for credentials
        raise opening_error(error, url.scheme, str(url)) from None
    if url.scheme == "s3":
        # botocore, inside, already makes all the tries.
        filesystem.retries = 1
    return FsspecBlobStore(str(url), filesystem, settings.part_size, settings.give_up_after.total_seconds())


def _gcsfs() -> Any:
    """The driver without what it adds for zonal and hierarchical buckets.

    That asks for a bucket's layout before anything else, by gRPC and with a right of its own; where nothing answers
    to it, each operation waits for a minute.
    """
    from gcsfs.core import GCSFileSystem

    return GCSFileSystem


def _s3fs_options(settings: Settings) -> dict[str, Any]:
    """The options under the names that s3fs gives them, with our limits on time and tries."""
    from offload_backend.stores.s3_client import refuse_user_in

    options = settings.options
    refuse_user_in(str(options.get("endpoint_url") or ""))
    for ours, theirs in (
        ("aws_access_key_id", "key"),
        ("aws_secret_access_key", "secret"),
        ("aws_session_token", "token"),
        ("profile_name", "profile"),
    ):
        if ours in options:
            options.setdefault(theirs, options.pop(ours))
    for name in ("region_name", "verify"):
        if name in options:
            options["client_kwargs"] = {name: options.pop(name), **(options.get("client_kwargs") or {})}
    seconds = settings.give_up_after.total_seconds()
    limits = {
        "retries": {"mode": "standard", "total_max_attempts": _tries(seconds)},
        "connect_timeout": min(settings.connect_timeout, seconds),
        "read_timeout": min(settings.read_timeout, seconds),
    }
    options["config_kwargs"] = {**limits, **(options.get("config_kwargs") or {})}
    return options


def _tries(seconds: float) -> int:
    """More than have room in that time: on average pauses are half a second, one, two, four, eight, then ten."""
    return 5 + int(seconds / 5)
