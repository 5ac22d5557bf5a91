"""The little XML that S3's hot path speaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.parsers.expat import ExpatError, ParserCreate

from offload_backend.stores.s3_objects import SentPart

__all__ = ["Document", "complete_upload", "parsed"]

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class Document(NamedTuple):
    """The name of an answer's root element, and the texts of the elements right below it."""

    root: str
    texts: dict[str, str]


def parsed(data: bytes) -> Document:
    """The document, or an empty one for whatever is none, or has a DTD: entities are a way to attack a parser."""
    path: list[str] = []
    texts: dict[str, str] = {}
    root: list[str] = []

    def start(name: str, _: object) -> None:
        path.append(name.rpartition(" ")[2])
        root[:] = root or path

    def text(piece: str) -> None:
        if len(path) == len(("root", "text")):
            texts[path[1]] = texts.get(path[1], "") + piece

    parser = ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: path.pop()
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(data.lstrip(), True)
    except (ExpatError, LookupError, ValueError):  # a LookupError tells of an encoding that nobody knows
        return Document("", {})
    return Document(root[0], texts)


def complete_upload(parts: Sequence[SentPart]) -> bytes:
    """The body of a CompleteMultipartUpload."""
    lines = ['<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">']
    for part in parts:
        values = (("PartNumber", str(part.number)), ("ETag", part.etag), *part.checksums)
        texts = "".join(f"<{name}>{value.translate(_ESCAPES)}</{name}>" for name, value in values)
        lines.append(f"<Part>{texts}</Part>")
    return "".join([*lines, "</CompleteMultipartUpload>"]).encode()


def _refuse(*_: object) -> None:
    raise ValueError("a DTD")
