"""The linears of a model that quantization methods take, in the order in which they run."""

from __future__ import annotations

from torch import nn

from tfcli.models.errors import ModelError
from tfcli.models.model import Model


def linears_of(model: Model) -> dict[str, nn.Linear]:
    """Full name -> module of every linear inside the blocks, in execution order.

    Raises:
        ModelError: the family declares no calibration walk, or one that leaves linears out.
    """
    if not model.walks:
        raise ModelError(
            f"{model.config.model_type} declares no calibration walk, so it cannot be quantized"
        )
    found: dict[str, nn.Linear] = {}
    for chain in model.walks:
        for position, block in enumerate(model.get_submodule(chain.blocks).children()):
            path = f"{chain.blocks}.{position}"
            inside = {n: part for n, part in block.named_modules() if isinstance(part, nn.Linear)}
            named = chain.linears(block)
            left_out = set(inside) - set(named)
            if left_out:
                raise ModelError(
                    f"the calibration walk of {type(model).__name__} leaves out "
                    f"{sorted(left_out)[0]}",
                    where=path,
                )
            found |= {f"{path}.{name}": inside[name] for name in named}
    return found
