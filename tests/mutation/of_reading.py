"""Mutants of reading a value piece by piece, and of what is sure of a text that orjson wrote."""

from __future__ import annotations

__all__ = ["READING"]

_PIECES = ("tests/inner/test_sealed_blobs.py", "tests/inner/test_json_reading.py")
_CYCLES = ("tests/inner/test_json_codec.py", "-k", "cycle")
_SURVEY = ("tests/inner/test_json_survey.py",)

READING: dict[tuple[str, tuple[str, ...]], list[tuple[str, str, str]]] = {
    ("blobfile/reader.py", _PIECES): [
        ("if len(waiting) > _AHEAD:", "if False:", "every piece is read ahead"),
        ("enough = self._is_held or start == 0 or", "enough = self._is_held or", "the first piece is a large one"),
    ],
    ("codecs/json_reading.py", _PIECES): [
        ("value += _some(part)", "value += part", "a comma before no element is none"),
        ("value += _some(rest) if value else rest", "value += rest", "a comma behind the last element is none"),
        ("                text[at] = _COMMA\n", "", "text that was not to be cut stays closed"),
        ("if mistakes < _MISTAKES else 0", "if True else 0", "misleading marks are tried for ever"),
        (
            "        searched = max(0, len(text) - len(mark) + 1)",
            "        searched = 0",
            "a long element is searched again with each piece",
        ),
        ("        text[: len(first)] = first\n", "", "the first piece is forgotten"),
    ],
    ("codecs/garbage.py", _PIECES): [
        ("            _promote()\n", "            pass\n", "what was read is walked at once"),
        ("    if not gc.get_freeze_count():\n", "    if True:\n", "what a program has frozen thaws"),
        (
            "        finally:  # a signal may raise in between\n            gc.unfreeze()\n",
            "        except ValueError:\n            pass\n        gc.unfreeze()\n",
            "what was read stays frozen",
        ),
    ],
    ("codecs/json.py", _CYCLES): [
        ("any(value is one for one in above)", "False", "a cycle is written once for each level"),
        (
            "ensure_ascii=False, separators",
            "ensure_ascii=False, check_circular=False, separators",
            "a cycle fills memory",
        ),
    ],
    ("codecs/json_survey.py", _SURVEY): [
        (
            '        return text.count(b"null") ==',
            "        return True or 0 ==",
            "a number that was NaN for a moment is None",
        ),
    ],
}
