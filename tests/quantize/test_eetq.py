"""What EETQ's own code puts into a GPU's order, read here: by its golden file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.quantize.packed_folders import Parts, held, layer, pack_folder, require_runs
from tfcli.checkpoints.containers import open_ref
from tfcli.checkpoints.packed.linears import find_packed
from tfcli.errors import WorkError
from tfcli.inspect.open import quantization_of
from tfcli.models.errors import ModelError
from tfcli.models.layouts.eetq import EETQLayout, EETQPacking, in_order

HELD = load_file(Path(__file__).parent / "golden/eetq.safetensors")
CASES = {"64x64": (64, 64), "64x128": (64, 128)}
SETTINGS = {"quant_method": "eetq", "weights": "int8", "modules_to_not_convert": ["lm_head"]}


@pytest.mark.parametrize("case", CASES)
def test_bytes_are_put_back_into_the_order_of_the_matrix(case):
    parts = held(HELD, case)
    levels = parts.pop("levels").t()
    made = layer(EETQPacking(), parts, CASES[case])
    made.verify()
    assert torch.equal(made.dequantize(), levels * parts["weight_scales"].float()[:, None])
    flipped = parts | {"weight_scales": parts["weight_scales"].flip(0)}
    assert not torch.equal(
        layer(EETQPacking(), flipped, CASES[case]).dequantize(), made.dequantize()
    )


def ordered(levels: torch.Tensor) -> torch.Tensor:
    """What in_order undoes: each place of the matrix -> where its byte is stored."""
    n, m = levels.shape
    low = torch.arange(n * m).remainder(256).to(torch.uint8).view(torch.int8).view(n, m)
    high = (torch.arange(n * m) // 256).to(torch.uint8).view(torch.int8).view(n, m)
    places = in_order(low).long() + 256 * in_order(high).long()
    stored = torch.empty(n * m, dtype=torch.uint8)
    stored[places.reshape(-1)] = (levels.t().to(torch.int16) + 128).to(torch.uint8).reshape(-1)
    return stored.view(torch.int8).view(n, m)


def pack(weight: torch.Tensor) -> Parts:
    scales = (weight.abs().amax(1) / 127).half()
    levels = (weight / scales.float()[:, None]).round().clamp(-128, 127).to(torch.int8)
    return {"weight": ordered(levels.t()), "weight_scales": scales}


def test_a_folder_is_loaded_dequantized_and_counted(tmp_path, tiny_tokenizer):
    sizes = {"hidden_size": 128, "num_key_value_heads": 4}
    folder = pack_folder(tmp_path / "q", tiny_tokenizer, pack, SETTINGS, **sizes)
    read = require_runs(folder)
    dense = pack_folder(tmp_path / "d", tiny_tokenizer, lambda w: {"weight": w}, None, **sizes)
    (path,) = dense.glob("*.safetensors")
    for name, weight in load_file(path).items():
        if "_proj" in name:
            close = read[name.removesuffix(".weight")]
            torch.testing.assert_close(close, weight.float(), rtol=0, atol=0.01)
    found = quantization_of({"quantization_config": SETTINGS})
    assert found is not None and (found.method, found.bits, found.group_size) == ("eetq", 8, -1)


def test_sizes_that_eetq_has_no_order_for_are_refused(tmp_path, tiny_tokenizer):
    def cut(weight: torch.Tensor) -> Parts:
        m, n = weight.shape
        return {
            "weight": torch.zeros(n, m, dtype=torch.int8),
            "weight_scales": torch.ones(m, dtype=torch.float16),
        }

    folder = pack_folder(tmp_path / "q", tiny_tokenizer, cut, SETTINGS)  # 32 outputs of k_proj
    with pytest.raises(WorkError, match="multiples of 64"):
        find_packed(open_ref(str(folder)))


def test_other_types_are_named():
    with pytest.raises(ModelError, match="weights: 'int4'"):
        EETQLayout.from_config(SETTINGS | {"weights": "int4"})
    with pytest.raises(ModelError, match="modules_to_not_convert"):
        EETQLayout.from_config(SETTINGS | {"modules_to_not_convert": "lm_head"})
    assert EETQLayout.from_config(SETTINGS).packing_of("lm_head") is None
