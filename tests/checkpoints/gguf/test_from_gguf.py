"""GGUF files whose keys contradict each other are refused by key."""

import pytest

from tests.checkpoints.gguf.convert import from_gguf, to_gguf
from tests.checkpoints.gguf.files import rewrite
from tests.checkpoints.gguf.folders import write_folder
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.errors import ModelError, WorkError

OWN = r"tfcli\."


@pytest.mark.parametrize(
    ("drop", "change", "problem"),
    [
        ("llama.block_count", {}, "llama.block_count is missing"),
        ("general.architecture", {}, "general.architecture: expected a text"),
        ("token_embd", {}, "token_embd.weight"),
        ("$^", {"general.architecture": Value("string", "rwkv7")}, "'rwkv7' is not covered"),
        ("$^", {"llama.block_count": Value("array[int32]", [1, 2])}, "one number for all layers"),
        ("$^", {"llama.attention.head_count": Value("uint32", 0)}, "num_attention_heads"),
        ("$^", {"tokenizer.ggml.model": Value("string", "rwkv")}, "'rwkv' is not covered"),
        ("$^", {"tokenizer.ggml.tokens": Value("uint32", 3)}, "tokenizer.ggml.tokens"),
        ("$^", {"tokenizer.chat_template": Value("string", "\udcc4")}, "it is not UTF-8"),
        (
            "$^",
            {"tokenizer.ggml.merges": Value("array[string]", ["a b", "\udcff c"])},
            "tokenizer.ggml.merges[1]: it is not UTF-8",
        ),
        ("$^", {"tokenizer.ggml.bos_token_id": Value("uint32", 9999)}, "9999 is no id"),
    ],
)
def test_files_that_contradict_themselves_are_refused(drop, change, problem, tmp_path):
    write_folder(tmp_path / "source", "llama")
    to_gguf(tmp_path / "source", tmp_path / "model.gguf")
    drop = rf"{OWN}|{drop}"
    edited = rewrite(tmp_path / "model.gguf", tmp_path / "edited.gguf", drop, change)
    with pytest.raises((WorkError, ModelError)) as caught:
        from_gguf(edited, tmp_path / "back")
    assert problem in str(caught.value) and "edited.gguf" in str(caught.value)
