"""Addresses of stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from metatune.errors import StoreAddressError
from metatune.experience.address import parse_address


@pytest.mark.parametrize("text", ["store", "./a/../store", "store/"])
def test_a_relative_folder_is_made_absolute(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = parse_address(text)
    assert address.uri == address.root == str(tmp_path / "store")
    assert address.is_local
    assert parse_address(address.uri) == address


def test_home_and_file_addresses_are_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_address("~/.metatune").root == str(tmp_path / ".metatune")
    assert parse_address(Path("~/.metatune")).root == str(tmp_path / ".metatune")
    assert parse_address("file:///a%20b/c/").root == "/a b/c"


def test_an_s3_address_keeps_its_options() -> None:
    uri = "s3://bucket/some/prefix/?region=eu-west-1&endpoint_override=127.0.0.1:9&scheme=http"
    address = parse_address(uri)
    assert (address.uri, address.root, address.is_local) == (uri, "bucket/some/prefix", False)
    assert address.filesystem.region == "eu-west-1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "store '' is no address; give a folder, file:///folder or s3://bucket/prefix"),
        ("gopher://b/x", "store 'gopher://b/x': scheme 'gopher' is unknown; give a folder"),
        ("gs://b/x", "scheme 'gs' is unknown"),
        ("s3:/b", "names no bucket"),
        ("s3://", "store 's3://' names no bucket"),
        ("s3://b/x?colour=red", "'colour'.*give a folder"),
        ("file://elsewhere/x", "elsewhere"),
        ("~nobody-of-that-name/x", "store '~nobody-of-that-name/x': "),
        ("a\0b", "is no address"),
    ],
)
def test_what_is_no_address_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(StoreAddressError, match=message) as caught:
        parse_address(text)
    assert "\n" not in str(caught.value)


def test_credentials_in_an_address_are_refused_and_not_shown() -> None:
    with pytest.raises(StoreAddressError, match="set AWS_ACCESS_KEY_ID") as caught:
        parse_address("s3://me:secret@bucket/x")
    assert "secret" not in str(caught.value)
    assert "me:" not in str(caught.value)
