"""Where the requests to a bucket go, and how its keys are written in them."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from offload_backend.errors import ConfigError
from offload_backend.stores.s3_configured import Configured
from offload_backend.stores.s3_http import Host
from offload_backend.stores.s3_signing import encoded_path

__all__ = ["Endpoint", "endpoint_of"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)
_SUFFIXES = (
    (
        re.compile(r"(?:us|us-gov|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-[0-9]{1,2}", re.ASCII),
        "amazonaws.com",
    ),
    (re.compile(r"cn-[a-z]+-[0-9]{1,2}", re.ASCII), "amazonaws.com.cn"),
)
_DEFAULT_REGION = "us-east-1"
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Endpoint:
    """A bucket's address: the host to connect to, its name in requests, and what stands before a key.

    ``ours``: an ``endpoint_url`` gave it, and it holds for every region.
    """

    bucket: str
    host: Host
    netloc: str
    base: str
    region: str
    ours: bool

    def path(self, key: str) -> str:
        """The encoded path of a key."""
        return encoded_path(f"{self.base}/{key}")

    def in_region(self, region: str) -> Endpoint | None:
        """The same bucket where the store says that it is; ``None`` if that is here, or no region."""
        if region == self.region or not _REGION.fullmatch(region):
            return None
        return replace(self, region=region) if self.ours else _amazon(self.bucket, region, self.host.tls)


def endpoint_of(bucket: str, settings: Configured) -> Endpoint | None:
    """The endpoint, or ``None`` for what boto3 understands better.

    That is: access points, directory and other special buckets, odd names, unknown partitions, accelerated
    endpoints, and whatever is reached through a proxy.
    """
    if not _BUCKET.fullmatch(bucket) or "--" in bucket or not _REGION.fullmatch(settings.region or _DEFAULT_REGION):
        return None
    tls = _context_maker(settings.verify)
    if settings.endpoint_url:
        found = _configured(bucket, settings.endpoint_url, settings.region or _DEFAULT_REGION, tls)
    else:
        found = _amazon(bucket, settings.region or _DEFAULT_REGION, tls)
    return None if found is None or _behind_a_proxy(found) else found


def _configured(bucket: str, url: str, region: str, tls: Callable[[], ssl.SSLContext]) -> Endpoint | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (KeyError, ValueError):
        return None
    name = parts.hostname or ""
    odd = not name.isascii() or not name or parts.query or parts.fragment or "@" in parts.netloc
    if odd or "s3-accelerate" in name or re.search(r"[\s%]", url):
        return None
    host = Host(name, port, tls if parts.scheme == "https" else None)
    shown = f"[{name}]" if ":" in name else name
    netloc = shown if port == _PORTS[parts.scheme] else f"{shown}:{port}"
    return Endpoint(bucket, host, netloc, f"{parts.path.rstrip('/')}/{bucket}", region, ours=True)


def _amazon(bucket: str, region: str, tls: Callable[[], ssl.SSLContext] | None) -> Endpoint | None:
    suffix = next((suffix for pattern, suffix in _SUFFIXES if pattern.fullmatch(region)), None)
    if suffix is None:
        return None
    regional = f"s3.{region}.{suffix}"
    # A certificate for *.s3.… covers no name with another dot.
    name, base = (regional, f"/{bucket}") if "." in bucket else (f"{bucket}.{regional}", "")
    return Endpoint(bucket, Host(name, _PORTS["https"], tls), name, base, region, ours=False)


def _behind_a_proxy(endpoint: Endpoint) -> bool:
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    wanted = {"all", "http" if endpoint.host.tls is None else "https"} & proxies.keys()
    return bool(wanted) and not proxy_bypass(endpoint.netloc)


def _context_maker(verify: bool | str) -> Callable[[], ssl.SSLContext]:
    def make() -> ssl.SSLContext:
        authorities = verify if isinstance(verify, str) else _authorities() if verify else None
        try:
            if authorities is not None and Path(authorities).is_dir():
                return ssl.create_default_context(capath=authorities)
            context = ssl.create_default_context(cafile=authorities)
        except (OSError, ValueError):
            raise ConfigError(
                "the file of certificate authorities cannot be read",
                hint="correct verify of the connection or storage_options, or AWS_CA_BUNDLE",
            ) from None
        if verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    return make


def _authorities() -> str | None:
    """The authorities that botocore trusts, so that both transports trust the same; ``None``: the system's."""
    for package, file in (("certifi", "cacert.pem"), ("botocore", "cacert.pem")):
        spec = find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            path = Path(next(iter(spec.submodule_search_locations)), file)
            if path.is_file():
                return str(path)
    return None
