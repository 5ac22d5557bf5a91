"""Checks of the bucket itself: who asks, versions, rules that delete or archive, uploads that nobody finished."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

from offload_backend.address import parse_blob_name
from offload_backend.bucket import Bucket, LifecycleRule, Upload
from offload_backend.diagnosis.case import Case
from offload_backend.diagnosis.finding import Finding, Fix, Status, UnseenError, amount, failed, ok, warn
from offload_backend.durations import format_duration
from offload_backend.errors import StoreError

__all__ = ["about_abort", "about_abort_rule", "about_identity", "about_rules", "about_uploads", "about_versioning"]

_DAY = timedelta(days=1)
_MEASURED = 20
"""Uploads whose parts are counted: one request for each."""
_ABORT_AFTER = 7
_T = TypeVar("_T")


def about_identity(case: Case) -> Iterator[Finding]:
    """Whom the store takes these credentials for."""
    bucket = case.bucket()
    try:
        found = bucket.identity()
    except StoreError as error:
        if error.reason == "no-credentials":
            raise
        yield Finding(Status.UNKNOWN, f"not told: {error.message}", "a store that is not Amazon's may know no STS")
        return
    yield ok(f"{found.arn}, by credentials from: {found.source or 'a place that botocore does not name'}")


def about_abort(case: Case) -> Iterator[Finding]:
    """That an upload which fails may be taken away. No upload is begun for this."""
    bucket = case.bucket()
    try:
        bucket.require_abort(case.layout.probe("none"))
    except StoreError as error:
        if error.reason != "denied":
            raise
        means = "a large set that fails leaves its parts behind, paid for, until a lifecycle rule removes them"
        yield warn(error.message, means, error.hint)
        return
    yield ok("granted")


def about_versioning(case: Case) -> Iterator[Finding]:
    """Whether what is deleted or damaged can be had back, and what that costs."""
    bucket = case.bucket()
    state = _seen(bucket.versioning, "whether the bucket keeps versions")
    if state != "Enabled":
        yield ok(f"versioning is {state.lower() or 'off'}", "a delete is final; on is safer, and costs space")
        return
    limits = [rule.noncurrent_days for rule in _covering(case, bucket, _rules(bucket)) if rule.noncurrent_days]
    quarantine = case.settings.gc_quarantine
    if not limits:
        yield warn(
            "versioning is on, and no rule removes old versions",
            "space that is given back is not: every overwritten checkpoint stays as a version, and is paid for",
            f"add NoncurrentVersionExpiration with at least {max(1, quarantine.days)} days (gc_quarantine) to the "
            "bucket's lifecycle rules",
        )
    elif min(limits) * _DAY < quarantine:
        yield warn(
            f"versioning is on; old versions go after {min(limits)} days",
            f"that is less than gc_quarantine, {format_duration(quarantine)}",
            "let NoncurrentVersionExpiration be at least gc_quarantine",
        )
    else:
        yield ok(f"versioning is on; old versions go after {min(limits)} days")


def about_rules(case: Case) -> Iterator[Finding]:
    """That no rule deletes live blobs, or moves them where they cannot be read."""
    bucket = case.bucket()
    rules = _rules(bucket)
    ours = f"{bucket.prefix}{case.layout.everything}"
    bad = [rule for rule in rules if _overlaps(rule, ours) and (rule.expires or rule.archives)]
    for rule in bad:
        what = f"the rule {rule.id!r} on {repr(rule.prefix) if rule.prefix else 'the whole bucket'}"
        if rule.expires:
            yield _about_expiry(case, rule, what, ours)
        if rule.archives:
            yield failed(
                f"{what} moves objects to {rule.archives}",
                "an archived blob cannot be read until somebody restores it: get raises",
                f"take the transition out, or exclude {ours} from the rule",
            )
    if not bad:
        yield ok(f"{amount(len(rules), 'rule')}; none deletes or archives what is below {ours}")


def _about_expiry(case: Case, rule: LifecycleRule, what: str, ours: str) -> Finding:
    """Age says nothing about a blob: its row may be as old. Only after a task's rows have expired it is likely."""
    mend = f"take the expiration out, or exclude {ours}; rows past their retention are removed by offload expire"
    seen = f"{what} deletes objects {rule.expires}"
    retention = case.retention
    if retention is not None and rule.expire_days is not None and rule.expire_days * _DAY > retention:
        return warn(
            seen,
            f"rows of tasks live {format_duration(retention)} unless told otherwise; but those of assets, and with "
            "NEVER_EXPIRE, live on and will name blobs that are gone",
            mend,
        )
    lives = "for ever" if retention is None else f"{format_duration(retention)} unless told otherwise"
    return failed(
        seen, f"live blobs go: rows of tasks live {lives}, and those of assets until they are deleted", mend
    )


