"""What a refusal by S3, or by something compatible with it, means for the caller, whichever client met it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from offload_backend.errors import BlobNotFoundError, ConfigError, OffloadError, StoreError

__all__ = [
    "NoAnswerError",
    "RefusalError",
    "answer_was_lost",
    "code_and_status",
    "grant",
    "is_denied",
    "is_passing",
    "s3_error",
    "seconds_asked",
]

_RIGHTS = {
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "UploadPartCopy": "s3:PutObject and s3:GetObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "GetObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
    "GetBucketVersioning": "s3:GetBucketVersioning",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListParts": "s3:ListMultipartUploadParts",
}
_IDENTITY = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_DENIED = frozenset({"AccessDenied", "AccountProblem", "AllAccessDisabled", "Forbidden", "403"})
_ALTERED = frozenset({"BadDigest", "XAmzContentChecksumMismatch"})
_THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    }
)
_FULL = frozenset({"QuotaExceeded", "XMinioStorageFull"})
_PARTS_GONE = frozenset({"InvalidPart", "InvalidPartOrder", "NoSuchUpload"})
_AGAIN = frozenset({"InternalError", "OperationAborted", "RequestTimeout", "RequestTimeoutException"})
_AGAIN_STATUS = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_ELSEWHERE = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
        "TemporaryRedirect",
    }
)
_NO_CREDENTIALS = frozenset(
    {
        "CredentialRetrievalError",
        "MalformedCredentialsError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    }
)
_BAD_SETTING = frozenset(
    {"ConfigNotFound", "InvalidRegionError", "NoRegionError", "ParamValidationError", "ProfileNotFound"}
)
_LONGEST_CODE = 64
_SET_CLOCK = "set the worker's clock: it differs too much from the store's"
_GIVE_CREDENTIALS = (
    "write [offload_backend] path = s3://conn_id@bucket/prefix with an Airflow connection, set "
    "storage_options, or give the worker AWS credentials (environment, profile or role)"
)


class RefusalError(Exception):
    """An error that S3 answered, and in how many seconds it wants to be asked again; 0 if it does not say.

    ``repeated``: an earlier try of the same request may have been carried out.
    """

    def __init__(self, code: str, status: int, *, retry_after: float = 0.0) -> None:
        self.code = _in_one_line(code)
        super().__init__(self.code or str(status))
        self.status = status
        self.retry_after = retry_after
        self.repeated = False


class NoAnswerError(Exception):
    """No answer, or not the whole of one.

    ``kind`` is botocore's name for what happened; ``final``: another try will not help.
    """

    def __init__(self, kind: str, *, final: bool = False) -> None:
        super().__init__(kind)
        self.kind = kind
        self.final = final


def code_and_status(error: BaseException | None) -> tuple[str, int]:
    """S3's error code and the HTTP status, of ours or of botocore's error; ``("", 0)`` of anything else."""
    if isinstance(error, RefusalError):
        return error.code, error.status
    answer: Any = getattr(error, "response", None)
    if not isinstance(answer, dict):
        return "", 0
    code = _in_one_line(str(answer.get("Error", {}).get("Code", "")))
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return code, int(status or (code if code.isdecimal() else 0))


def _in_one_line(code: str) -> str:
    """What may stand in the log and on a terminal, whoever answered."""
    return "".join(char if char.isprintable() else "�" for char in code[:_LONGEST_CODE])


def grant(operation: str) -> str:
    """What to do where ``operation``, S3's name of a request, was denied."""
    return f"grant {_RIGHTS.get(operation, 'the right')} on the bucket to these credentials"


def answer_was_lost(error: BaseException | None) -> bool:
    """Whether a repeated request met an upload that an earlier try of it had completed."""
    return isinstance(error, RefusalError) and error.repeated and error.code == "NoSuchUpload"


def seconds_asked(header: str) -> float:
    """What a ``Retry-After`` asks for; 0 for a date, or nothing."""
    return float(header) if header.isascii() and header.isdigit() else 0.0


def is_denied(code: str) -> bool:
    """Whether S3 says with this code that a right is missing."""
    return code in _DENIED


