"""URLs without secrets, and texts without control characters."""

import pickle
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refspace.errors import JobError, RefspaceError, RemoteError, StoreError, safe_cause
from refspace.safe_text import (
    escaped,
    has_surrogate,
    places_in,
    secrets_in,
    shown,
    url_identity,
    without_secrets,
    without_secrets_in,
    without_values,
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a/b?c@d.nrrd", "a/b?c@d.nrrd"),
        ("C:/me@work/a?b", "C:/me@work/a?b"),
        ("s3://bucket/a.zarr", "s3://bucket/a.zarr"),
        ("s3://bucket/a#1.zarr", "s3://bucket/a#1.zarr"),
        ("https://me@host/a", "https://host/a"),
        ("https://me:pw@host:8080/a@2x.png", "https://host:8080/a@2x.png"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
        ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
        ("http://me:pw@[::1]:80/a", "http://[::1]:80/a"),
        ("https://me:p@w@host/a", "https://host/a"),
        ("https://me:p/w@host/a", "https://host/a"),
        ("https://me:p?w@host/a", "https://host/a"),
        ("https://me:p#w@host/a", "https://host/a"),
        ("https://me:1/pw@host: gone", "https://me:1/pw@host: gone"),  # a port, and a path
        ("https://host/a?sig=1&v=2&x=3", "https://host/a?v=2"),
        ("https://host/a?V=2;token=3", "https://host/a?V=2"),
        ("https://host/a?signature", "https://host/a"),
        ("https://host/a#access_token=1", "https://host/a"),
        ("https://host/a?sig=1#b", "https://host/a"),
        ("https://host/a?sig=1: zarr.json is gone", "https://host/a: zarr.json is gone"),
        ("see (https://host/a?sig=1), or b", "see (https://host/a), or b"),
        ("simplecache::https://me:pw@host/a?sig=1", "simplecache::https://host/a"),
        ("zip://a?b=1::https://me@host/a?sig=1", "zip://a::https://host/a"),
        ("of https://me@a/ and https://me@b/?x=1 both", "of https://a/ and https://b/ both"),
        ("folder /here/https:/me:pw@host/a is gone", "folder /here/https:/host/a is gone"),
        ("https:/host/a?sig=1", "https:/host/a"),
        ("https://host/my atlas/a.zarr?sig=1&v=2", "https://host/my atlas/a.zarr?v=2"),
        ("s3://b/two  blanks\tand ?key=1: gone", "s3://b/two  blanks\tand : gone"),
        ("https://host/a b#access_token=1, c", "https://host/a b, c"),
        ("https://host/a?v=1 &X-Amz-Signature=2", "https://host/a?v=1 "),
        ("https://host/a. Is it there? x=1 & y=2", "https://host/a. Is it there? x=1 & y=2"),
        ("is it a?b=1 there", "is it a?b=1 there"),
        (
            "https://api.brain-map.org/query.json?q=model::Structure,rma::criteria",
            "https://api.brain-map.org/query.json?q=model::Structure,rma::criteria",
        ),
    ],
)
def test_secrets_of_urls(text, kept):
    assert without_secrets(text) == kept


def test_secrets_after_a_blank_are_known_to_errors_and_kept_from_stores():
    url = "https://host/my atlas/a.zarr?token=12345&part=67890 &sig=abcde"
    assert secrets_in(url)["url"] == ["12345", "67890", "abcde"]
    assert "12345" not in url_identity(url)
    kept = without_secrets_in({"source": url, "page": "https://host/a b?p=5"})
    assert kept == {
        "source": "https://host/my atlas/a.zarr?part=67890 ",
        "page": "https://host/a b?p=5",
    }
    assert without_secrets(kept) == kept


PASSWORDS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs")), min_size=6).filter(
    lambda text: not text.isspace()
)


