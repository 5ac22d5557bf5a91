from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from offload_backend.errors import ForeignRefError, UnreadableBlobError
from offload_backend.ref import BlobRef, PeerRef, format_ref, is_ref, parse_ref
from tests.inner.values import QUICK, THOROUGH, any_text, json_values

DIGEST = "0123456789abcdef" * 4
URL = "s3://bucket/prefix/v1/default/task/d/r/t/-1/k/01999999-0000-7000-8000-000000000001.json.zst"
REF = BlobRef(url=URL, size=5213, raw=34102, seal=113, digest=DIGEST, codec="json", about="list[2000]")
OLD = BlobRef(url=URL, size=5213, raw=34102, digest=DIGEST, codec="json", frames="zstd", about="list[2000]")
SECRET = BlobRef(
    url=URL, size=5213, raw=34102, seal=113, digest=DIGEST, codec="json", frames="encrypted", key="k-2026"
)
# As documented:
TEXT = f"{URL}#offload=1&size=5213&raw=34102&seal=113&blake3={DIGEST}&codec=json&frames=sealed&about=list[2000]"
OLD_TEXT = f"{URL}#offload=1&size=5213&raw=34102&sha256={DIGEST}&codec=json&frames=zstd&about=list[2000]"
SECRET_TEXT = f"{URL}#offload=1&size=5213&raw=34102&key=k-2026&seal=113&blake3={DIGEST}&codec=json&frames=encrypted"
BOTH = pytest.mark.parametrize("text", [TEXT, OLD_TEXT, SECRET_TEXT], ids=["sealed", "zstd", "encrypted"])

words = st.from_regex(r"[a-z][a-z0-9_-]{0,31}", fullmatch=True)
urls = st.from_regex(r"[a-z][a-z0-9+.-]{0,8}://[!-\"$-~]{1,80}", fullmatch=True)
sizes = st.integers(0, 10**19 - 1)
facts = {
    "url": urls,
    "size": sizes,
    "raw": sizes,
    "digest": st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    "codec": words,
    "about": st.text(max_size=60),
}
refs = (
    st.builds(BlobRef, seal=sizes, **facts)
    | st.builds(BlobRef, frames=st.just("zstd"), **facts)
    | st.builds(BlobRef, frames=st.just("encrypted"), key=words, seal=sizes, **facts)
)


def test_a_ref_has_the_documented_text():
    assert format_ref(REF) == TEXT
    assert format_ref(OLD) == OLD_TEXT
    assert format_ref(SECRET) == SECRET_TEXT


@THOROUGH
@given(refs)
@example(REF)
@example(OLD)
@example(SECRET)
@example(BlobRef(url=URL, size=0, raw=0, digest=DIGEST, codec="json", about="a&b=c#d%20+é😀 "))
def test_parsing_what_was_formatted_gives_the_same_ref(ref):
    text = format_ref(ref)
    assert text.isascii()
    assert is_ref(text)
    assert parse_ref(text) == ref


@THOROUGH
@given(any_text | st.builds("{}://{}".format, words, any_text) | st.builds(f"{TEXT}{{}}".format, any_text))
@example("s3://")
@example("s3://b/k#")
@example("s3://b/k#offload")
@example("s3://b/k#offload=1&" + "&".join(f"f{n}=1" for n in range(40)))
@example("s3://b/k\n")
@example("s3://b/k#offload=1&size=\u0661&raw=1&sha256=x&codec=json&frames=zstd")
@example(TEXT.replace("seal=113", "seal=\u0661"))
def test_arbitrary_text_is_a_ref_or_none_or_one_of_two_errors(text):
    try:
        ref = parse_ref(text)
    except (ForeignRefError, UnreadableBlobError):
        assert is_ref(text)
    else:
        assert isinstance(ref, BlobRef | PeerRef) == is_ref(text)


@QUICK
@given(
    st.sampled_from([(TEXT, REF), (OLD_TEXT, OLD), (SECRET_TEXT, SECRET)]),
    st.data(),
    st.characters(exclude_categories=()),
)
def test_one_wrong_character_gives_another_ref_or_an_error_never_the_same_facts(genuine, data, character):
    text, ref = genuine
    position = data.draw(st.integers(0, len(text) - 1))
    changed = text[:position] + character + text[position + 1 :]
    try:
        found = parse_ref(changed)
    except (ForeignRefError, UnreadableBlobError):
        return
    assert changed == text or found != ref


@THOROUGH
@given(json_values, st.booleans(), st.sampled_from([None, 1]))
@example("s3://bucket/key", False, None)
@example(True, False, None)
def test_no_json_text_is_a_ref(value, escape, indent):
    text = json.dumps(value, ensure_ascii=escape, indent=indent)
    assert not is_ref(text)
    assert parse_ref(text) is None


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "", " s3://b/k", "1://x", "://x", "a:/b", "ä://b"]
)
def test_other_texts_that_are_not_refs(text):
    assert not is_ref(text)
    assert parse_ref(text) is None


@pytest.mark.parametrize("text", ["s3://conn@bucket/dag/run/task/-1/key", "file:///base/a.gz", "S3://b/k?x=1"])
def test_a_bare_url_is_the_peers(text):
    assert parse_ref(text) == PeerRef(text)


@BOTH
@pytest.mark.parametrize("version", ["2", "10", "1.1", "", "one"])
def test_a_ref_of_another_version_says_upgrade(version, text):
    with pytest.raises(UnreadableBlobError, match="newer format") as caught:
        parse_ref(text.replace("offload=1", f"offload={version}"))
    assert "upgrade" in caught.value.hint
    assert caught.value.location == URL


