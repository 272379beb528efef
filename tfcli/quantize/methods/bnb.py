"""bitsandbytes: nf4 and fp4 in blocks, and LLM.int8() by rows. Rounds as that library does."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.models.layouts.bitsandbytes_4bit import StoredCodebook
from tfcli.models.layouts.bitsandbytes_8bit import RowFormat
from tfcli.models.layouts.values import Format
from tfcli.quantize.methods.method import Method, Quantized
from tfcli.quantize.plan import LinearPlan
from tfcli.quantize.solvers.bnb import quantize_4bit, quantize_8bit


class BitsAndBytes(Method):
    """Each weight goes to the nearest entry of a table, or of its row's 255 levels."""

    layouts: ClassVar[tuple[str, ...]] = ("bitsandbytes",)
    usual_group_size: ClassVar[int | None] = 64

    def format(self, name: str) -> Format:
        """What it makes of every linear."""
        spec = self.spec
        if spec.bits == 8:
            return RowFormat(threshold=spec.threshold)
        _, block = self.width(name)
        return StoredCodebook(4, block, spec.quant_type, spec.double_quant, spec.storage_dtype)

    def check(self, linear: LinearPlan, weight: Tensor) -> None:
        """Refuse weights of 8 bits that fp16, in which they are rounded, does not hold."""
        super().check(linear, weight)
        largest = weight.abs().amax().item()
        if self.spec.bits == 8 and largest > torch.finfo(torch.float16).max:
            raise WorkError(
                f"holds weights up to {largest:.3g}, and bitsandbytes rounds to 8 bits from fp16",
                where=linear.stored_name,
                fix="take 4 bits, or name it in skip",
            )

    def quantize(self, linear: LinearPlan, weight: Tensor) -> Quantized:
        """Quantize the weight of a linear."""
        form = self.format(linear.name)
        if isinstance(form, StoredCodebook):
            nested = form.nested
            return Quantized(quantize_4bit(weight, form.table, form.group_size, nested=nested))
        return Quantized(quantize_8bit(weight))

    def notes(self) -> dict[str, Any]:
        """What the config says of the products of its readers."""
        return {"compute_dtype": self.spec.compute_dtype or "float32"}
