"""Which tensors a cast reaches: all but those that transformers keeps in fp32."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import transformers

from tests.dequantize.test_dequantize import dequantize, quantized
from tests.merge.adapters import by_hand, merge
from tests.models.tiny import FIRST, content, tiny_model
from tests.quantize.test_run import MIXTURES
from tfcli.average.spec import AverageSpec
from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.folder import save_model
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.target_dtypes import target_dtypes
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config
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
    known.append(transformers.AutoModel._model_mapping)
    mapping = next((one for one in known if type(config) in one), None)
    # No auto class knows SigLIP's tower for texts.
    model_class = (
        mapping[type(config)] if mapping else getattr(transformers, FIRST[model_type].model)
    )
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


T5 = {
    "model_type": "t5",
    "vocab_size": 48,
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 1,
    "num_heads": 2,
}


def t5_folder(folder: Path, seed: int) -> Path:
    save_model(initialize(build(read_config(T5)), seed), folder)
    return folder


def written(folder: Path, ending: str = ".wo.weight") -> tuple[set[str], set[str]]:
    """The types of the tensors that end so, and of the others."""
    infos = list(open_tensors(folder).infos())
    kept = {info.dtype for info in infos if info.name.endswith(ending)}
    return kept, {info.dtype for info in infos if not info.name.endswith(ending)}


def test_averaging_keeps_them(tmp_path):
    sources = [str(t5_folder(tmp_path / name, seed)) for seed, name in enumerate("ab")]
    spec = AverageSpec(sources=sources, output=str(tmp_path / "out"), dtype="fp16")
    execute(spec, Console.silent())
    assert written(tmp_path / "out") == ({"F32"}, {"F16"})


def test_merging_keeps_them(tmp_path):
    base = t5_folder(tmp_path / "base", 0)
    factors = {
        f"{module}.lora_{side}.weight": torch.ones(size)
        for module, rows, columns in (
            ("encoder.block.0.layer.0.SelfAttention.q", 32, 32),
            ("encoder.block.0.layer.1.DenseReluDense.wo", 32, 64),
        )
        for side, size in (("A", (2, columns)), ("B", (rows, 2)))
    }
    result = merge(base, by_hand(tmp_path / "lora", factors), tmp_path / "out", dtype="fp16")
    assert result.merged == 2
    assert written(tmp_path / "out") == ({"F32"}, {"F16"})


def test_dequantizing_keeps_them(tmp_path):
    source = quantized(tmp_path / "q", MIXTURES["gpt_oss"])
    dequantize(source, tmp_path / "out", dtype="fp16")
    assert written(tmp_path / "out", "norm.weight") == ({"F32"}, {"F16"})


def test_a_converted_folder_has_them_in_fp32(tmp_path):
    save_model(tiny_model("deepseek_v3"), tmp_path / "in")
    spec = ConvertSpec(source=str(tmp_path / "in"), output=str(tmp_path / "out"), dtype="bf16")
    execute(spec, Console.silent())
    codes = {info.name: info.dtype for info in open_tensors(tmp_path / "out").infos()}
    wide = [name for name, code in codes.items() if code == "F32"]
    assert wide == ["model.layers.1.mlp.gate.e_score_correction_bias"]
    assert set(codes.values()) == {"F32", "BF16"}
