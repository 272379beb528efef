"""Makes hqq.safetensors: linears that the hqq library packs, what it reads of them, and how near
its solver comes.

    scripts/hqq
    .hqq/bin/python tests/quantize/golden/make_hqq.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear, Quantizer
from safetensors.torch import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from hqq_weights import CASES, LARGE, SHAPE, Case, weight  # noqa: E402


def linear(case: Case, shape: tuple[int, int]) -> HQQLinear:
    dense = torch.nn.Linear(shape[1], shape[0], bias=False)
    dense.weight.data = weight(shape)
    config = BaseQuantizeConfig(
        nbits=case.bits,
        group_size=case.group_size,
        axis=case.axis,
        view_as_float=case.view_as_float,
    )
    dtype = getattr(torch, case.compute)
    return HQQLinear(dense, config, compute_dtype=dtype, device="cpu")


def main() -> None:
    held = {}
    for case in CASES:
        packed = linear(case, SHAPE)
        stored = {name: value.clone().contiguous() for name, value in packed.state_dict().items()}
        held |= {f"{case.name}.{name}": value for name, value in stored.items()}
        held[f"{case.name}.weight"] = packed.dequantize().contiguous()
        large = linear(case, LARGE)
        large.meta["compute_dtype"] = torch.float32  # what is stored, not how it is rounded later
        read = Quantizer.dequantize(large.W_q.data, large.meta)
        errors = read.double() - weight(LARGE).double()
        held[f"{case.name}.objective"] = errors.abs().pow(0.7).sum()
    save_file(held, HERE / "hqq.safetensors", {"made_by": "hqq 0.2.8"})


main()
