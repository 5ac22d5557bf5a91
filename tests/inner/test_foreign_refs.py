"""A ref is data that others can write: it reads nothing outside the configured locations."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload_backend.errors import BlobNotFoundError, ConfigError, ForeignRefError, OffloadError
from offload_backend.location import shown
from offload_backend.stores.local import LocalBlobStore
from tests.inner.stores import BIG, HOME, TASK, Stores, a_ref, changed, name_in
from tests.inner.values import THOROUGH

ID = "01999999-0000-7000-8000-000000000001"
NAME = f"v1/default/task/d/r/t/-1/k/{ID}.json.zst"
FACTS = f"#offload=1&size=300&raw=1&seal=121&blake3={'0' * 64}&codec=json&frames=sealed"
OLD_FACTS = f"#offload=1&size=1&raw=1&sha256={'0' * 64}&codec=json&frames=zstd"

OUTSIDE = [
    f"s3://other/prefix/{NAME}",
    f"s3://bucket/prefix-evil/{NAME}",
    f"s3://bucket/prefi/{NAME}",
    f"s3://bucket/{NAME}",
    f"s3://bucket/other/prefix/{NAME}",
    f"s3://bucket-evil/prefix/{NAME}",
    f"s3://bucket.evil/prefix/{NAME}",
    f"s3://BUCKET/prefix/{NAME}",
    f"gs://bucket/prefix/{NAME}",
    f"file:///prefix/{NAME}",
    f"file://bucket/prefix/{NAME}",
    f"memory://bucket/prefix/{NAME}",
    f"http://bucket/prefix/{NAME}",
    "file:///etc/passwd",
    f"s3://bucket/prefix/../other/{NAME}",
    f"s3://bucket/other/../prefix/{NAME}",
    f"s3://bucket/prefix/./{NAME}",
    f"s3://bucket/prefix//{NAME}",
    f"s3://bucket//prefix/{NAME}",
    f"s3://bucket/./prefix/{NAME}",
    f"s3://bucket/prefix/v1/../{NAME}",
    "s3://bucket/prefix/../../etc/passwd",
    "s3://bucket/prefix/..",
    "s3://bucket/prefix/.",
    "s3://bucket/prefix/",
    "s3://bucket/prefix",
    "s3://bucket",
    f"s3://bucket/prefix/{NAME}/",
    f"s3://bucket/prefix/{NAME}/..",
    f"s3://bucket/prefix\\{NAME}",
    f"s3://bucket/prefix/..\\{NAME}",
    f"s3://bucket/prefix/{NAME}?versionId=1",
    f"s3://bucket%2Fprefix/{NAME}",
    "simplecache::s3://bucket/prefix/x",
    f"s3://bucket/prefix/x::file:///etc/{NAME}",
]

NOT_OURS = [
    f"s3://bucket/prefix/x/{NAME}",
    "s3://bucket/prefix/dag/run/task/-1/key",
    f"s3://bucket/prefix/{NAME}.gz/x",
    f"s3://bucket/prefix/{NAME.replace('v1', 'v2')}",
    f"s3://bucket/prefix/{NAME.replace(ID, 'x')}",
    f"s3://bucket/prefix/{NAME.replace('/k/', '/')}",
    f"s3://bucket/prefix/{NAME.replace('default/', '')}",
    "s3://bucket/prefix/v1/default/",
    "s3://bucket/prefix/.offload-owner.json",
]


@pytest.mark.parametrize("url", [*OUTSIDE, *NOT_OURS])
@pytest.mark.parametrize("facts", [FACTS, OLD_FACTS], ids=["sealed", "zstd"])
def test_a_ref_outside_the_locations_or_the_grammar_is_foreign_and_nothing_is_fetched(stores, url, facts):
    store = stores.open(HOME)
    with pytest.raises(ForeignRefError) as caught:
        stores.offloader().resolve(f"{url}{facts}")
    assert store.calls == []
    assert caught.value.location in (None, shown(url))


@pytest.mark.parametrize("url", OUTSIDE)
def test_a_bare_url_outside_the_locations_is_foreign_and_nothing_is_fetched(stores, url):
    store = stores.open(HOME)
    with pytest.raises(OffloadError) as caught:
        stores.offloader().resolve(url)
    assert isinstance(caught.value, ForeignRefError)
    assert store.calls == []


@pytest.mark.parametrize("segment", ["%2E", "%2e%2E", ".%2e", "%2E.", "..", "."])
def test_a_bare_url_with_dots_that_a_driver_might_decode_is_foreign(stores, segment):
    store = stores.open(HOME)
    with pytest.raises(ForeignRefError):
        stores.offloader().resolve(f"{HOME}/{segment}/other/key")
    assert store.calls == []


def test_the_hint_of_a_foreign_ref_names_the_setting(stores):
    with pytest.raises(ForeignRefError) as caught:
        stores.offloader().resolve(f"s3://other/prefix/{NAME}{FACTS}")
    assert "read_paths" in caught.value.hint
    assert caught.value.location == f"s3://other/prefix/{NAME}"


def test_a_foreign_scheme_opens_no_store(stores):
    with pytest.raises(ForeignRefError):
        stores.offloader().resolve(f"file:///etc/{NAME}{FACTS}")
    assert stores.opened == []


@THOROUGH
@given(
    st.lists(
        st.sampled_from(
            ["bucket", "prefix", "..", ".", "", "v1", "default", "%2E%2E", "..%2F", "x", "s3:", "\\..", NAME]
        ),
        max_size=9,
    ),
    st.sampled_from(["s3://", "s3://bucket/prefix/", "s3://bucket/", "file:///", "S3://bucket/prefix/", "s3a://"]),
    st.sampled_from(["", FACTS, OLD_FACTS]),
)
def test_no_combination_of_segments_reaches_a_name_outside(segments, start, facts):
    stores = Stores()
    store = stores.open(HOME)
    fetched = []
    store.get = lambda name: fetched.append(name) or iter([b'"leaked"'])
    store.read_into = lambda name, *_: fetched.append(name)
    with contextlib.suppress(OffloadError):
        stores.offloader().resolve(f"{start}{'/'.join(segments)}{facts}")
    assert set(stores.at) == {HOME}
    for name in fetched:
        assert not set(name.split("/")) & {"", ".", ".."}
        assert not facts or name == NAME


@pytest.mark.parametrize("user", ["evil@", "user:password@", "evil@other@"])
def test_a_connection_inside_a_ref_of_ours_is_refused(stores, user):
    offloader = stores.offloader()
    text = offloader.offload(BIG, TASK, "k")
    with pytest.raises(ForeignRefError):
        offloader.resolve(text.replace("s3://", f"s3://{user}"))
    assert stores.opened == [HOME]


@pytest.mark.parametrize("user", ["", "conn_id@", "another@", "user:password@"])
def test_the_connection_inside_a_peers_url_is_not_used(stores, user):
    stores.open("s3://mine@bucket/prefix").put("dag/run/task/-1/k.gz", [b'{"a": 1}'])
    stores.opened.clear()
    offloader = stores.offloader(path="s3://mine@bucket/prefix")
    assert offloader.resolve(f"s3://{user}bucket/prefix/dag/run/task/-1/k.gz") == {"a": 1}
    assert stores.opened == ["s3://mine@bucket/prefix"]


def test_the_ref_of_another_deployment_is_foreign_and_says_whose_it_is(stores):
    text = stores.offloader(deployment="test").offload(BIG, TASK, "k")
    with pytest.raises(ForeignRefError, match="deployment 'test', this is 'prod'") as caught:
        stores.offloader(deployment="prod").resolve(text)
    assert "[offload_backend] deployment" in caught.value.hint
    assert stores.at[HOME].calls == ["put"]


def test_read_paths_are_read_and_never_written_to(stores):
    old = "s3://conn@old/state"
    text = stores.offloader(path=old).offload(BIG, TASK, "k")
    moved = stores.offloader(read_paths=(old, "s3://older"))
    assert moved.resolve(text) == BIG
    assert moved.discard([text]).deleted == ()
    new = moved.offload(BIG, TASK, "k")
    assert a_ref(new).url.startswith(f"{HOME}/")
    assert stores.at["s3://old/state"].calls == ["put", "get"]
    with pytest.raises(ForeignRefError):
        stores.offloader().resolve(text)


def test_without_a_path_the_read_paths_can_still_be_read(stores):
    text = stores.offloader().offload(BIG, TASK, "k")
    assert stores.offloader(path="", read_paths=(HOME,)).resolve(text) == BIG


def test_without_any_path_a_ref_is_foreign(stores):
    with pytest.raises(ForeignRefError):
        stores.offloader(path="").resolve(f"{HOME}/{NAME}{FACTS}")


def test_a_path_that_names_no_place_is_a_config_error(stores):
    with pytest.raises(ConfigError):
        stores.offloader(path="s3://").resolve(f"{HOME}/{NAME}{FACTS}")


def test_other_spellings_of_the_location_are_the_same_place(stores):
    text = stores.offloader(path="s3a://conn@bucket/prefix/").offload(BIG, TASK, "k")
    assert stores.offloader(path="s3://bucket/prefix").resolve(text) == BIG
    assert stores.offloader().resolve(text.replace("s3://", "S3A://")) == BIG


def test_a_symbolic_link_out_of_the_location_is_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(b'"leaked"')
    base = tmp_path / "base"
    (base / "dag").mkdir(parents=True)
    (base / "dag" / "link").symlink_to(tmp_path / "secret")
    (base / "away").symlink_to(tmp_path)
    stores = Stores()
    stores.open = LocalBlobStore
    offloader = stores.offloader(path=f"file://{base}")
    for name in ("dag/link", "away/secret", "../secret"):
        with pytest.raises((ForeignRefError, BlobNotFoundError)):
            offloader.resolve(f"file://{base}/{name}")


# --- discard ---


def test_discard_deletes_exactly_the_blobs_that_are_named(stores):
    offloader = stores.offloader(inline_limit=0)
    texts = [offloader.offload(n, TASK, "k") for n in range(4)]
    names = list(map(name_in, texts))
    report = offloader.discard(iter([texts[0], texts[2], texts[0]]))
    assert set(report.deleted) == {names[0], names[2]}
    assert report.failed == {}
    assert set(stores.at[HOME].names()) == {names[1], names[3]}


def test_discarding_what_is_gone_is_done(stores):
    offloader = stores.offloader()
    text = offloader.offload(BIG, TASK, "k")
    assert offloader.discard([text]) == offloader.discard([text])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        '{"a": 1}',
        "not json",
        "s3://bucket/prefix/dag/run/task/-1/key",
        f"{HOME}/{NAME}",
        f"s3://bucket/prefix/x{FACTS}",
        *(f"{url}{FACTS}" for url in (*OUTSIDE, *NOT_OURS)),
        f"{HOME}/{NAME.replace('default', 'other')}{FACTS}",
        f"{HOME}/{NAME}{FACTS}&unknown=1",
        f"{HOME}/{NAME}{FACTS.replace('offload=1', 'offload=2')}",
        f"s3://conn@bucket/prefix/{NAME}{FACTS}",
    ],
)
def test_discard_leaves_alone_what_is_not_a_ref_of_ours(stores, text):
    stores.open(HOME).put(NAME, [b"x"])
    stores.open(HOME).put("x", [b"x"])
    stores.at[HOME].calls.clear()
    assert stores.offloader().discard([text]).deleted == ()
    assert stores.offloader().blob_of(text) is None
    assert stores.at[HOME].calls == []


def test_discard_without_a_path_does_nothing(stores):
    text = f"{HOME}/{NAME}{FACTS}"
    for path in ("", "s3://"):
        assert stores.offloader(path=path).discard([text]).deleted == ()
    assert stores.opened == []


def test_discard_reports_the_trouble_of_the_store_and_never_raises(stores):
    offloader = stores.offloader(inline_limit=0)
    texts = [offloader.offload(n, TASK, "k") for n in range(3)]
    store = stores.at[HOME]
    store.fails = {"delete"}
    report = offloader.discard(texts)
    assert report.failed == dict.fromkeys(map(name_in, texts), "the network is down")
    store.fails = {"some deletes"}
    report = offloader.discard(texts)
    assert len(report.deleted) == 1
    assert set(report.failed.values()) == {"access denied"}


def test_a_discard_whose_store_cannot_be_opened_is_reported(stores):
    text = stores.offloader().offload(BIG, TASK, "k")

    def refuse(path):
        raise ConfigError("unknown connection 'x'")

    stores.open = refuse
    assert stores.offloader().discard([text]).failed == {name_in(text): "unknown connection 'x'"}


def test_the_blob_of_a_ref_is_told_without_opening_a_store(stores):
    blob = stores.offloader().blob_of(f"{HOME}/{NAME}{FACTS}")
    assert blob is not None
    assert (blob.deployment, blob.scope, blob.key, blob.id) == ("default", "task/d/r/t/-1", "k", ID)
    assert stores.opened == []


def test_every_pair_of_deployments_is_apart(stores):
    texts = {name: stores.offloader(deployment=name).offload(BIG, TASK, "k") for name in ("a", "b", "A", "a-b")}
    for owner, other in itertools.permutations(texts, 2):
        with pytest.raises(ForeignRefError):
            stores.offloader(deployment=owner).resolve(changed(texts[other]))
        assert stores.offloader(deployment=owner).discard([texts[other]]).deleted == ()
