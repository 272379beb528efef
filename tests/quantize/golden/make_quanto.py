"""Makes quanto.safetensors: linears that optimum-quanto quantizes, and the weights that it reads.

scripts/quanto
.quanto/bin/python tests/quantize/golden/make_quanto.py
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import torch
from optimum.quanto import freeze, quantize
from safetensors.torch import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from hqq_weights import weight  # noqa: E402
from quanto_cases import CASES  # noqa: E402


def main() -> None:
    held = {}
    for name, (kind, shape) in CASES.items():
        dense = torch.nn.Linear(shape[1], shape[0], bias=False)
        dense.weight.data = weight(shape)
        model = torch.nn.ModuleDict({"linear": dense})
        quantize(model, weights=kind)
        freeze(model)
        stored = model.state_dict()
        held |= {f"{name}.{k.removeprefix('linear.')}": t.contiguous() for k, t in stored.items()}
        held[f"{name}.read"] = model["linear"].weight.dequantize().contiguous()
    made_by = f"optimum-quanto {version('optimum-quanto')}"
    save_file(held, HERE / "quanto.safetensors", {"made_by": made_by})


main()
