"""How an embedding model pools its states survives GGUF, both ways."""

from __future__ import annotations

import json

import pytest
import torch

from tests.checkpoints.gguf.convert import plan, to_gguf
from tests.checkpoints.gguf.files import rewrite
from tests.checkpoints.gguf.folders import write_folder
from tests.checkpoints.gguf.llama_cpp import LlamaCpp
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.read import read
from tfcli.errors import WorkError

KINDS = ("Transformer", "Pooling", "Normalize")


def folder_with(tmp_path, config, kinds=KINDS, family="bert", place="1_Pooling"):
    """A sentence-transformers folder."""
    folder = tmp_path / "hf"
    write_folder(folder, family)
    (folder / place).mkdir()
    (folder / place / "config.json").write_text(json.dumps(config))
    modules = [
        {"idx": i, "path": place if kind == "Pooling" else "", "type": f"x.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def carried(file, folder):
    folder.mkdir()
    return read(file, Reading()).carry(folder)


MODES = {
    "pooling_mode_mean_tokens": 1,
    "pooling_mode_cls_token": 2,
    "pooling_mode_lasttoken": 3,
}


@pytest.mark.parametrize("family", ["bert", "qwen3"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kinds", [KINDS, KINDS[:2]])
def test_pooling_reaches_gguf_and_comes_back(family, mode, kinds, tmp_path):
    config = {"word_embedding_dimension": 64, **{key: key == mode for key in MODES}}
    folder = folder_with(tmp_path, config, kinds, family)
    to_gguf(folder, tmp_path / "model.gguf")
    found = GGUFFile(tmp_path / "model.gguf")
    assert found.metadata[f"{family}.pooling_type"] == MODES[mode]
    assert found.types[f"{family}.pooling_type"] == "uint32"
    names = carried(tmp_path / "model.gguf", tmp_path / "back")
    assert {"modules.json", "1_Pooling/config.json"} <= set(names)
    again = json.loads((tmp_path / "back/1_Pooling/config.json").read_text())
    assert {key: value for key, value in again.items() if key in config} == config
    modules = json.loads((tmp_path / "back/modules.json").read_text())
    assert [each["type"].rpartition(".")[2] for each in modules] == list(kinds)
    assert read(tmp_path / "model.gguf", Reading()).config["model_type"] == family


def test_a_file_that_another_program_wrote_normalizes_as_llama_cpp_does(tmp_path):
    write_folder(tmp_path / "hf", "bert")
    to_gguf(tmp_path / "hf", tmp_path / "model.gguf")
    change = {"bert.pooling_type": Value("uint32", 2)}
    plain = rewrite(tmp_path / "model.gguf", tmp_path / "plain.gguf", r"tfcli\.", change)
    carried(plain, tmp_path / "back")
    modules = json.loads((tmp_path / "back/modules.json").read_text())
    assert modules[-1]["type"] == "sentence_transformers.models.Normalize"


def test_the_pooling_module_is_where_modules_json_says(tmp_path):
    folder = folder_with(tmp_path, {"pooling_mode": "lasttoken"}, place="3_Pool")
    assert plan(folder).metadata["bert.pooling_type"].value == 3


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"pooling_mode_max_tokens": True}, "no pooling like 1_Pooling's: max"),
        (
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            "no pooling like 1_Pooling's: mean and cls",
        ),
        ({}, "no pooling like 1_Pooling's: none"),
    ],
)
def test_a_pooling_that_llama_cpp_does_not_have_is_told_and_not_written(config, said, tmp_path):
    planned = plan(folder_with(tmp_path, config))
    assert any(said in note for note in planned.notes)
    assert "bert.pooling_type" not in planned.metadata


def test_a_module_for_which_gguf_has_no_place_is_told(tmp_path):
    folder = folder_with(tmp_path, {"pooling_mode": "mean"}, (*KINDS, "Dense"))
    assert any("no place for the module Dense" in note for note in plan(folder).notes)


def test_a_model_without_pooling_gets_none(tmp_path):
    write_folder(tmp_path / "hf", "bert")
    to_gguf(tmp_path / "hf", tmp_path / "model.gguf")
    assert "bert.pooling_type" not in GGUFFile(tmp_path / "model.gguf").metadata
    assert "modules.json" not in carried(tmp_path / "model.gguf", tmp_path / "back")


def test_modules_that_are_no_list_are_refused_by_name(tmp_path):
    folder = folder_with(tmp_path, {})
    (folder / "modules.json").write_text('{"a": 1}')
    with pytest.raises(WorkError, match="expected a list of modules"):
        plan(folder)


@pytest.mark.interop
@pytest.mark.parametrize(("mode", "pooling"), [("mean", "mean"), ("cls", "cls")])
def test_llama_cpp_makes_the_same_vector(mode, pooling, tmp_path):
    to_gguf(folder_with(tmp_path, {"pooling_mode": mode}), tmp_path / "model.gguf", "F32")
    ids = list(range(20, 40))
    found = LlamaCpp(tmp_path / "model.gguf", 1, embedding=True, own_pooling=True).state(ids)
    model = load_model(tmp_path / "hf", task="embedding")
    model.set_pooling(pooling, normalize=False)
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0]
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-2)