def is_passing(code: str, status: int) -> bool:
    """Whether the same request is worth another try at once."""
    return code in _THROTTLED or code in _AGAIN or status in _AGAIN_STATUS


def s3_error(error: BaseException, operation: str, location: str) -> OffloadError:
    """Our error for a client's. It tells code and operation, never the server's own text."""
    code, status = code_and_status(error)
    if not code and not status:
        return _without_answer(error, operation, location)
    return _missing(code, status, operation, location) or _refused(code, status, operation, location)


def _missing(code: str, status: int, operation: str, location: str) -> OffloadError | None:
    blob_gone = code == "NoSuchKey" or (
        status == HTTPStatus.NOT_FOUND and operation == "GetObject" and code != "NoSuchBucket"
    )
    if blob_gone:
        return BlobNotFoundError("there is no such blob", location=location)
    if code == "NoSuchBucket" or (status == HTTPStatus.NOT_FOUND and code in ("", "404", "NotFound")):
        return StoreError(
            f"the bucket does not exist ({operation})",
            reason="bucket-missing",
            location=location,
            hint="create the bucket or correct [offload_backend] path",
        )
    return None


def _refused(code: str, status: int, operation: str, location: str) -> StoreError:
    reason, retryable, hint = _judge(code, status, operation)
    return StoreError(
        f"S3 refused {operation}: {code or status}",
        reason=reason,
        retryable=retryable,
        location=location,
        hint=hint,
    )


def _judge(code: str, status: int, operation: str) -> tuple[str, bool, str]:  # noqa: PLR0911 - a table in prose
    right = _RIGHTS.get(operation, "the right")
    if code in _IDENTITY:
        renew = f"correct or renew the credentials, which also need {right}; {_GIVE_CREDENTIALS}"
        return "denied", False, _SET_CLOCK if code == "RequestTimeTooSkewed" else renew
    if code in _ELSEWHERE or status in (HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.TEMPORARY_REDIRECT):
        return "failed", False, "the bucket is in another region: correct region_name of the connection or options"
    if code in _DENIED or status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        note = "; without s3:ListBucket a missing object also reads as 403" if operation == "GetObject" else ""
        return "denied", False, f"{grant(operation)}{note}"
    if code in _THROTTLED or status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return "throttled", True, "the store asks to slow down: try later, or raise [offload_backend] give_up_after"
    if code in _FULL or status == HTTPStatus.INSUFFICIENT_STORAGE:
        return "full", False, "free space or raise the quota of the store where [offload_backend] path points"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
        return "unreachable", True, "the store failed inside: try later, or raise [offload_backend] give_up_after"
    return "failed", code in _ALTERED or code in _AGAIN, _hint_of(code)


def _hint_of(code: str) -> str:
    if code in _ALTERED:
        return "what arrived is not what was to be sent: leave a value alone until it is stored, and try again"
    if code in _PARTS_GONE:
        return (
            "the parts of the upload are not what was sent, or are gone: set the key again; see that no lifecycle "
            "rule aborts uploads while they run"
        )
    return "look the code up in the store's documentation; check endpoint_url, and [offload_backend] transport"


def _without_answer(error: BaseException, operation: str, location: str) -> OffloadError:
    kind = error.kind if isinstance(error, NoAnswerError) else type(error).__name__
    if kind in _NO_CREDENTIALS:
        return StoreError(
            f"no credentials for {operation}: {kind}",
            reason="no-credentials",
            location=location,
            hint=_GIVE_CREDENTIALS,
        )
    if kind in _BAD_SETTING:
        return ConfigError(
            f"the S3 client cannot be used: {kind}",
            location=location,
            hint="correct bucket, region_name and profile in [offload_backend] path and storage_options",
        )
    return StoreError(
        f"no answer to {operation}: {kind}",
        reason="unreachable",
        retryable=kind != "SSLError",
        location=location,
        hint="check endpoint_url and the network between worker and store; to wait longer for a store that comes "
        "back, raise [offload_backend] give_up_after",
    )