def about_abort_rule(case: Case) -> Iterator[Finding]:
    """That a rule removes what killed uploads leave behind, and none aborts those that run."""
    bucket = case.bucket()
    window = case.settings.commit_window
    covering = _covering(case, bucket, _rules(bucket))
    limits = [rule.abort_days for rule in covering if rule.abort_days is not None]
    if not limits:
        rule = {
            "ID": "offload-abort-incomplete-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": f"{bucket.prefix}{case.layout.everything}"},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _ABORT_AFTER},
        }
        yield warn(
            "no rule aborts incomplete multipart uploads",
            "parts of uploads that were killed are no objects: nothing lists them, and they are paid for",
            f"add to the bucket's lifecycle rules, of which put-bucket-lifecycle-configuration replaces all: "
            f"{json.dumps(rule)}",
        )
    elif min(limits) * _DAY < window:
        yield failed(
            f"a rule aborts uploads after {min(limits)} days",
            f"a set may take as long as commit_window, {format_duration(window)}: its upload would be aborted",
            "raise DaysAfterInitiation, or lower [offload_backend] commit_window",
        )
    else:
        yield ok(f"a rule aborts them after {min(limits)} days")


def about_uploads(case: Case) -> Iterator[Finding]:
    """Multipart uploads of ours that nobody will finish."""
    bucket = case.bucket()
    listed = _seen(lambda: list(bucket.uploads(case.layout.everything)), "uploads that nobody finished")
    found = [upload for upload in listed if _is_ours(case, upload)]
    now = _seen(bucket.now, "the store's time")
    age = max(case.settings.commit_window, _DAY)
    old = [upload for upload in found if upload.initiated < now - age]
    if not old:
        running = f"; {len(found):,} younger than {format_duration(age)}, which may be running" if found else ""
        yield ok(f"none are left behind{running}")
        return
    oldest = min(upload.initiated for upload in old)
    many = f"{amount(len(old), 'unfinished upload')} older than {format_duration(age)}"
    yield warn(
        f"{many}, the oldest of {oldest:%Y-%m-%d}{_measured(bucket, old)}",
        "they are paid for, and nobody will finish them",
        "offload doctor --fix aborts them; a lifecycle rule (abort-rule) from then on",
        fix=Fix(f"abort {amount(len(old), 'upload')}", lambda: _abort(bucket, old)),
    )


def _abort(bucket: Bucket, uploads: list[Upload]) -> str:
    done = 0
    try:
        for upload in uploads:
            bucket.abort(upload)
            done += 1
    except StoreError as error:
        return f"{amount(done, 'upload')} aborted, then: {error.message}; {error.hint}"
    return f"{amount(done, 'upload')} aborted"


def _measured(bucket: Bucket, uploads: list[Upload]) -> str:
    try:
        total = sum(map(bucket.uploaded, uploads[:_MEASURED]))
    except StoreError:
        return "; how many bytes may not be seen"
    first = f"the first {_MEASURED} of them: " if len(uploads) > _MEASURED else ""
    return f"; {first}{total:,} bytes"


def _is_ours(case: Case, upload: Upload) -> bool:
    """Whether this deployment made it; what others put below the path is theirs."""
    name = parse_blob_name(upload.name)
    own = name is not None and name.deployment == case.settings.deployment
    return own or upload.name.startswith(case.layout.control)


def _rules(bucket: Bucket) -> list[LifecycleRule]:
    return _seen(bucket.rules, "the bucket's lifecycle rules")


def _seen(ask: Callable[[], _T], what: str) -> _T:
    """The answer; that it may not be had is no more than that, as long as the store answers at all."""
    try:
        return ask()
    except StoreError as error:
        if error.reason in ("denied", "failed"):
            raise UnseenError(what, error) from error
        raise


def _covering(case: Case, bucket: Bucket, rules: list[LifecycleRule]) -> list[LifecycleRule]:
    """The rules that hold for every object of the deployment."""
    ours = f"{bucket.prefix}{case.layout.everything}"
    return [rule for rule in rules if ours.startswith(rule.prefix) and not rule.tagged and not rule.sized]


def _overlaps(rule: LifecycleRule, ours: str) -> bool:
    """Whether it holds for some object of the deployment; these have no tags."""
    return not rule.tagged and (ours.startswith(rule.prefix) or rule.prefix.startswith(ours))
