"""Makes aqlm.safetensors: linears of AQLM, and the weights that aqlm itself makes of them.

    scripts/aqlm
    .aqlm/bin/python tests/quantize/golden/make_aqlm.py

Codes and vectors are by arithmetic: AQLM needs a model and a GPU to find good ones.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import torch
from aqlm.inference import QuantizedLinear
from aqlm.utils import _dequantize_weight, pack_int_data, unpack_int_data
from safetensors.torch import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from aqlm_cases import CASES, SHAPE  # noqa: E402


def main() -> None:
    held = {}
    for name, (in_group, out_group, books, bits) in CASES.items():
        linear = QuantizedLinear(SHAPE[1], SHAPE[0], in_group, out_group, books, bits, bias=False)
        count = torch.arange(linear.codes.numel())
        codes = (count * 7919 + count // 13).remainder(1 << bits).view(linear.codes.shape)
        vectors = torch.arange(float(linear.codebooks.numel())).mul(0.37).sin()
        stored = {
            "codes": pack_int_data(codes.int(), bits),
            "codebooks": vectors.view(linear.codebooks.shape).half(),
            "scales": torch.linspace(0.25, 2, len(codes)).view(linear.scales.shape).half(),
        }
        assert all(getattr(linear, part).shape == value.shape for part, value in stored.items())
        books_of, scales = stored["codebooks"].float(), stored["scales"].float()
        weight = _dequantize_weight(unpack_int_data(stored["codes"], bits), books_of, scales)
        held |= {f"{name}.{part}": value.contiguous() for part, value in stored.items()}
        held[f"{name}.weight"] = weight.contiguous()
    save_file(held, HERE / "aqlm.safetensors", {"made_by": f"aqlm {version('aqlm')}"})


main()
