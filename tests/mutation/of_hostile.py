"""Mutants of signatures, and of what bounds the memory and the time that hostile bytes may ask for."""

from __future__ import annotations

__all__ = ["HOSTILE"]

_SIGNED = ("tests/inner/test_signed_refs.py",)
_BOMBS = ("tests/hostile/test_bombs.py",)
_CLAIMS = ("tests/hostile/test_claims.py",)
_POLARS = ("tests/hostile/test_bombs.py", "tests/codecs/test_polars.py")

HOSTILE: dict[tuple[str, tuple[str, ...]], list[tuple[str, str, str]]] = {
    ("signature.py", _SIGNED): [
        ("if not any(matches):", "if not matches:", "any signature will do"),
        ("            if self._refuses_unsigned:\n", "            if False:\n", "an unsigned ref is read"),
        ('self._remembered(f"{covered}&mac={_mac(secret.key, covered)}")', "text", "nothing is signed"),
        ('_PURPOSE + b"\\x01"', '_PURPOSE + b"\\x02"', "the key is derived in another way"),
        ("        if secret.wrapped:\n", "        if False:\n", "a key that changes signs"),
    ],
    ("ref.py", _SIGNED): [
        ('_SIGNED.fullmatch(text) if "#" in text else None', "_SIGNED.fullmatch(text)", "a bare URL is signed"),
        ('    fragment = signed["signed"] if signed else fragment\n', "", "a signature is an unknown fact"),
    ],
    ("offloader.py", _SIGNED): [
        ("return name if name and self._signatures.vouches(text) else None", "return name", "a forged ref deletes"),
    ],
    ("memorylimit.py", _CLAIMS): [
        ("if limit is not None and raw > limit:", "if False:", "a value may be larger than all memory"),
        (
            "    except MemoryError as error:",
            "    except ZeroDivisionError as error:",
            "no memory is no error of ours",
        ),
        ("for above in (group, *group.parents):", "for above in (group,):", "groups above are not asked"),
        ("impossible or ref.raw > most_raw_bytes(ref.size)", "impossible", "few bytes may claim to hold gigabytes"),
    ],
    ("peervalue.py", _CLAIMS): [
        (", memlimit=_MOST_FOR_XZ", "", "a dictionary of xz may have any size"),
        (
            "if first.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):",
            "if False:",
            "any zip is read",
        ),
    ],
    ("errors.py", _CLAIMS): [
        ('return ValueError(f"{type(error).__name__}{place}")', "return error", "tracebacks quote the value"),
    ],
    ("codecs/tree/hashes.py", _BOMBS): [
        ("max(Counter(hashes).values()) <= MOST_ALIKE", "True", "any number of elements has one hash"),
        ("if self._spent > _HEAVIEST:", "if False:", "hashes take any time"),
        ("self._spent += sum(", "self._spent = sum(", "many sets may take as long as one"),
    ],
    ("codecs/tree/facts.py", _BOMBS): [
        ('node["$"][:1] == ["ref"]', "False", "what is shared is copied each time"),
    ],
    ("codecs/tree/pandas_arrays.py", _BOMBS): [
        (" or not array.dtype.itemsize:", ":", "elements without bytes become objects"),
        (" or isinstance(left, pd.RangeIndex | pd.MultiIndex):", ":", "ranges become intervals"),
    ],
    ("codecs/tree/arrow_stream.py", _POLARS): [
        ("start < 0 or length < 0 or start + length > body", "False", "a buffer of Arrow has any size"),
    ],
}
