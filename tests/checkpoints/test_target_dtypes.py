"""Which tensors a cast reaches: all but those that transformers keeps in fp32."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import transformers

from tests.models.tiny import FIRST, content, tiny_model
from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.folder import save_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.target_dtypes import target_dtypes
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.recipe.execute import execute

TYPES = {"F16": torch.float16, "BF16": torch.bfloat16}


def view(config: dict[str, object], dtypes: dict[str, str]) -> Checkpoint:
    tensors = {n: TensorEntry(n, code, (2,), (n,), "", torch.Tensor) for n, code in dtypes.items()}
    return Checkpoint("hf", Path("/in"), config, tensors, ())


def theirs(model_type: str) -> tuple[list[str], transformers.PreTrainedModel]:
    """transformers' model of a family without memory, and its names."""
    config = transformers.AutoConfig.for_model(**content(model_type))
    autos = ("CausalLM", "Seq2SeqLM", "MaskedLM")
    known = [getattr(transformers, f"AutoModelFor{name}")._model_mapping for name in autos]
    mapping = next((one for one in known if type(config) in one), None)
    model_class = (mapping or transformers.AutoModel._model_mapping)[type(config)]
    with torch.device("meta"):
        model = model_class(config)
    return list(model.state_dict()), model


@pytest.mark.interop
@pytest.mark.parametrize("wanted", TYPES)
@pytest.mark.parametrize("model_type", FIRST)
def test_what_stays_in_fp32_is_what_transformers_keeps(model_type, wanted):
    names, model = theirs(model_type)
    plan = model._get_dtype_plan(TYPES[wanted])
    kept = {name for name in names if any(re.search(part, name) for part in plan)}
    targets = target_dtypes(view(content(model_type), dict.fromkeys(names, "F32")), wanted)
    assert {name for name, code in targets.items() if code == "F32"} == kept


def test_some_family_keeps_some():
    """So that the test above compares more than empty sets."""
    bias = "model.layers.1.mlp.gate.e_score_correction_bias"
    held = view(content("deepseek_v3"), {bias: "F32", "lm_head.weight": "F32"})
    assert target_dtypes(held, "BF16") == {bias: "F32", "lm_head.weight": "BF16"}
    held = view(content("t5"), {"encoder.block.0.layer.1.DenseReluDense.wo.weight": "F32"})
    assert set(target_dtypes(held, "F16").values()) == {"F32"}
    assert set(target_dtypes(held, "BF16").values()) == {"BF16"}


def test_a_half_that_may_not_be_cast_to_the_other_becomes_fp32():
    """Neither half holds all numbers of the other."""
    bias = "model.layers.1.mlp.gate.e_score_correction_bias"
    for before, wanted, after in (
        ("BF16", "F16", "F32"),
        ("F16", "BF16", "F32"),
        ("BF16", "BF16", "BF16"),
        ("BF16", "F32", "F32"),
        ("F8_E4M3", "BF16", "F32"),
        ("I32", "BF16", "I32"),
    ):
        held = view(content("deepseek_v3"), {bias: before})
        assert target_dtypes(held, wanted) == {bias: after}, (before, wanted)


@pytest.mark.parametrize("model_type", ["unheard", None, 7])
def test_of_other_families_nothing_is_kept(model_type):
    held = view({"model_type": model_type}, {"norm.weight": "F32"})
    assert target_dtypes(held, "F16") == {"norm.weight": "F16"}
    assert target_dtypes(held, None) == {"norm.weight": "F32"}


def test_a_converted_folder_has_them_in_fp32(tmp_path):
    save_model(tiny_model("deepseek_v3"), tmp_path / "in")
    spec = ConvertSpec(source=str(tmp_path / "in"), output=str(tmp_path / "out"), dtype="bf16")
    execute(spec, Console.silent())
    codes = {info.name: info.dtype for info in open_tensors(tmp_path / "out").infos()}
    wide = [name for name, code in codes.items() if code == "F32"]
    assert wide == ["model.layers.1.mlp.gate.e_score_correction_bias"]
    assert set(codes.values()) == {"F32", "BF16"}
