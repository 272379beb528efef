"""Quantize with GPTQModel: quantize_gptqmodel.py DENSE OUT IDS OPTIONS

Runs in the environment that scripts/gptqmodel makes, without tfcli. IDS is a JSON file with the
token ids of each calibration window, OPTIONS a JSON object: what QuantizeConfig is made with. The
last line is a JSON object: seconds from loading the model to the end of saving, imports left out.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from time import perf_counter

os.environ.setdefault("GPTQMODEL_CPU_WORKERS", str(os.cpu_count()))

import torch
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
from gptqmodel.quantization.config import FOEMConfig


def main() -> None:
    dense, out, ids, options = sys.argv[1:]
    settings = json.loads(options)
    if "foem" in settings:
        settings["foem"] = FOEMConfig(**settings["foem"])
    windows = [
        {"input_ids": window, "attention_mask": [1] * len(window)}
        for window in json.loads(Path(ids).read_text())
    ]
    began = perf_counter()
    # float32, as tfcli calibrates: in the files' 16 bits its forward passes would round more.
    model = GPTQModel.load(dense, QuantizeConfig(**settings), device="cpu", dtype=torch.float32)
    model.quantize(windows, batch_size=8, backend=BACKEND.GPTQ_TORCH)
    model.save(out)
    print()
    print(json.dumps({"seconds": perf_counter() - began}))


main()
