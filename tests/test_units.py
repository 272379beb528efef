"""Sizes in words."""

from __future__ import annotations

import pytest

from tfcli.units import format_bytes, format_count, parse_bytes, plural


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5GB", 5_000_000_000),
        ("500MB", 500_000_000),
        ("1.5 GiB", 3 * 2**29),
        ("2g", 2_000_000_000),
        (".5kb", 500),
        ("123", 123),
        (123, 123),
        ("64B", 64),
    ],
)
def test_parse(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "5XB", "-5GB", "5iB", "1e9", "0", 0, -1, "5 G B", True])
def test_refused(text: str | int) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_bytes(text)


def test_format() -> None:
    sizes = [0, 999, 1000, 9_994, 9_996, 99_960, 999_499, 999_500, 2_471_645_608, 5 * 10**15]
    assert [format_bytes(size) for size in sizes] == [
        "0 B",
        "999 B",
        "1.00 kB",
        "9.99 kB",
        "10.0 kB",
        "100 kB",
        "999 kB",
        "1.00 MB",
        "2.47 GB",
        "5.00 PB",
    ]
    assert [format_count(n) for n in (12, 1_235_814_400)] == ["12", "1.24 B"]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (12345, "12,345 files")]
)
def test_a_number_stands_with_what_it_counts(count, text):
    assert plural(count, "file") == text


def test_a_word_that_ends_in_a_hiss_takes_another_ending():
    assert plural(2, "process") == "2 processes"
    assert plural(1, "process") == "1 process"
