"""Makes torchao.safetensors: linears that torchao quantizes, flattened as transformers saves them.

    scripts/torchao
    .torchao/bin/python tests/quantize/golden/make_torchao.py

Of each case: the tensors and the text of the header that it becomes, the weight that torchao makes
of them in float32, and what its linear gives for the inputs of `torchao_cases`.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file
from torchao.core.config import config_from_dict
from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
from torchao.quantization import quantize_

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from hqq_weights import SHAPE, weight  # noqa: E402
from torchao_cases import CASES, inputs  # noqa: E402


def main() -> None:
    held, texts = {}, {}
    for name, said in CASES.items():
        dense = torch.nn.Linear(SHAPE[1], SHAPE[0], bias=False)
        dense.weight.data = weight(SHAPE)
        model = torch.nn.ModuleDict({"linear": dense})
        quantize_(model, config_from_dict(said))
        stored, told = flatten_tensor_state_dict(model.state_dict())
        held |= {f"{name}.{k.removeprefix('linear.')}": t.contiguous() for k, t in stored.items()}
        held[f"{name}.weight"] = model["linear"].weight.dequantize().contiguous()
        held[f"{name}.output"] = model["linear"](inputs()).detach().contiguous()
        texts[name] = told["linear.weight"]
    made_by = f"torchao {version('torchao')}"
    save_file(held, HERE / "torchao.safetensors", {"made_by": made_by, **texts})


main()
