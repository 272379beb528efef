"""Models in several GGUF files."""

import pytest
from safetensors.torch import load_file

from tests.checkpoints.gguf.convert import from_gguf, to_gguf
from tests.checkpoints.gguf.files import rewrite
from tests.checkpoints.gguf.folders import write_folder
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.split import open_gguf
from tfcli.errors import WorkError


def split(tmp_path, second=1):
    write_folder(tmp_path / "source", "llama")
    to_gguf(tmp_path / "source", tmp_path / "model.gguf")
    count = Value("uint16", 2)
    first = rewrite(
        tmp_path / "model.gguf",
        tmp_path / "part-00001-of-00002.gguf",
        r"blk\.1\.|output\.",
        {"split.no": Value("uint16", 0), "split.count": count},
    )
    rewrite(
        tmp_path / "model.gguf",
        tmp_path / "part-00002-of-00002.gguf",
        r"blk\.0\.|token_embd|output_norm|llama|token|general|tfcli",
        {"split.no": Value("uint16", second), "split.count": count},
    )
    return first


def test_all_parts_are_one_model(tmp_path):
    from_gguf(split(tmp_path), tmp_path / "back")
    before = load_file(tmp_path / "source" / "model.safetensors")
    after = load_file(tmp_path / "back" / "model.safetensors")
    assert set(before) == set(after) and all((before[n] == after[n]).all() for n in before)


def test_wrong_parts_are_refused(tmp_path):
    first = split(tmp_path)
    other = tmp_path / "part-00002-of-00002.gguf"
    with pytest.raises(WorkError, match="not the first part"):
        open_gguf(other)
    first.rename(tmp_path / "renamed.gguf")
    with pytest.raises(WorkError, match="name does not tell"):
        open_gguf(tmp_path / "renamed.gguf")
    (tmp_path / "renamed.gguf").rename(first)
    other.unlink()
    with pytest.raises(WorkError, match="missing"):
        open_gguf(first)


def test_a_part_of_another_place_is_refused(tmp_path):
    with pytest.raises(WorkError, match="it is not part 1 of 2"):
        open_gguf(split(tmp_path, second=5))