@given(PASSWORDS, st.sampled_from(["https", "http", "s3", "ftp"]), st.sampled_from(["", ":81"]))
def test_passwords_that_are_written_as_urls_want_it(password, protocol, port):
    text = quote(password, safe="!$'()*,;=")
    url = f"{protocol}://me:{text}@host{port}/a.zarr"
    for message in (url, f"{url}: is gone", f"'{url}' is gone", f"ends in {url}"):
        assert f"me:{text}" not in without_secrets(message)
        assert f"{protocol}://host{port}/a.zarr" in without_secrets(message)
    assert text in secrets_in(url)["url"]
    assert password in secrets_in(url)["url"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://h/a?sig=1", "https://h/a?sig=2", True),
        ("https://h/a?X-Amz-Date=1&X-Amz-Signature=2", "https://h/a?X-Amz-Date=3", True),
        ("https://me:pw@h/a", "https://you:wp@h/a", True),
        ("https://h/a?part=1", "https://h/a?part=2", False),
        ("https://h/a?part=1", "https://h/a", False),
        ("https://h/a?v=1", "https://h/a?v=2", False),
        ("https://h/a", "https://h/b", False),
        ("https://h/a#1", "https://h/a#2", False),
        ("a?x", "a?y", False),
    ],
)
def test_identities_of_urls(one, other, same):
    assert (url_identity(one) == url_identity(other)) is same
    for url in (one, other):
        assert "pw" not in url_identity(url)
        url_identity(url).encode()


def test_identities_can_be_stored():
    assert url_identity("a\udcff.nrrd") == r"a\udcff.nrrd"


def test_values_of_options():
    options = {"key": "AKIA", "deep": {"a": ["s3cret", 1]}, "pin": "12", "endpoint_url": "http://h"}
    assert without_values("AKIA s3cret 12 http://h", options) == "… … 12 http://h"
    assert places_in(options) == {"endpoint_url": "http://h"}
    assert places_in({"region_name": None, "a": {}, "protocol": 1}) == {"protocol": 1}


def test_values_that_are_no_texts_stay():
    values = {"a": 1, "b": [None, 2.5, {"c": True}], "d": ("x",), "e": "https://me@h/?page=2#x"}
    assert without_secrets_in(values) == {**values, "e": "https://h/?page=2&x"}


@given(st.text())
def test_what_is_shown_can_be_printed(text):
    line = shown(text)
    line.encode()
    assert all(sign.isprintable() or sign in "\n\t" or ord(sign) >= 0xA0 for sign in line)
    assert escaped(line, "\n\t") == line
    assert not has_surrogate(line)


@pytest.mark.parametrize("kind", [RefspaceError, StoreError, RemoteError])
def test_errors_hold_no_secret_however_they_are_made(kind):
    error = kind("https://me:pw12@host/a?sig=1 is\x1b gone")
    error.add_note("as was s3://me:pw12@bucket\x07")
    again = pickle.loads(pickle.dumps(error))
    for each in (error, again):
        assert str(each) == r"https://host/a is\x1b gone"
        assert "pw12" not in repr(each)
    assert error.__notes__ == [r"as was s3://bucket\x07"]
    error.args = ("set: https://me:pw12@host/",)
    assert str(error) == "set: https://host/"
    assert kind("a", 1).args == ("a", 1)


def test_errors_of_jobs_hold_no_secret():
    error = JobError("gone", {"https://me:pw12@host/a": "https://h/?sig=pw12 is not there"})
    again = pickle.loads(pickle.dumps(error))
    assert again.failures == {"https://host/a": "https://h/ is not there"}
    assert "pw12" not in str(again)


def test_causes_hold_no_secret():
    harmless = ValueError("no")
    assert safe_cause(harmless) is harmless
    first = OSError("https://me:pw12@host/ is gone")
    second = KeyError("later")
    second.__cause__ = first
    noted = ValueError("no")
    noted.add_note("at https://me:pw12@host/")
    for error in (first, second, noted, KeyError("AKIA")):
        cause = safe_cause(error, {"key": "AKIA"})
        assert isinstance(cause, RemoteError)
        assert cause.__cause__ is None
        assert "pw12" not in str(cause)
        assert "AKIA" not in str(cause)
