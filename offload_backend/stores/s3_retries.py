"""One request to S3, repeated while that may help; the same for every client."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from offload_backend.observation.operation import note_retry
from offload_backend.stores.patience import Patience
from offload_backend.stores.s3_errors import NoAnswerError, RefusalError, is_passing, s3_error

__all__ = ["repeated"]

_PAUSE = 1.0
_LONGEST_PAUSE = 20.0
_DOUBLINGS = 8
"""Beyond the longest pause; of thousands of tries the power would be too large for a number."""
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


def repeated(operation: str, location: str, patience: Patience, attempt: Callable[[], _T]) -> _T:
    """What the first attempt returns that S3 does not refuse for a while only.

    Attempts raise :class:`RefusalError` and :class:`NoAnswerError`; what is then raised here is our error for the
    last of them. Between them are exponential pauses with full jitter, and as long as S3 asks for.

    Every request of ours may be sent twice: a name is written once, with the same bytes, a part has a number, and
    who completes an upload again is told that it is gone (see ``s3_multipart``).
    """
    for number in count(1):
        failure: RefusalError | NoAnswerError
        asked = 0.0
        try:
            return attempt()
        except RefusalError as error:
            error.repeated = error.repeated or number > 1
            failure, passing, asked = error, is_passing(error.code, error.status), error.retry_after
        except NoAnswerError as error:
            failure, passing = error, not error.final
        pause = random.random() * min(_LONGEST_PAUSE, _PAUSE * 2.0 ** min(number - 1, _DOUBLINGS))  # noqa: S311 - jitter, not a secret
        _log.info("%s, try %d: %s", operation, number, failure)
        if not passing or not patience.pause(pause, asked):
            raise s3_error(failure, operation, location) from failure
        note_retry(str(failure))
    raise AssertionError  # pragma: no cover - the loop has no end
