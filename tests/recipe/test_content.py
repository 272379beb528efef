"""What belongs to an input: everything that a step may read of it, and nothing that it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tfcli.recipe.content import digest_input, is_stream, look
from tfcli.recipe.record import RECORD, SCHEMA
from tfcli.recipe.spec import Reads


def write(path: Path, text: str = "{}") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def folder(root: Path, *names: str) -> Path:
    for name in names:
        write(root / name)
    return root


def model(root: Path) -> Path:
    return folder(root / "m", "config.json", "model.safetensors")


def weights_alone(root: Path) -> Path:
    return folder(root / "m", "config.json", "step/.metadata", "step/__0_0.distcp") / "step"


def one_file(root: Path) -> Path:
    return folder(root / "m", "config.json", "tokenizer.json", "a.safetensors") / "a.safetensors"


def linked_file(root: Path) -> Path:
    (root / "link.safetensors").symlink_to(one_file(root))
    return root / "link.safetensors"


def part_of_gguf(root: Path) -> Path:
    names = ("q-00001-of-00002.gguf", "q-00002-of-00002.gguf", "other.gguf")
    return folder(root / "m", *names) / names[0]


def tokenizer_file(root: Path) -> Path:
    return folder(root / "m", "tokenizer.json", "tokenizer_config.json") / "tokenizer.json"


def linked_folder(root: Path) -> Path:
    write(root / "elsewhere/config.json")
    (model(root) / "1_Pooling").symlink_to(root / "elsewhere")
    return root / "m"


def finished_step(root: Path) -> Path:
    record = {
        "schema": SCHEMA,
        "command": "eval",
        "key": "k",
        "spec": {},
        "inputs": {},
        "files": {},
        "result": {},
        "started": "",
        "seconds": 1.0,
        "versions": {},
        "machine": {"system": "", "processor": "", "cores": 1, "memory_bytes": 1},
    }
    write(root / "m" / RECORD, json.dumps(record))
    return folder(root / "m", "model.safetensors")


def family_file(root: Path) -> Path:
    folder(root / "m", "unused.py", "package/__init__.py", "package/deep.py")
    write(root / "m/helper.py", "import further\n")
    write(root / "m/further.py", "import json, torch, helper\n")
    text = "def late():\n    import helper\nfrom package import deep\nfrom . import nothing\n"
    return write(root / "m/family.py", text)


Make = Callable[[Path], Path]


@pytest.mark.parametrize(
    ("make", "reads", "changes"),
    [
        (model, "model", "m/model.safetensors"),
        (model, "model", "m/new.txt"),
        (model, "file", "m/.hidden/deep/file"),
        (model, "model", "m/run.json"),  # no record of a step: just a file of this name
        (weights_alone, "model", "m/step/.metadata"),
        (weights_alone, "model", "m/config.json"),
        (weights_alone, "model", "m/tokenizer_config.json"),
        (one_file, "model", "m/config.json"),
        (one_file, "model", "m/tokenizer.json"),
        (one_file, "model", "m/additional_chat_templates/tools.jinja"),
        (linked_file, "model", "m/config.json"),
        (linked_file, "model", "generation_config.json"),
        (part_of_gguf, "model", "m/q-00002-of-00002.gguf"),
        (tokenizer_file, "tokenizer", "m/tokenizer_config.json"),
        (tokenizer_file, "tokenizer", "m/chat_template.jinja"),
        (tokenizer_file, "tokenizer", "m/config.json"),
        (linked_folder, "model", "elsewhere/config.json"),
        (finished_step, "run", "m/run.json"),
        (family_file, "code", "m/helper.py"),
        (family_file, "code", "m/further.py"),
        (family_file, "code", "m/package/deep.py"),
    ],
)
def test_what_is_read_counts(tmp_path: Path, make: Make, reads: Reads, changes: str) -> None:
    path = make(tmp_path)
    before = digest_input(path, reads)
    assert digest_input(path, reads) == before
    write(tmp_path / changes, "changed")
    assert digest_input(path, reads) != before


@pytest.mark.parametrize(
    ("make", "reads", "changes"),
    [
        (model, "model", "tokenizer.json"),  # beside a folder that has its own config
        (model, "model", "m/.git/index"),
        (model, "model", "m/.cache/huggingface/download/config.json.metadata"),
        (one_file, "model", "m/notes.txt"),
        (one_file, "file", "m/config.json"),
        (part_of_gguf, "model", "m/other.gguf"),
        (finished_step, "model", "m/run.json"),
        (family_file, "code", "m/unused.py"),
    ],
)
def test_what_is_not_read_does_not_count(
    tmp_path: Path, make: Make, reads: Reads, changes: str
) -> None:
    path = make(tmp_path)
    before = digest_input(path, reads)
    if changes == "m/run.json":
        record = json.loads((tmp_path / changes).read_text())
        write(tmp_path / changes, json.dumps({**record, "seconds": 2.0}))
    else:
        write(tmp_path / changes, "changed")
    assert digest_input(path, reads) == before


def test_how_an_input_is_named_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = one_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").symlink_to(tmp_path / "m")
    names = ["m/a.safetensors", "./m/../m/a.safetensors", "folder/a.safetensors"]
    found = {digest_input(each, "model") for each in (path, *map(Path, names))}
    assert len(found) == 1


def test_links_in_a_circle_and_to_nothing_end(tmp_path: Path) -> None:
    path = model(tmp_path)
    before = look(path, {"model"}).files.keys()
    (path / "self").symlink_to(path)
    (path / "up").symlink_to(tmp_path)
    (path / "nothing").symlink_to("gone")
    os.mkfifo(path / "pipe")
    assert look(path, {"model"}).files.keys() == before


def test_a_pipe_is_not_opened_and_not_hashed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert is_stream(tmp_path / "pipe")
    assert digest_input(tmp_path / "pipe", "file") == "read once"
    code = (
        "from pathlib import Path; from tfcli.recipe.content import is_stream\n"
        "print(is_stream(Path('/dev/stdin')))"
    )
    with write(tmp_path / "text").open() as text:
        done = subprocess.run(
            [sys.executable, "-c", code], stdin=text, capture_output=True, text=True, check=True
        )
    assert done.stdout == "True\n"
    assert not is_stream(tmp_path / "text")
