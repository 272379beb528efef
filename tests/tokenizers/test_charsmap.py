"""A character map that could lead outside of itself is refused before it is walked."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from tests.tokenizers.folders import make, t5_unigram, write
from tfcli.errors import WorkError
from tfcli.tokenizers.charsmap import check_charsmap
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.spm_model import read_spm


@pytest.fixture(scope="module")
def charsmap(tmp_path_factory):
    folder = write(tmp_path_factory.mktemp("map"), {"m.model": t5_unigram()})
    return read_spm(folder / "m.model").charsmap


def split(charsmap):
    size = int.from_bytes(charsmap[:4], "little")
    return np.frombuffer(charsmap, "<u4", size // 4, offset=4).copy(), charsmap[4 + size :]


def join(units, text):
    return (units.size * 4).to_bytes(4, "little") + units.tobytes() + text


def test_a_real_map_is_sound(charsmap):
    assert len(charsmap) > 10_000
    check_charsmap(charsmap, "here")


def test_damage_is_seen(charsmap):
    units, text = split(charsmap)
    root = units.copy()
    root[0] = (len(units) << 10) & 0x7FFFFFFF  # the first step leads outside
    leaf = units.copy()
    leaf[np.flatnonzero(units >> 31)] = (1 << 31) | len(text)  # a replacement after the last
    bad = {
        "empty": b"",
        "short": b"\x00\x04",
        "no array": b"\x00\x00\x00\x00abc\x00",
        "longer than the file": b"\xff\xff\xff\x7f" + charsmap[4:],
        "odd length": b"\x07\x00\x00\x00" + charsmap[4:],
        "root": join(root, text),
        "leaf": join(leaf, text),
        "half a character": join(units, text.replace("é".encode(), b"\xc3\x00", 1)),
    }
    for name, data in bad.items():
        with pytest.raises(WorkError, match="damaged") as error:
            check_charsmap(data, name)
        assert error.value.where == name


def test_a_map_to_long_texts_is_refused(charsmap):
    units, text = split(charsmap)
    check_charsmap(join(units, text + b"z" * 256 + b"\0"), "here")
    for long in (text + b"z" * 257 + b"\0", text + b"z" * 1_000_000):
        with pytest.raises(WorkError, match="puts a text of") as error:
            check_charsmap(join(units, long), "here")
        assert error.value.where == "here"


def test_that_of_a_tokenizer_json_is_checked_too(charsmap, tmp_path):
    tokenizer = load_tokenizer(make(tmp_path / "t5", "t5"))
    content = json.loads(tokenizer.backend.to_str())
    units, text = split(charsmap)
    units[0] = (len(units) << 10) & 0x7FFFFFFF
    part = {
        "type": "Precompiled",
        "precompiled_charsmap": base64.b64encode(join(units, text)).decode(),
    }
    for place, normalizer in enumerate((part, {"type": "Sequence", "normalizers": [part]})):
        folder = write(
            tmp_path / str(place), {"tokenizer.json": {**content, "normalizer": normalizer}}
        )
        with pytest.raises(WorkError, match=r"character map .* is damaged"):
            load_tokenizer(folder)
    for number, text in enumerate((base64.b64encode(b"\xff").decode(), "ä", 5)):
        part["precompiled_charsmap"] = text
        folder = write(tmp_path / f"n{number}", {"tokenizer.json": {**content, "normalizer": part}})
        with pytest.raises(WorkError, match="charsmap"):
            load_tokenizer(folder)