@BOTH
def test_a_fact_this_version_does_not_know_is_not_ignored(text):
    with pytest.raises(UnreadableBlobError, match="'key_id', which this version does not know"):
        parse_ref(f"{text}&key_id=7")


@pytest.mark.parametrize("frames", ["aesgcm", "sealed2", "zstd_2", "z"])
def test_a_framing_this_version_does_not_know_says_upgrade(frames):
    with pytest.raises(UnreadableBlobError, match=f"has the framing '{frames}', which this version") as caught:
        parse_ref(f"{TEXT.replace('frames=sealed', f'frames={frames}')}&nonce=7")
    assert "upgrade" in caught.value.hint
    assert caught.value.location == URL


@pytest.mark.parametrize(
    ("text", "fact"),
    [(TEXT, f"sha256={DIGEST}"), (OLD_TEXT, "seal=113"), (OLD_TEXT, f"blake3={DIGEST}"), (TEXT, "key=k1")],
)
def test_what_pins_a_blob_of_one_framing_is_no_fact_of_the_other(text, fact):
    with pytest.raises(UnreadableBlobError, match="which this version does not know"):
        parse_ref(f"{text}&{fact}")


def test_an_unknown_fact_cannot_flood_the_message():
    with pytest.raises(UnreadableBlobError) as caught:
        parse_ref(f"{TEXT}&{'x' * 5000}=7")
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        *((TEXT, fact) for fact in ("offload", "size", "raw", "seal", "blake3", "codec", "frames")),
        *((OLD_TEXT, fact) for fact in ("offload", "size", "raw", "sha256", "codec", "frames")),
        *((SECRET_TEXT, fact) for fact in ("key", "seal", "blake3")),
    ],
)
def test_a_missing_fact_is_an_error(text, fact):
    rest = [pair for pair in text.partition("#")[2].split("&") if not pair.startswith(f"{fact}=")]
    assert len(rest) == text.count("&")
    with pytest.raises(ForeignRefError):
        parse_ref(f"{URL}#{'&'.join(rest)}")


@BOTH
def test_only_the_description_may_be_missing(text):
    ref = parse_ref(text.replace("&about=list[2000]", ""))
    assert isinstance(ref, BlobRef)
    assert ref.about == ""


@pytest.mark.parametrize(
    "fact", ["offload=1", "size=5213", "raw=1", "seal=113", f"blake3={DIGEST}", "codec=json", "about=x"]
)
def test_a_fact_stated_twice_is_an_error(fact):
    with pytest.raises(ForeignRefError):
        parse_ref(f"{TEXT}&{fact}")


@pytest.mark.parametrize("fact", ["size=5213", "raw=34102", "seal=113"])
@pytest.mark.parametrize("number", ["-1", "+1", "1.0", "1e3", "", "0x10", " 1", "01", "1_0", "1" * 20, "%D9%A1"])
def test_only_plain_decimal_numbers_are_sizes(fact, number):
    with pytest.raises(ForeignRefError):
        parse_ref(TEXT.replace(fact, f"{fact.partition('=')[0]}={number}"))


def test_numbers_of_nineteen_digits_are_sizes():
    ref = parse_ref(TEXT.replace("size=5213", f"size={'9' * 19}").replace("seal=113", f"seal={'9' * 19}"))
    assert isinstance(ref, BlobRef)
    assert (ref.size, ref.seal) == (10**19 - 1, 10**19 - 1)


@pytest.mark.parametrize(
    ("fact", "wrong"),
    [
        (DIGEST, DIGEST[:-1]),
        (DIGEST, f"{DIGEST}0"),
        (DIGEST, DIGEST.upper()),
        (DIGEST, "g" * 64),
        ("codec=json", "codec="),
        ("codec=json", "codec=JSON"),
        ("codec=json", "codec=../json"),
        ("codec=json", f"codec={'j' * 33}"),
        ("frames=", "frames=%0A"),
        ("frames=", "frames=7"),
        ("frames=", "frames=&about="),
    ],
)
@BOTH
def test_malformed_facts_are_errors(text, fact, wrong):
    text = text.replace("&about=list[2000]", "")
    with pytest.raises(ForeignRefError, match="incomplete or malformed"):
        parse_ref(text.replace(fact, wrong))


@pytest.mark.parametrize("key", ["", "K1", "1k", "k/1", "k%0A", "k" * 33])
def test_a_malformed_key_id_is_an_error(key):
    with pytest.raises(ForeignRefError, match="incomplete or malformed"):
        parse_ref(SECRET_TEXT.replace("key=k-2026", f"key={key}"))


@pytest.mark.parametrize("url", ["s3://", "s3://b/a b", "s3://b/a\tb", "s3://b/\n"])
def test_a_url_with_white_space_or_nothing_in_it_is_not_a_refs(url):
    with pytest.raises(ForeignRefError):
        parse_ref(url)
    with pytest.raises(ForeignRefError):
        parse_ref(f"{url}#{TEXT.partition('#')[2]}")


def test_a_fragment_that_is_not_a_list_of_facts_is_an_error():
    for fragment in ("", "section-2", "a&b", "=", "&"):
        with pytest.raises(ForeignRefError):
            parse_ref(f"{URL}#{fragment}")


@pytest.mark.parametrize("more", ["&junk", "&", "&&about=x", "&=", "&=1", ";size=1"])
def test_what_is_no_fact_beside_the_facts_is_not_ignored(more):
    with pytest.raises((ForeignRefError, UnreadableBlobError)):
        parse_ref(TEXT.replace("&about=list[2000]", more))


def test_too_many_facts_are_refused_without_reading_them_all():
    with pytest.raises(ForeignRefError, match="not a list of facts"):
        parse_ref(f"{URL}#{'&'.join(f'f{n}=1' for n in range(100_000))}")
