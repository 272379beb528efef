"""Makes awq.safetensors: linears that AutoAWQ packs, and the weights that it reads of them.

python -m venv .autoawq
.autoawq/bin/pip install torch==2.13.0 transformers==4.51.3 accelerate datasets zstandard
.autoawq/bin/pip install --no-deps autoawq==0.2.9
.autoawq/bin/python tests/quantize/golden/make_awq.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from awq.modules.linear.gemm import WQLinear_GEMM
from awq.utils.packing_utils import dequantize_gemm
from safetensors.torch import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from weights import AWQ_GOLDEN, OUT  # noqa: E402


def main() -> None:
    held = {}
    for golden in AWQ_GOLDEN:
        index = torch.arange(golden.in_features) // golden.group_size
        scales, zeros = golden.scales(), golden.zeros()
        dense = torch.nn.Linear(golden.in_features, OUT, bias=False)
        dense.weight.data = (golden.levels() - zeros[:, index]) * scales[:, index]
        packed = WQLinear_GEMM.from_linear(
            dense,
            golden.bits,
            golden.group_size,
            scales=scales.t().contiguous(),
            zeros=zeros.t().contiguous().float(),
        )
        stored = {name: value.clone().contiguous() for name, value in packed.state_dict().items()}
        held |= {f"{golden.name}.{name}": value for name, value in stored.items()}
        weight = dequantize_gemm(
            packed.qweight, packed.qzeros, packed.scales, golden.bits, golden.group_size
        )
        held[f"{golden.name}.weight"] = weight.clone().contiguous()
    save_file(held, HERE / "awq.safetensors", {"made_by": "autoawq 0.2.9"})


main()
