"""The cases of `torchao.safetensors`: a name, and torchao's config of it as JSON."""

from __future__ import annotations

import torch
from torch import Tensor


def config(kind: str, **options: object) -> dict[str, object]:
    """What transformers writes into quant_type."""
    return {"_type": kind, "_version": 2, "_data": options}


def granularity(kind: str, **options: object) -> dict[str, object]:
    """How many weights share a scale."""
    return {"_type": kind, "_version": 1, "_data": options}


def dtype(name: str) -> dict[str, object]:
    """A type of torch."""
    return {"_type": "torch.dtype", "_data": name}


ROWS, ALL = granularity("PerRow", dim=-1), granularity("PerTensor")
GROUPS = granularity("PerGroup", group_size=8)
ASYMMETRIC = {"_type": "MappingType", "_data": "ASYMMETRIC"}

CASES = {
    "int8-rows": config("Int8WeightOnlyConfig", granularity=ROWS),
    "int8-groups": config("Int8WeightOnlyConfig", granularity=GROUPS),
    "int8-all": config("Int8WeightOnlyConfig", granularity=ALL),
    "int8-inputs": config("Int8DynamicActivationInt8WeightConfig", granularity=ROWS),
    "int8-inputs-asymmetric": config(
        "Int8DynamicActivationInt8WeightConfig", granularity=ROWS, act_mapping_type=ASYMMETRIC
    ),
    "int8-inputs-all": config("Int8DynamicActivationInt8WeightConfig", granularity=ALL),
    "int4-groups": config("IntxWeightOnlyConfig", weight_dtype=dtype("int4"), granularity=GROUPS),
    "int3-rows-asymmetric": config(
        "IntxWeightOnlyConfig",
        weight_dtype=dtype("int3"),
        granularity=granularity("PerAxis", axis=0),
        mapping_type=ASYMMETRIC,
    ),
    "int4-inputs": config(
        "Int8DynamicActivationIntxWeightConfig",
        weight_dtype=dtype("int4"),
        weight_granularity=GROUPS,
    ),
    "float8-rows": config(
        "Float8WeightOnlyConfig", weight_dtype=dtype("float8_e4m3fn"), granularity=ROWS
    ),
    "float8-groups": config("Float8WeightOnlyConfig", granularity=GROUPS),
    "float8-all": config("Float8WeightOnlyConfig", granularity=ALL),
}


def inputs() -> Tensor:
    """Two rows of 32 inputs, more of them above 0 than below."""
    return (torch.arange(64.0).mul(0.7).sin() + 0.4).mul(2).view(2, 32)
