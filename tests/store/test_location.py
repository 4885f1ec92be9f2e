"""Where runs may be, and what cannot be a place."""

from __future__ import annotations

from pathlib import Path

import pytest

from raybench.records import InputError
from raybench.store.location import ObjectUri, parse_location


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://my-bucket/team/runs", ObjectUri("s3", "my-bucket", "team/runs")),
        ("s3://my-bucket/team/runs/", ObjectUri("s3", "my-bucket", "team/runs")),
        ("s3://my.bucket", ObjectUri("s3", "my.bucket")),
        ("s3://my-bucket/", ObjectUri("s3", "my-bucket")),
        ("gs://my_bucket/a=1/.x-1_y..z", ObjectUri("gs", "my_bucket", "a=1/.x-1_y..z")),
        ("data/runs", Path("data/runs")),
        ("/x/a[1]?", Path("/x/a[1]?")),
        ("..", Path("..")),
    ],
)
def test_a_place_is_a_path_or_a_uri(text: str, expected: object) -> None:
    assert parse_location(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\0b",
        "s3://",
        "s3:///x",
        "s3://b",
        "s3://Bucket/x",
        "s3://-bucket/x",
        "s3://my-bucket//x",
        "s3://my-bucket/x//",
        "s3://my-bucket/./x",
        "s3://my-bucket/../x",
        "s3://my-bucket/x/..",
        "s3://my-bucket/x?versionId=1",
        "s3://my-bucket/x#y",
        "s3://my-bucket/x%2e%2e",
        "s3://my-bucket/x*",
        "s3://my-bucket/[x]",
        "s3://my-bucket/x y",
        "s3://my-bucket/x'y",
        "s3://my-bucket/x\ny",
        "s3://my-bucket\n/x",
        "s3://my-bucket/é",
        "s3://my-bucket:9000/x",
        "s3://my-bucket/" + "x" * 701,
        "s3://my-bucket/" + "x" * 256,
        "S3://my-bucket/x",
        "http://my-bucket/x",
        "file:///tmp/x",
        "azure://x/y",
        "s3:/my-bucket/x",
        "gs:/my-bucket",
    ],
)
def test_what_names_no_place_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_location(text)
    assert "\n" not in str(caught.value)


def test_credentials_in_a_uri_are_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match="no credentials in the URI") as caught:
        parse_location("s3://AKIAKEY:secret@my-bucket/x")
    assert "secret" not in str(caught.value)
    assert "AKIAKEY" not in str(caught.value)


def test_uris_are_joined_and_named_as_paths_are() -> None:
    runs = parse_location("s3://my-bucket/team")
    assert isinstance(runs, ObjectUri)
    run = runs / "one"
    assert (str(run), run.name) == ("s3://my-bucket/team/one", "one")
    assert str(run / "samples/x.parquet") == "s3://my-bucket/team/one/samples/x.parquet"
    assert (str(ObjectUri("s3", "my-bucket")), ObjectUri("s3", "my-bucket").name) == ("s3://my-bucket", "my-bucket")
    for name in ("..", "", "/x", "x/", "a/../b", "a\\b"):
        with pytest.raises(InputError, match="cannot be a part of it"):
            runs / name


def test_a_place_lies_in_its_parent() -> None:
    run = parse_location("s3://bucket/lora/first")
    assert isinstance(run, ObjectUri)
    assert (str(run.parent), str(run.parent.parent)) == ("s3://bucket/lora", "s3://bucket")
    assert run.parent / "first" == run
