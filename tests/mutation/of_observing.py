"""Mutants of what is told about operations, and of what telling must not do."""

from __future__ import annotations

__all__ = ["OBSERVING"]

_TOLD = ("tests/observation/test_observer.py",)
_COLLECTED = ("tests/observation/test_metering.py",)
_ACCESSORS = ("tests/airflow/test_observability.py", "-k", "not real")

OBSERVING = {
    ("observation/observer.py", _TOLD): [
        (
            "        except Exception as error:",
            "        except KeyError as error:",
            "whoever watches and fails, fails the task",
        ),
        ("            if not self._warned:\n", "            if True:\n", "each failure to tell is a warning"),
        (
            "    if operation.error or not isinstance(ref, BlobRef):\n",
            "    if not isinstance(ref, BlobRef):\n",
            "a span tells what a ref says that is not believed",
        ),
        ("            current.reset(token)\n", "", "what is done after an operation counts as its doing"),
        ("return raw >= _LARGE or", "return raw >= 0 or", "small blobs have lines that people see"),
    ],
    ("observation/measuring.py", _TOLD): [
        (
            '"stored_bytes": stored, "copied_bytes"',
            '"stored_bytes": raw, "copied_bytes"',
            "bytes as stored are not those",
        ),
        (
            'if verb == "resolve" and operation.error in _ALARMS:',
            "if False:",
            "a blob that is gone raises no alarm",
        ),
    ],
    ("observation/otel.py", _TOLD): [
        ("        self._context.detach(self._token)\n", "", "what follows an operation is its span's child"),
        (
            "self._span.set_status(self._trace.StatusCode.ERROR, error)",
            "pass",
            "the span of an operation that failed looks like any other",
        ),
    ],
    ("stores/s3_multipart.py", _TOLD): [
        (
            "pool.submit(copy_context().run, self._send,",
            "pool.submit(self._send,",
            "parts that are sent again are not counted",
        ),
    ],
    ("stores/s3_read.py", _TOLD): [
        ("            note_retry(str(error))\n", "", "answers that broke off are not counted"),
    ],
    ("airflow/worker.py", _ACCESSORS): [
        (
            "return self._observer.resolve(text, lambda: self._resolve_row(text, asked_by, _READS))",
            "return self._resolve_row(text, asked_by, _READS)",
            "what a task reads is not told",
        ),
    ],
    ("airflow/stats.py", _ACCESSORS): [
        ('if getattr(stats, "_factory", factory) is None:', "if False:", "triggers have no metrics"),
        (
            'if getattr(stats, "_factory", factory) is None:',
            "if True:",
            "a task's statistics are started a second time",
        ),
        (
            "            return None\n        # Airflow",
            "            pass\n        # Airflow",
            "metrics that are off are opened",
        ),
    ],
    ("lifecycle/metering.py", _COLLECTED): [
        (
            "        except Exception as error:",
            "        except KeyError as error:",
            "who cannot be watched cannot collect",
        ),
        ('"candidates": marked.count', '"candidates": live.count', "live blobs are told as orphans"),
    ],
}
