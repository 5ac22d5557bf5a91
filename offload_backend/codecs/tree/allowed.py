"""Which classes may come back: none that the configuration does not name, for reading one imports its module."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Protocol

from offload_backend.codecs.tree.facts import shown
from offload_backend.errors import UnreadableBlobError

__all__ = ["AllowedClasses", "ClassPolicy", "class_named", "name_of", "why_not_importable"]


class ClassPolicy(Protocol):
    """Decides by name alone, before anything is imported."""

    @property
    def setting(self) -> str:
        """What to change to permit more, for messages: ``[core] allowed_deserialization_classes``."""
        ...

    def permits(self, name: str) -> bool:
        """Whether the class with this dotted name, ``module.qualified.name``, may be imported and made."""
        ...


class AllowedClasses:
    """Patterns as Airflow has them: globs whose ``*`` also matches dots, and regexps for whole names."""

    def __init__(
        self, globs: Sequence[str] = (), regexps: Sequence[str] = (), *, setting: str = "allowed_classes"
    ) -> None:
        self._globs = tuple(globs)
        self._compiled = [re.compile(text) for text in regexps]
        self.setting = setting

    def permits(self, name: str) -> bool:
        """See :class:`ClassPolicy`."""
        return any(fnmatchcase(name, glob) for glob in self._globs) or any(
            pattern.fullmatch(name) for pattern in self._compiled
        )


def name_of(cls: type) -> str:
    """How blobs name a class: ``module:qualified.name``."""
    return f"{cls.__module__}:{cls.__qualname__}"


def why_not_importable(cls: type) -> str | None:
    """Why no other process could import the class; ``None`` if it could."""
    if cls.__module__ == "__main__":
        return "it is defined in the script that runs, __main__"
    if "<locals>" in cls.__qualname__:
        return "it is defined inside a function"
    if ":" in cls.__module__ or not all(part.isidentifier() for part in cls.__qualname__.split(".")):
        return "its name is not one that can be imported"
    if cls.__module__.startswith("unusual_prefix_"):
        return "it is defined in a DAG file"
    if _find(cls.__module__, cls.__qualname__) is not cls:
        return "its module does not have it under its name"
    return None


def class_named(name: str, policy: ClassPolicy) -> type:
    """The class that a blob names, imported only if the policy permits it.

    Raises :class:`~offload_backend.errors.UnreadableBlobError` otherwise, and if there is none of that name.
    """
    module, colon, qualified = name.partition(":")
    if not (module and colon and qualified):
        raise ValueError("not the name of a class")
    dotted = f"{module}.{qualified}"
    if not policy.permits(dotted):
        raise UnreadableBlobError(
            f"the value holds a {shown(dotted)}, a class that may not be read here",
            hint=f"add {shown(dotted)} to {policy.setting}, or read it as plain data",
        )
    try:
        import_module(module)
    except Exception as error:  # a module may fail in any way
        raise _no_class(dotted) from error
    found = _find(module, qualified)
    if not isinstance(found, type):
        raise _no_class(dotted)
    return found


def _find(module: str, qualified: str) -> object:
    """What the module has under the name. The way leads through classes only: a pattern for a package is not one
    for the modules that it imports.
    """
    found: object = sys.modules.get(module)
    for number, part in enumerate(qualified.split(".")):
        found = getattr(found, part, None) if not number or isinstance(found, type) else None
    return found


def _no_class(dotted: str) -> UnreadableBlobError:
    return UnreadableBlobError(
        f"the value holds a {shown(dotted)}, which cannot be imported here",
        hint="install the package it is in; if it was renamed, keep its old name as well where the value is read",
    )
