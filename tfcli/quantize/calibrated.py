"""GPTQ inside the calibration loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from tfcli.quantize.gptq import GPTQOptions, Hessian, gptq
from tfcli.quantize.grid import GridOptions, count_coarse_scales
from tfcli.quantize.rtn import weight_error
from tfcli.quantize.spec import TensorOutcome
from tfcli.quantize.write import LayerResult, layer_bytes, require_finite


@dataclass
class GPTQMethod:
    """Collects Hessians and quantizes from them; see `CalibratedMethod`.

    Args:
        grid: the grid's options.
        options: GPTQ's own.
        stored_names: module name -> name of its weight in the checkpoint.
    """

    grid: GridOptions
    options: GPTQOptions
    stored_names: dict[str, str]
    results: dict[str, LayerResult] = field(default_factory=dict)
    _hessians: dict[str, Hessian] = field(default_factory=dict)

    def observe(self, names: Sequence[str], inputs: Tensor) -> None:
        """Add a batch of inputs to the Hessian that `names` share."""
        if names[0] not in self._hessians:
            hessian = Hessian.empty(inputs.shape[-1], inputs.device)
            self._hessians.update(dict.fromkeys(names, hessian))
        self._hessians[names[0]].add(inputs)

    def quantize(self, name: str, weight: Tensor) -> Tensor:
        """Quantize a weight, keep the result for writing, return its dequantized values.

        Where nothing was observed every input counts as never active: the weight is rounded to
        nearest.
        """
        require_finite(self.stored_names[name], weight)
        unseen = Hessian.empty(weight.shape[1], weight.device)
        hessian = self._hessians.pop(name, unseen)
        result = gptq(weight, hessian, self.grid, self.options, name=name)
        quantized = result.weight
        packed = dataclasses.replace(
            quantized,
            levels=quantized.levels.cpu(),
            scales=quantized.scales.cpu(),
            zeros=quantized.zeros.cpu(),
            group_index=quantized.group_index.cpu(),
        )
        outcome = TensorOutcome(
            name=self.stored_names[name],
            outcome="quantized",
            bits=self.grid.bits,
            group_size=self.grid.group_size,
            weight_error=weight_error(weight, quantized),
            output_error=result.error,
            damping=result.damping,
            dead_inputs=result.dead,
            coarse_scales=count_coarse_scales(weight, self.grid, name=self.stored_names[name]),
            bytes=layer_bytes(weight.shape[0], weight.shape[1], self.grid),
        )
        self.results[name] = LayerResult(name, packed, outcome)
        return quantized.dequantize()
