"""A dense linear that rounds its inputs, as a quantized checkpoint says that they are."""

from __future__ import annotations

from torch import Tensor

from tfcli.models.layers.linear import Linear, product
from tfcli.models.layouts.inputs import Rounding


class RoundedLinear(Linear):
    """y = round(x) W^T + b. The weight is made on the meta device.

    Args:
        in_features: inputs.
        out_features: outputs.
        bias: whether there is a bias.
        inputs: how x is rounded.
        stored (Tensor): the number that this needs, where it needs one.
    """

    stored: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool,
        inputs: Rounding,
        stored: Tensor | None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device="meta")
        self.inputs = inputs
        self.register_buffer("stored", stored, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (Tensor): [..., in_features] -> [..., out_features]"""
        return product(self.inputs.round(x, self.stored), self.weight, self.bias)
