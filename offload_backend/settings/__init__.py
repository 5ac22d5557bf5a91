"""Every setting, its default and its unit; the source of ``[offload_backend]`` in ``airflow config list``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from pydantic import ConfigDict, SecretStr, ValidationError

from offload_backend.durations import format_duration
from offload_backend.errors import ConfigError
from offload_backend.location import is_location
from offload_backend.settings.keyplaces import with_fernet
from offload_backend.settings.lifecycle import LifecycleSettings
from offload_backend.settings.storage import StorageSettings
from offload_backend.settings.trust import TrustSettings
from offload_backend.settings.values import ValueSettings

__all__ = ["SECTION", "Settings", "default_text"]

SECTION = "offload_backend"


class Settings(LifecycleSettings, TrustSettings, StorageSettings, ValueSettings):
    """Validated once, never changed. Values may be text, as configuration files hold them."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    def replaced(self, changes: Mapping[str, object]) -> Settings:
        """The same settings with some others in their place, validated."""
        return Settings.load({**self.model_dump(), **changes})

    def beside_airflow(
        self,
        *,
        peer_path: str,
        row_limit: int,
        classes: Sequence[str] = (),
        classes_regexp: Sequence[str] = (),
        fernet: str = "",
    ) -> Settings:
        """The settings that get along with Airflow's own.

        ``peer_path``, where Airflow's common-io backend writes, is the path where none is set; where
        another one is, what that backend wrote stays readable. ``row_limit``, in bytes, is what Airflow
        allows a row before it warns (0: anything); no row that is kept inline gets longer. ``classes`` and
        ``classes_regexp`` are those that Airflow itself deserializes. ``fernet`` is the dotted path of a function
        that tells ``[core] fernet_key``.
        """
        changes: dict[str, object] = {}
        for name in ("encryption_keys", "signing_keys"):
            entries = getattr(self, name)
            if fernet and (found := with_fernet(entries, fernet)) != entries:
                changes[name] = found
        if classes:
            changes["allowed_classes"] = (*self.allowed_classes, *classes)
        if classes_regexp:
            changes["allowed_classes_regexp"] = (*self.allowed_classes_regexp, *classes_regexp)
        if peer_path and not self.path:
            changes["path"] = peer_path
        elif peer_path not in ("", self.path, *self.read_paths) and is_location(peer_path):
            changes["read_paths"] = (*self.read_paths, peer_path)
        if 0 < row_limit < self.inline_limit:
            changes["inline_limit"] = row_limit
        return self.replaced(changes) if changes else self

    @classmethod
    def load(cls, values: Mapping[str, object]) -> Settings:
        """Settings from configuration text or Python values; :class:`ConfigError` names the bad one."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _config_error(error) from None


def default_text(name: str) -> str:
    """The default of a setting as a configuration file holds it."""
    default = Settings.model_fields[name].default
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, timedelta):
        return format_duration(default)
    return " ".join(default) if isinstance(default, tuple) else str(default)


def _config_error(error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    field = Settings.model_fields.get(name)
    if field is None:
        known = ", ".join(sorted(Settings.model_fields))
        return ConfigError(f"[{SECTION}] has no setting {name!r}", hint=f"the settings are: {known}")
    example = f"; for example {name} = {field.examples[0]}" if field.examples else ""
    return ConfigError(f"[{SECTION}] {name}: {first['msg']}", hint=f"correct [{SECTION}] {name}{example}")
