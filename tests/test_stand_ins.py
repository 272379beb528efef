"""Files that came in the place of a download are called what they are, whoever reads them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.checkpoints.models import tiny
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.folder import save_model
from tfcli.errors import WorkError
from tfcli.stand_ins import refuse_stand_in
from tfcli.tokenizers.load import load_tokenizer

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0a1b\nsize 4976698672\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n"
STAND_INS = {"is a pointer of Git LFS": POINTER, "is a web page": PAGE}


@pytest.mark.parametrize("said", STAND_INS)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "config.json"])
def test_in_a_folder_of_weights(tmp_path: Path, name: str, said: str) -> None:
    save_model(tiny(), tmp_path)
    if name != "config.json":
        (tmp_path / "model.safetensors").unlink()
    (tmp_path / name).write_bytes(STAND_INS[said])
    with pytest.raises(WorkError, match=said) as refused:
        open_checkpoint(tmp_path)
    assert str(refused.value.where).endswith(name)


@pytest.mark.parametrize("said", STAND_INS)
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model"])
def test_in_the_place_of_a_tokenizer(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(STAND_INS[said])
    with pytest.raises(WorkError, match=said):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("alone", [True, False], ids=["the file", "its folder"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (POINTER, "is a pointer of Git LFS"),
        (PAGE, "is a web page"),
        (b"tjgg\3\0\0\0", "of before GGUF"),
        (b"", "is no GGUF file"),
    ],
)
def test_in_the_place_of_a_gguf_file(
    tmp_path: Path, content: bytes, said: str, alone: bool
) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(WorkError, match=said):
        open_checkpoint(tmp_path / "m.gguf" if alone else tmp_path)


def test_what_is_what_its_name_says_passes(tmp_path: Path) -> None:
    for name, content in {"a.gguf": b"GGUF\3", "b.json": b"{}", "c.html": b"<p>", "d": b""}.items():
        (tmp_path / name).write_bytes(content)
        refuse_stand_in(tmp_path / name)
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for someone who writes
    refuse_stand_in(tmp_path / "pipe")
