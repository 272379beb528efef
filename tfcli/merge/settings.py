"""adapter_config.json: the keys that are read of it, with their types.

Source: the PEFT library's LoraConfig, AdaLoraConfig and IA3Config, and mlx-lm's `tuner/lora.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict  # pydantic cannot read Python 3.11's own

from tfcli.checkpoints.typed_json import fitting

Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PeftSettings(TypedDict, total=False):
    """Of PEFT. Rates and ranks by module are patterns of names -> a number."""

    peft_type: str
    r: Above0 | None
    lora_alpha: Above0 | None
    init_r: Above0 | None
    rank_pattern: dict[str, Above0 | list[bool]] | None
    alpha_pattern: dict[str, Above0] | None
    use_dora: bool | None
    use_rslora: bool | None
    fan_in_fan_out: bool | None
    ensure_weight_tying: bool | None
    init_lora_weights: bool | str | None
    base_model_name_or_path: str | None
    task_type: str | None


class MlxParameters(TypedDict, total=False):
    """Of MLX, for all modules."""

    rank: Above0
    scale: Above0
    alpha: Above0


class MlxSettings(TypedDict, total=False):
    """Of MLX."""

    fine_tune_type: str
    lora_parameters: MlxParameters | None
    model: str | None


_PEFT, _MLX = TypeAdapter(PeftSettings), TypeAdapter(MlxSettings)


def check_peft(config: Mapping[str, Any], where: str) -> None:
    """See to it that the keys of a PEFT adapter have the types that they are read with.

    Raises:
        WorkError: naming the first that does not fit.
    """
    fitting(_PEFT, config, where=where)


def check_mlx(config: Mapping[str, Any], where: str) -> None:
    """The same for an adapter of MLX."""
    fitting(_MLX, config, where=where)
