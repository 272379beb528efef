"""What aqlm reads, beside ours: by its golden file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.quantize.golden.aqlm_cases import CASES, SHAPE
from tests.quantize.packed_folders import Parts, held, layer, pack_folder, require_runs
from tfcli.checkpoints.folder import load_model
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.errors import UsageError, WorkError
from tfcli.inspect.open import quantization_of
from tfcli.models.errors import ModelError
from tfcli.models.layouts.aqlm import AQLMLayout, AQLMPacking
from tfcli.recipe.execute import execute

HELD = load_file(Path(__file__).parent / "golden/aqlm.safetensors")
every_case = pytest.mark.parametrize("case", CASES)


def parts_of(case: str) -> Parts:
    return {name: part for name, part in held(HELD, case).items() if name != "weight"}


@every_case
def test_we_read_the_weight_that_aqlm_reads(case):
    made = layer(AQLMPacking(*CASES[case]), parts_of(case), SHAPE)
    made.verify()
    theirs = HELD[f"{case}.weight"]
    torch.testing.assert_close(made.dequantize(), theirs, rtol=1e-6, atol=1e-6)
    # Rows that begin and end within a block of outputs.
    torch.testing.assert_close(made.values.rows(2, 7), theirs[2:7], rtol=1e-6, atol=1e-6)


@every_case
@pytest.mark.parametrize("part", ["scales", "codes", "codebooks"])
def test_parts_in_another_order_give_another_weight(case, part):
    parts = parts_of(case)
    order = 1 if part == "codebooks" else 0
    made = layer(AQLMPacking(*CASES[case]), parts | {part: parts[part].flip(order)}, SHAPE)
    assert not torch.allclose(made.dequantize(), HELD[f"{case}.weight"])


def test_codes_count_from_where_their_bits_end():
    """As aqlm's `unpack_int_data`: bytes that say more than the bits of a code do."""
    parts = parts_of("narrow-codes")
    beyond = parts | {"codes": parts["codes"] + 32}
    made = layer(AQLMPacking(*CASES["narrow-codes"]), beyond, SHAPE)
    torch.testing.assert_close(made.dequantize(), HELD["narrow-codes.weight"])


SETTINGS = {
    "quant_method": "aqlm",
    "in_group_size": 8,
    "out_group_size": 1,
    "num_codebooks": 2,
    "nbits_per_codebook": 8,
    "linear_weights_not_to_quantize": ["lm_head.weight", "model.embed_tokens.weight"],
}


def pack(weight: torch.Tensor) -> Parts:
    m, n = weight.shape
    count = torch.arange(m * (n // 8) * 2)
    codes = (count * 7919 + n).remainder(256).view(m, n // 8, 2).to(torch.uint8).view(torch.int8)
    books = torch.arange(2 * 256 * 8.0).mul(0.37).sin().view(2, 256, 1, 8)
    return {
        "codes": codes,
        "codebooks": books.half(),
        "scales": torch.linspace(0.1, 0.4, m).view(m, 1, 1, 1).half(),
    }


def test_a_folder_is_loaded_dequantized_and_counted(tmp_path, tiny_tokenizer):
    folder = pack_folder(tmp_path / "q", tiny_tokenizer, pack, SETTINGS)
    read = require_runs(folder)
    assert read["model.layers.1.mlp.down_proj"].std() > 0.1
    found = quantization_of({"quantization_config": SETTINGS})
    assert found is not None and (found.method, found.bits) == ("aqlm", 2)


def test_it_is_not_moved_to_layouts_without_codebooks(tmp_path, tiny_tokenizer):
    folder = pack_folder(tmp_path / "q", tiny_tokenizer, pack, SETTINGS)
    spec = ConvertSpec(source=str(folder), output=str(tmp_path / "out"), to_layout="gptq")
    with pytest.raises(UsageError, match="sums of 2 vectors of 1 x 8"):
        execute(spec, Console.silent())


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("nbits_per_codebook", 64, "nbits_per_codebook: 64"),
        ("num_codebooks", 0, "num_codebooks: 0"),
        ("in_group_size", "8", "in_group_size: '8'"),
        ("out_group_size", True, "out_group_size: True"),
        ("linear_weights_not_to_quantize", "lm_head", "not a list"),
    ],
)
def test_settings_that_are_not_supported_are_named(key, value, said):
    with pytest.raises(ModelError, match=said):
        AQLMLayout.from_config(SETTINGS | {key: value})


def test_the_config_may_name_weights_and_modules():
    layout = AQLMLayout.from_config(
        SETTINGS | {"linear_weights_not_to_quantize": ["a.weight", "b"]}
    )
    assert layout.packing_of("a") is None and layout.packing_of("b") is None
    assert layout.packing_of("c") == AQLMPacking(8, 1, 2, 8)


def test_codes_of_another_shape_than_the_model_are_refused(tmp_path, tiny_tokenizer):
    folder = pack_folder(tmp_path / "q", tiny_tokenizer, pack, SETTINGS | {"num_codebooks": 1})
    with pytest.raises((ModelError, WorkError), match=r"codebooks|codes"):
        load_model(folder)
