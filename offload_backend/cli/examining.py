"""What ``offload doctor`` examines: the deployment that is meant, as far as it can be opened."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from offload_backend.cli.collecting import Place
from offload_backend.cli.installed import explained, has_airflow, settings_here
from offload_backend.cli.opening import CoreStoreUrl, Deployment, Kind, open_deployment
from offload_backend.configuration import Configuration, data_directory, read_configuration
from offload_backend.diagnosis import access, bucketrules, configured, environment, ownership, places, refs
from offload_backend.diagnosis.case import Case
from offload_backend.diagnosis.finding import (
    Check,
    Finding,
    Result,
    SkippedError,
    Status,
    UnseenError,
    bounded,
    diagnose,
)
from offload_backend.errors import ConfigError
from offload_backend.location import parse_location

if TYPE_CHECKING:
    from offload_backend.bucket import Bucket

__all__ = ["Examination", "examine"]

PATIENCE = timedelta(seconds=10)
"""How long one request to the store may go on here, if ``give_up_after`` is not less."""
_CONNECT, _READ = 5.0, 10.0
_CONTEXT = "_AIRFLOW_PROCESS_CONTEXT"
SECONDS = {"refs": refs.SECONDS, "uploads": 60.0}
"""What checks of many requests have, instead of half a minute."""


@dataclasses.dataclass(frozen=True)
class Examination:
    """What was found, and the settings that were in effect, as people may see them."""

    results: list[Result]
    settings: list[configured.Told]

    @property
    def code(self) -> int:
        """0 all is well, or there are warnings; 2 the configuration is wrong; 1 something else fails."""
        failures = [result.finding for result in self.results if result.finding.status is Status.FAIL]
        return 2 if any(finding.setting for finding in failures) else 1 if failures else 0

    @property
    def counts(self) -> dict[str, int]:
        """How many findings have each status."""
        statuses = [result.finding.status for result in self.results]
        return {status.value: statuses.count(status) for status in Status}

    def as_json(self) -> dict[str, Any]:
        """All of it; every text may be shown to anybody who may see the configuration."""
        return {
            "code": self.code,
            "counts": self.counts,
            "checks": [_as_json(result) for result in self.results],
            "settings": [vars(setting) for setting in self.settings],
        }


def examine(
    path: str | None = None,
    core_store: str | None = None,
    deployment: str | None = None,
    *,
    fix: bool = False,
    on_step: Callable[[str, int, int], None] = lambda _name, _done, _total: None,
) -> Examination:
    """Everything that can be looked at from here, within bounded time. Never raises for what is wrong.

    Puts, reads and deletes one small object. With ``fix``, what is safe is mended: unfinished uploads and probes
    that are old are removed, and a missing directory is made. What is printed meanwhile goes to stderr.
    """
    place = Place(path, core_store, deployment)
    with redirect_stdout(sys.stderr), _as_it_was():
        told: list[configured.Told] = []
        checks = [Check("versions", environment.about_versions), Check("forks", environment.about_forks)]
        try:
            configuration = read_configuration()
            checks += [
                Check("worker-class", partial(_about_class, configuration)),
                Check("indirect-settings", partial(configured.about_indirect_settings, configuration)),
            ]
            # Commands and secrets backends may have to be asked, for as long as they like.
            opened, problem = bounded(partial(_opened, place), Check.seconds, "settings")
            told += configured.told(opened.settings, configuration, _given(place))
            case = _case(opened, problem, place, configuration)
        except Exception as error:  # noqa: BLE001 - Airflow's own among them; told as a finding
            wrong = partial(_raising, error if isinstance(error, ConfigError) else explained(error))
            checks += [Check("settings", wrong), Check("everything else", _without_settings)]
            return Examination(diagnose(checks, fix=fix, on_step=on_step), told)
        probe = access.Probe(case)
        checks += _checks(case, probe, opened, configuration)
        try:
            return Examination(diagnose(checks, fix=fix, on_step=on_step), told)
        finally:
            probe.remove()


def _checks(case: Case, probe: access.Probe, opened: Deployment, configuration: Configuration) -> list[Check]:
    settings, rows = case.settings, refs.Refs(case)
    examined: dict[str, Callable[[], Iterator[Finding]]] = {
        "settings": partial(configured.about_settings, settings, configuration),
        "extras": partial(environment.about_extras, settings, _driver(opened.core_store)),
        "memory": partial(environment.about_memory, settings),
        "hooks": partial(environment.about_hooks, settings),
        "keys": partial(environment.about_keys, settings),
        "core-store": partial(ownership.about_core_store, case),
        "database-clock": partial(ownership.about_database_clock, case),
        "path": partial(places.about_path, case),
        "put": probe.put,
        "get": probe.get,
        "range": probe.get_range,
        "list": probe.list_names,
        "delete": probe.delete,
        "store-clock": partial(places.about_store_clock, case, probe),
        "read-paths": partial(places.about_read_paths, case),
        "identity": partial(bucketrules.about_identity, case),
        "abort": partial(bucketrules.about_abort, case),
        "versioning": partial(bucketrules.about_versioning, case),
        "rules": partial(bucketrules.about_rules, case),
        "abort-rule": partial(bucketrules.about_abort_rule, case),
        "uploads": partial(bucketrules.about_uploads, case),
        "owner": partial(ownership.about_owner, case),
        "refs": rows.about,
        "peer-refs": rows.about_peer,
    }
    return [Check(name, look, SECONDS.get(name, Check.seconds)) for name, look in examined.items()]


def _opened(place: Place) -> tuple[Deployment, ConfigError | None]:
    """The deployment; where it is its rows that cannot be told, without them, and why."""
    try:
        return open_deployment(*place), None
    except ConfigError as error:
        settings = settings_here(_given_values(place))  # raises where it is not the rows
        if not settings.path and not has_airflow():  # where connect() would begin
            settings = settings.replaced({"path": str(data_directory() / "blobs")})
        return Deployment(settings, CoreStoreUrl(Kind.AIRFLOW, "")), error


@contextmanager
def _as_it_was() -> Iterator[None]:
    """In a task, too, what opens an operator's connections says in the environment that this were a server."""
    before = os.environ.get(_CONTEXT)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_CONTEXT, None)


