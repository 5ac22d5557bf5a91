"""What ``airflow.cfg`` and ``AIRFLOW__…`` variables say, read without Airflow."""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from offload_backend.errors import ConfigError
from offload_backend.settings import SECTION, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Configuration", "data_directory", "fernet_key", "read_configuration"]

PREFIX = "AIRFLOW__"
METASTORE = "airflow.state.metastore.MetastoreBackend"
_TRUE, _FALSE = frozenset({"t", "true", "1"}), frozenset({"f", "false", "0"})
_ENDINGS = ("", "_cmd", "_secret")
"""Of an option's name: itself, a command that tells its text, and where Airflow's secrets backend has it."""


@dataclass(frozen=True)
class Configuration:
    """Options by section, as Airflow would see them: an environment variable counts before the file.

    ``sections`` holds text as ``file`` has it; :meth:`get` expands ``$VARIABLES`` and ``~`` as Airflow does.
    Options that name a command or a secret (``…_cmd``, ``…_secret``) are not followed.
    """

    sections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None

    def get(self, section: str, option: str) -> str:
        """The option's text, empty if it is not set."""
        variable = f"{_section_prefix(section)}{option.upper()}"
        text = self.environment.get(variable, self.sections.get(section, {}).get(option, ""))
        return _expanded(text).strip()

    def places(self, section: str, option: str) -> list[str]:
        """Where the option is set, the one that counts first; never to what. Commands and secrets are told, too.

        Nowhere, if the one that counts is empty: it hides the others.
        """
        variable, lines = f"{_section_prefix(section)}{option.upper()}", self.sections.get(section, {})
        texts = {f"{variable}{end.upper()}": self.environment.get(f"{variable}{end.upper()}") for end in _ENDINGS}
        texts |= {f"{self.file} [{section}] {option}{end}": lines.get(f"{option}{end}") for end in _ENDINGS}
        found = {place: text for place, text in texts.items() if text is not None}
        return [] if "" in list(found.values())[:1] else [place for place, text in found.items() if text]

    def settings(self, changes: Mapping[str, object]) -> Settings:
        """``[offload_backend]`` with ``changes`` over it, the path of Airflow's common-io backend below it.

        Raises :class:`~offload_backend.errors.ConfigError` for a setting that is unknown or impossible.
        """
        values = {option: self.get(SECTION, option) for option in self._options(SECTION)}
        for option in values:
            _refuse_indirect(option)
        settings = Settings.load({**{name: text for name, text in values.items() if text}, **changes})
        row_limit = self._whole_number("max_value_storage_bytes", "65535", "bytes, 0 for no limit")
        peer_path = self.get("common.io", "state_store_objectstorage_path")
        return settings.beside_airflow(
            peer_path=peer_path,
            row_limit=row_limit,
            classes=self.get("core", "allowed_deserialization_classes").split(),
            classes_regexp=self.get("core", "allowed_deserialization_classes_regexp").split(),
            fernet=f"{__name__}.fernet_key",
        )

    @property
    def default_retention_days(self) -> int:
        """``[state_store] default_retention_days``: 30 unless set, 0 for never."""
        return self._whole_number("default_retention_days", "30", "days, 0 for never")

    @property
    def cleanup_batch_size(self) -> int:
        """``[state_store] state_cleanup_batch_size``, in rows; 0, which is Airflow's default, for no batches."""
        return self._whole_number("state_cleanup_batch_size", "0", "rows, 0 for no batches")

    @property
    def clear_on_success(self) -> bool:
        """``[state_store] clear_on_success``."""
        text = self.get("state_store", "clear_on_success").lower().split("#")[0].strip() or "false"
        if text not in _TRUE | _FALSE:
            raise _bad("clear_on_success", text, "True or False")
        return text in _TRUE

    @property
    def worker_backend(self) -> tuple[str, str]:
        """The class named by ``[workers] state_store_backend``, or by its older name; and the setting."""
        for option in ("state_store_backend", "state_backend"):
            if name := self.get("workers", option):
                return name, f"[workers] {option}"
        return "", "[workers] state_store_backend"

    @property
    def core_backend(self) -> str:
        """The class named by ``[state_store] backend``, empty for Airflow's own database."""
        name = self.get("state_store", "backend")
        return "" if name == METASTORE else name

    def _whole_number(self, option: str, default: str, unit: str) -> int:
        text = self.get("state_store", option) or default
        try:
            return int(text)
        except ValueError:
            raise _bad(option, text, f"a whole number of {unit}") from None

    def _options(self, section: str) -> set[str]:
        prefix = _section_prefix(section)
        variables = {name[len(prefix) :].lower() for name in self.environment if name.startswith(prefix)}
        return variables | set(self.sections.get(section, {}))


def read_configuration(environment: Mapping[str, str] | None = None) -> Configuration:
    """The configuration of ``$AIRFLOW_CONFIG``, ``$AIRFLOW_HOME/airflow.cfg`` or ``~/airflow/airflow.cfg``.

    A file that is not there is an empty one; one that cannot be read raises
    :class:`~offload_backend.errors.ConfigError`. ``environment`` is ``os.environ`` unless given.
    """
    environment = os.environ if environment is None else environment
    home = _expanded(environment.get("AIRFLOW_HOME", "~/airflow"))
    path = Path(_expanded(environment.get("AIRFLOW_CONFIG", str(Path(home) / "airflow.cfg"))))
    parser = _AirflowCfg()
    try:
        parser.read(path, encoding="utf-8")
        read = {name: dict(parser.items(name)) for name in _SECTIONS if parser.has_section(name)}
    except (configparser.Error, OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {type(error).__name__}",
            hint="correct the file, or name another one with AIRFLOW_CONFIG; write % as %%",
            location=str(path),
        ) from error
    own = {name: text for name, text in environment.items() if name.startswith(PREFIX)}
    return Configuration(read, own, path)


def fernet_key() -> str:
    """``[core] fernet_key``: one key, or several separated by commas. Raises as :func:`read_configuration`."""
    return read_configuration().get("core", "fernet_key")


def data_directory(environment: Mapping[str, str] | None = None) -> Path:
    """Where values stay when nothing is configured: ``$XDG_DATA_HOME`` or ``~/.local/share``, our folder."""
    environment = os.environ if environment is None else environment
    base = environment.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "offload-backend"


class _AirflowCfg(configparser.ConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr  # as in Airflow, upper and lower case differ


_SECTIONS = (SECTION, "common.io", "core", "database", "state_store", "workers")


def _section_prefix(section: str) -> str:
    return f"{PREFIX}{section.replace('.', '_').upper()}__"


def _expanded(text: str) -> str:
    # os.path, because pathlib would take a URL's double slash for a superfluous one.
    while (expanded := os.path.expanduser(os.path.expandvars(text))) != text:  # noqa: PTH111 (see above)
        text = expanded
    return text


def _refuse_indirect(option: str) -> None:
    stem = option.removesuffix("_cmd").removesuffix("_secret")
    if stem != option and stem in Settings.model_fields:
        raise ConfigError(
            f"[{SECTION}] {option} is something only Airflow follows",
            hint=f"set {_section_prefix(SECTION)}{stem.upper()} where there is no Airflow",
        )


def _bad(option: str, text: str, expected: str) -> ConfigError:
    return ConfigError(f"[state_store] {option} is {text!r}", hint=f"set [state_store] {option} to {expected}")
