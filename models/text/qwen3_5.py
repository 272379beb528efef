"""Qwen3.5's text models (Qwen team 2026): Qwen3-Next's layers with linears of their own.

Reference: transformers `modeling_qwen3_5.py` and `modeling_qwen3_5_moe.py`; for the names of
modules see `sparse`.
"""

from __future__ import annotations

from typing import ClassVar

from tfcli.models.calibration import CalibrationWalk, Group
from tfcli.models.configs.qwen3_5 import Qwen35MoeTextConfig, Qwen35TextConfig
from tfcli.models.rules import OldName
from tfcli.models.text.qwen2_moe import SharedModel
from tfcli.models.text.qwen3_next import DeltaModel

_DELTA: tuple[Group, ...] = (
    ("linear_attn.in_proj_qkv", "linear_attn.in_proj_z"),
    ("linear_attn.out_proj",),
)


class Qwen35TextModel(DeltaModel):
    """The body with a dense mlp in every layer."""

    config: Qwen35TextConfig

    prefixes: ClassVar[dict[str, str]] = {}
    # The text's part of a checkpoint that reads images too.
    rules = (OldName(r"^model\.language_model\.", "model."),)
    ignorable: ClassVar[dict[str, str]] = {
        **DeltaModel.ignorable,
        r"^model\.visual\.": "reads images, which is not built",
    }
    walk = CalibrationWalk(blocks="layers", groups=(*_DELTA, *DeltaModel.walk.groups), varies=True)


class Qwen35MoeTextModel(Qwen35TextModel, SharedModel):
    """The body with Qwen2-MoE's mixtures in every layer."""

    config: Qwen35MoeTextConfig

    walk = CalibrationWalk(blocks="layers", groups=(*_DELTA, *SharedModel.walk.groups), varies=True)