def _case(opened: Deployment, problem: ConfigError | None, place: Place, configuration: Configuration) -> Case:
    days = configuration.default_retention_days
    hurried = _hurried(opened)

    def no_rows() -> NoReturn:
        raise problem or ConfigError("there are no rows")

    named = bool(place.core_store) or (problem is None and opened.core_store.kind is not Kind.AIRFLOW)
    return Case(
        settings=opened.settings,
        open_store=hurried.open_store,
        open_bucket=partial(_bucket, hurried),
        rows=no_rows if problem else opened.rows,
        roots=no_rows if problem else opened.roots,
        rows_named=named,
        retention=timedelta(days=days) if days else None,
        peer_path=configuration.get(*configured.PEER_PATH),
    )


def _hurried(opened: Deployment) -> Deployment:
    """The same, with less patience for the store: a dead one must not take minutes."""
    settings = opened.settings
    limits = {
        "give_up_after": min(settings.give_up_after, PATIENCE),
        "connect_timeout": min(settings.connect_timeout, _CONNECT),
        "read_timeout": min(settings.read_timeout, _READ),
    }
    return dataclasses.replace(opened, settings=settings.replaced(limits))


def _bucket(opened: Deployment, path: str) -> Bucket | None:
    from offload_backend.stores.s3_bucket import bucket_of

    if parse_location(path).scheme != "s3":
        return None
    boto3 = dataclasses.replace(opened, settings=opened.settings.replaced({"transport": "boto3"}))
    try:
        return bucket_of(boto3.open_store(path), PATIENCE.total_seconds())
    except ConfigError as error:
        if opened.settings.transport == "fsspec":  # whose options may be of s3fs alone
            raise UnseenError("the bucket", error) from error
        raise


def _driver(core_store: CoreStoreUrl) -> str:
    if core_store.kind is Kind.REST:
        return "rest"
    return "postgresql" if core_store.url.partition("://")[0] in ("postgres", "postgresql") else ""


def _given_values(place: Place) -> dict[str, object]:
    return {
        name: value for name, value in (("path", place.path), ("deployment", place.deployment)) if value is not None
    }


def _given(place: Place) -> dict[str, str]:
    return {name: f"--{name}" for name in _given_values(place)}


def _raising(error: Exception) -> NoReturn:
    raise error


def _without_settings() -> NoReturn:
    raise SkippedError("without settings, nothing else can be looked at")


def _about_class(configuration: Configuration) -> Iterator[Finding]:
    return configured.about_worker_class(configuration, has_airflow=has_airflow())


def _as_json(result: Result) -> dict[str, Any]:
    found = result.finding
    texts = {"seen": found.seen, "means": found.means, "mend": found.mend, "fixed": result.fixed}
    return {"check": result.check, "status": found.status.value, **texts, "setting": found.setting}
