from __future__ import annotations

import pytest
from pydantic import ValidationError

from offload_backend.errors import ConfigError
from offload_backend.settings import Settings

SECRET = "hunter2-secret"


def test_every_setting_has_a_default_a_description_and_an_accepted_example():
    defaults = Settings()
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.examples, name
        assert getattr(Settings.load({name: field.examples[0]}), name) != getattr(defaults, name), name


def test_values_may_be_text_as_configuration_files_hold_them():
    loaded = Settings.load(
        {"inline_limit": " 100 ", "read_timeout": "2.5", "reclaim": "never", "read_paths": " s3://a  file:///b\n"}
    )
    assert loaded.inline_limit == 100
    assert loaded.read_timeout == 2.5
    assert loaded.read_paths == ("s3://a", "file:///b")
    assert Settings.load({"read_paths": ""}).read_paths == ()
    assert Settings.load({"read_paths": ["s3://a"]}).read_paths == ("s3://a",)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("inline_limit", "-1"),
        ("inline_limit", "64k"),
        ("max_value_bytes", "0"),
        ("compression_level", "20"),
        ("compression_level", "-1"),
        ("reclaim", "maybe"),
        ("transport", "ftp"),
        ("codec", "yaml"),
        ("copy_unchanged", "perhaps"),
        ("allowed_classes_regexp", "my_company\\.("),
        ("concurrency", "0"),
        ("concurrency", "65"),
        ("part_size", "5242879"),
        ("give_up_after", "0s"),
        ("give_up_after", "5"),
        ("connect_timeout", "0"),
        ("read_timeout", "-1"),
        ("deployment", ""),
        ("deployment", "a/b"),
        ("deployment", ".."),
        ("deployment", "d" * 65),
        ("deployment", "prod\nx"),
        ("path", "s3://bucket/a#b"),
        ("path", "s3://bucket/a?b"),
        ("path", "s3://bucket/a b"),
        ("read_paths", "s3://bucket/a#b"),
        ("storage_options", "[1]"),
        ("storage_options", "not json"),
    ],
)
def test_a_bad_value_is_a_config_error_that_names_the_setting_and_an_example(name, wrong):
    with pytest.raises(ConfigError) as caught:
        Settings.load({name: wrong})
    assert f"[offload_backend] {name}" in caught.value.message
    assert f"{name} = {Settings.model_fields[name].examples[0]}" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "extreme"),
    [
        ("inline_limit", 0),
        ("max_value_bytes", 1),
        ("compression_level", 1),
        ("compression_level", 19),
        ("concurrency", 1),
        ("concurrency", 64),
        ("part_size", 5 * 2**20),
        ("part_size", 2**30),
        ("deployment", "d" * 64),
        ("deployment", "-"),
    ],
)
def test_the_extremes_are_accepted(name, extreme):
    assert getattr(Settings.load({name: extreme}), name) == extreme


def test_an_unknown_setting_is_a_config_error_that_lists_the_known_ones():
    with pytest.raises(ConfigError, match="no setting 'inline_limits'") as caught:
        Settings.load({"inline_limits": 5})
    assert "inline_limit" in caught.value.hint
    assert "storage_options" in caught.value.hint


@pytest.mark.parametrize("wrong", [f'{{"secret": "{SECRET}"', f'["{SECRET}"]', f'"{SECRET}"', SECRET])
def test_a_bad_storage_options_is_not_repeated_in_the_error(wrong):
    with pytest.raises(ConfigError) as caught:
        Settings.load({"storage_options": wrong})
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_storage_options_are_a_dictionary_and_do_not_show():
    for given in (f'{{"secret": "{SECRET}"}}', {"secret": SECRET}):
        loaded = Settings.load({"storage_options": given})
        assert loaded.options == {"secret": SECRET}
        assert SECRET not in repr(loaded)
        assert SECRET not in str(loaded)
    assert Settings().options == {}


def test_settings_cannot_be_changed_but_replaced():
    first = Settings.load({"path": "s3://b", "storage_options": {"key": "k"}})
    with pytest.raises(ValidationError):
        first.path = "s3://c"
    second = first.replaced({"inline_limit": 5})
    assert (second.path, second.options, second.inline_limit) == ("s3://b", {"key": "k"}, 5)
    assert first.inline_limit == 65_535
    with pytest.raises(ConfigError):
        first.replaced({"inline_limit": -5})


@pytest.mark.parametrize(
    ("given", "kept"),
    [("s3://b/p/", "s3://b/p"), (" s3://b/p// ", "s3://b/p"), ("memory://", "memory://"), ("", "")],
)
def test_a_path_ends_without_a_slash(given, kept):
    assert Settings.load({"path": given}).path == kept


def test_the_inline_limit_is_what_airflow_warns_about():
    assert Settings().inline_limit == 65_535


def test_the_classes_that_airflow_deserializes_are_allowed_beside_our_own():
    own = Settings.load({"allowed_classes": "a.* b.C", "allowed_classes_regexp": r"c\..*"})
    both = own.beside_airflow(peer_path="", row_limit=0, classes=["airflow.*"], classes_regexp=["d"])
    assert both.allowed_classes == ("a.*", "b.C", "airflow.*")
    assert both.allowed_classes_regexp == (r"c\..*", "d")
    assert own.beside_airflow(peer_path="", row_limit=0) == own
