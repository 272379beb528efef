"""What the processor has that decides how fast its products are: found once, the same each time.

The choice between ways to multiply follows from this and from shapes, never from a measurement
while running, so that the same work twice takes the same way and gives the same bits.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import Parameter

_PLAIN = (Tensor, Parameter)
_INSTRUCTIONS = {
    torch.bfloat16: {"amx_bf16", "avx512_bf16"},
    torch.float16: {"amx_fp16", "avx512_fp16"},
}


@cache
def features() -> frozenset[str]:
    """The names of the processor's features, as torch spells them."""
    found = torch.cpu.get_capabilities()
    return frozenset(name for name, value in found.items() if value is True)


@cache
def is_x86() -> bool:
    """Whether what is known here of oneDNN and MKL holds: elsewhere torch uses other libraries."""
    return (
        torch.cpu.get_capabilities().get("architecture") == "x86_64"
        and torch.backends.mkldnn.is_available()
    )


@cache
def has_products(dtype: torch.dtype) -> bool:
    """Whether matrices of a 16-bit type are multiplied by instructions made for it.

    The processor must have them and oneDNN must use them; it can be told not to, by
    ONEDNN_MAX_CPU_ISA. Off x86 it is taken from the processor alone.
    """
    if dtype not in _INSTRUCTIONS:
        return True
    if not is_x86():
        return dtype == torch.float16 or "bf16" in features()
    if dtype == torch.bfloat16:
        served = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    else:
        served = torch.ops.mkldnn._is_mkldnn_fp16_supported()
    return bool(served) and not _INSTRUCTIONS[dtype].isdisjoint(features())


def may_choose(*tensors: Tensor) -> bool:
    """Whether these are ordinary tensors in an ordinary call on an x86 processor.

    Whoever traces the call (compilers, exporters, transforms, counters) is shown torch's own
    function; so is autocast, which chooses a type of its own, and what stands in for tensors.
    """
    if torch.compiler.is_compiling():  # asked first: a compiler would trace all that follows
        return False
    return bool(
        all(type(each) in _PLAIN and each.device.type == "cpu" for each in tensors)
        and is_x86()
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
    )


def can_read(x: Tensor) -> bool:
    """Whether looking at a tensor's values costs nothing: it lies in the host's memory.

    To read from a device is to wait for it, in every forward pass; a graph that is being traced
    has no values, and neither has what stands in for tensors.
    """
    return not torch.compiler.is_compiling() and x.device.type == "cpu" and type(x) in _PLAIN
