"""Makes gptqmodel.safetensors: linears that GPTQModel packs, and the weights that it reads of them.

    scripts/gptqmodel
    .gptqmodel/bin/python tests/quantize/golden/make.py

GPTQModel packs for its own kernels (`checkpoint_format: gptq_v2`) and stores `gptq`; both are what
its own code makes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from gptqmodel import QuantizeConfig
from gptqmodel.nn_modules.qlinear.torch import TorchLinear
from gptqmodel.utils.model import (
    convert_gptq_v1_to_v2_format_module,
    convert_gptq_v2_to_v1_format_module,
)
from safetensors.torch import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from weights import GOLDEN, OUT, Golden  # noqa: E402


def linear(golden: Golden) -> TorchLinear:
    return TorchLinear(
        bits=golden.bits,
        group_size=golden.group_size,
        sym=golden.symmetric,
        desc_act=False,
        in_features=golden.in_features,
        out_features=OUT,
        pack_dtype=torch.int32,
    ).eval()


def main() -> None:
    held = {}
    for golden in GOLDEN:
        index = torch.arange(golden.in_features, dtype=torch.int32) // golden.group_size
        scales, zeros = golden.scales(), golden.zeros()
        weight = (golden.levels() - zeros[:, index]) * scales[:, index]
        dense = torch.nn.Linear(golden.in_features, OUT, bias=False)
        dense.weight.data = weight
        packed = linear(golden)
        packed.pack_original(dense, scales, zeros, index)
        config = QuantizeConfig(
            bits=golden.bits, group_size=golden.group_size, sym=golden.symmetric, desc_act=False
        )
        held[f"{golden.name}.qzeros_v2"] = packed.qzeros.clone()
        convert_gptq_v2_to_v1_format_module(packed, config)
        stored = {name: value.clone().contiguous() for name, value in packed.state_dict().items()}
        held |= {f"{golden.name}.{name}": value for name, value in stored.items()}

        reader = linear(golden)
        reader.load_state_dict(stored)
        convert_gptq_v1_to_v2_format_module(reader, golden.bits, torch.int32)
        held[f"{golden.name}.weight"] = reader.dequantize_weight().half().clone().contiguous()
    save_file(held, HERE / "gptqmodel.safetensors", {"made_by": "gptqmodel 7.6.0"})


main()
