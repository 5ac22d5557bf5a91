"""Mutants of the verbs that look: what they would show, believe or let out."""

from __future__ import annotations

__all__ = ["LOOKING"]

_LS = ("tests/cli/test_ls.py",)
_SHOW = ("tests/cli/test_show.py",)
_CAT = ("tests/cli/test_cat.py",)
_STATS = ("tests/cli/test_stats.py",)

LOOKING = {
    ("inventory/entry.py", _LS): [
        (
            'None if "@" in url or "?" in url else text',
            "text",
            "a ref with a password is listed as it stands",
        ),
        ('{"url": shown(url), ', '{"url": url, ', "the URL of a ref is listed with what may be a password"),
    ],
    ("inventory/choice.py", _LS): [
        ("not of_task and named", "named", "assets are meant by the name of a dag"),
        ("text == pattern or fnmatchcase", "fnmatchcase", "a name with brackets is not meant by itself"),
    ],
    ("inventory/reading.py", _SHOW): [
        (
            "            _verify(start, above)\n",
            "",
            "a header is shown that is not the one that was written",
        ),
        (
            'if header.get("id") != blob.id or not is_header_of(blob, header):',
            "if False:",
            "a blob is shown as that of the state whose name it was copied to",
        ),
        (
            "            self._signatures.check(text)\n",
            "            pass\n",
            "a forged ref is shown and followed",
        ),
        (
            "            refuse_large(self._settings, ref)\n",
            "",
            "memory is allocated for whatever a ref claims",
        ),
        ("            refuse_hidden_dots(name)\n", "", "a driver may be led out of the location by escaped dots"),
        ("if (got, digest.hexdigest()) != (ref.size, ref.digest):", "if False:", "format 1 is not verified"),
    ],
    ("inventory/reading.py", _CAT): [
        (
            "            _verify(frame, place)\n            yield frame",
            "            yield frame",
            "damaged bytes come out raw",
        ),
        (
            "if place is not None or len(held) != ref.seal or digest_of((held,)).hex() != ref.digest:",
            "if False:",
            "a blob that was cut off comes out as if it were whole",
        ),
    ],
    ("inventory/outline.py", _SHOW): [
        ("        self._left -= len(inside)\n", "", "a list that is held in many places is taken apart in each"),
        (
            "        text = repr(key)\n    except ValueError:",
            "        text = repr(key)\n    except KeyError:",
            "a long key ends it",
        ),
    ],
    ("inventory/rendering.py", _CAT): [
        ("return value.bit_length() <= MOST_BITS", "return True", "a long integer ends it"),
    ],
    ("codecs/tree/view.py", _CAT): [
        ("        if self._inside is None:\n", "        if True:\n", "each part takes apart all of what holds it"),
    ],
    ("cli/tables.py", ("tests/cli/test_expire.py",)): [
        (
            '(f"{plain(line)}\\n" for line in lines)',
            '(f"{line}\\n" for line in lines)',
            "names make the terminal do things",
        ),
    ],
    ("cli/cat.py", _CAT): [
        ('char.isprintable() or char in "\\n\\t"', "True", "a value makes the terminal do things"),
    ],
    ("cli/main.py", _SHOW): [
        ('plain(f"offload: {error}", keep="\\n")', 'f"offload: {error}"', "an error makes the terminal do things"),
    ],
    ("inventory/marks.py", _STATS): [
        ('and header.state == "concluded"', "", "a mark that was refused counts"),
    ],
    ("inventory/totals.py", _STATS): [
        (
            "            totals.archived.add(entry)\n            continue\n",
            "            totals.archived.add(entry)\n",
            "archived rows are summed with those that are there",
        ),
    ],
}
"""By file and tests: what stands there, what is put in its place, and what that does."""
