"""What of a quantization's keys does not go together, or has no effect beside others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tfcli.quantize.names import BITS, BNB_BLOCKS
from tfcli.quantize.overrides import WIDTHS, is_width, width_of

if TYPE_CHECKING:
    from tfcli.quantize.spec import QuantizeSpec


def check_keys(spec: QuantizeSpec) -> None:
    """Refuse keys that contradict each other, or that nothing would look at.

    Raises:
        ValueError: naming the keys.
    """
    _rounding_sees_no_inputs(spec)
    _method_has_bits_and_groups(spec)
    _patterns_are_regular_expressions(spec)
    _head_is_a_width(spec)
    _gguf_has_types_of_its_own(spec)
    _budget_chooses_widths(spec)


def _rounding_sees_no_inputs(spec: QuantizeSpec) -> None:
    if spec.method == "rtn" and spec.scale_search == "hessian":
        raise ValueError(
            "scale_search: hessian needs calibration, which method: rtn does without; take mse"
        )


def _method_has_bits_and_groups(spec: QuantizeSpec) -> None:
    if spec.layout != "gguf" and spec.bits not in BITS.get(spec.method, (spec.bits,)):
        known = ", ".join(map(str, BITS[spec.method]))
        raise ValueError(f"bits: {spec.bits} is not there with method: {spec.method} ({known})")
    if spec.method != "bnb":
        return
    _check_blocks(spec)
    if spec.bits == 8:
        for key in ("group_size", "compute_dtype"):
            if getattr(spec, key) is not None:
                raise ValueError(f"{key} has no effect with method: bnb and bits: 8")
    elif spec.group_size not in (None, *BNB_BLOCKS):
        known = ", ".join(map(str, BNB_BLOCKS))
        raise ValueError(f"group_size: {spec.group_size} is not there with method: bnb ({known})")


def _check_blocks(spec: QuantizeSpec) -> None:
    """bitsandbytes' config has one kind for all linears; a weight says its block by itself."""
    for text, each in zip(spec.overrides, spec.exceptions(), strict=True):
        bits, block = width_of(each.word)
        if spec.bits == 8 or bits != 4:
            raise ValueError(
                f"overrides: {text!r}: the config of bitsandbytes says 4 or 8 bits for all "
                "linears; blocks of 4 bits can differ, as in down_proj=4bit:128, and exclude "
                "leaves linears as they are"
            )
        if block not in (None, *BNB_BLOCKS):
            known = ", ".join(map(str, BNB_BLOCKS))
            raise ValueError(f"overrides: {text!r}: bnb has no such block ({known})")
    if spec.head is None or not is_width(spec.head):
        return
    bits, block = width_of(spec.head)
    if bits != spec.bits or (bits == 8 and block is not None):
        whole = "8bit, without a group size" if spec.bits == 8 else "4bit, or 4bit:128"
        raise ValueError(
            f"head: {spec.head!r}: the config of bitsandbytes says {spec.bits} bits for all "
            f"linears, so its head is {whole}"
        )
    if block not in (None, *BNB_BLOCKS):
        known = ", ".join(map(str, BNB_BLOCKS))
        raise ValueError(f"head: {spec.head!r}: bnb has no such block ({known})")


def _patterns_are_regular_expressions(spec: QuantizeSpec) -> None:
    for key in ("include", "exclude"):
        for pattern in getattr(spec, key):
            try:
                re.compile(pattern)
            except (re.error, RecursionError, OverflowError) as error:
                message = f"{key}: {pattern!r} is no regular expression: {error}"
                raise ValueError(message) from None
    spec.exceptions()


def _head_is_a_width(spec: QuantizeSpec) -> None:
    if spec.head is not None and not is_width(spec.head):
        raise ValueError(f"head: {spec.head!r} is not like {WIDTHS}")


def _gguf_has_types_of_its_own(spec: QuantizeSpec) -> None:
    if spec.layout != "gguf":
        return
    if spec.head is not None:
        raise ValueError(
            "head: has no effect beside layout: gguf, whose mixes say the type of the output "
            "matrix; take another gguf_type"
        )
    if spec.method not in ("rtn", "gptq"):
        raise ValueError(f"layout: gguf is filled by rtn and gptq, not by {spec.method}")
    grid = ("group_size", "symmetric", "scale_search")
    for key in (*grid, "order", "static_groups", "drift", "refine"):
        if key in spec.model_fields_set and getattr(spec, key) not in (None, []):
            raise ValueError(
                f"{key}: has no effect beside layout: gguf, whose types say how weights are "
                "grouped and scaled, and whose solver has no such choice"
            )
    if spec.gguf_type is not None and "bits" in spec.model_fields_set:
        raise ValueError("bits: has no effect beside gguf_type, which says them")


def _budget_chooses_widths(spec: QuantizeSpec) -> None:
    if not spec.has_budget:
        return
    key = spec.budget_key
    if spec.target_bits is not None and spec.target_size is not None:
        raise ValueError("target_bits and target_size: give one of both")
    for other in ("bits", "overrides", "gguf_type"):
        if other in spec.model_fields_set:
            raise ValueError(f"{other}: has no effect beside {key}, which chooses widths")
    if spec.layout == "awq":
        raise ValueError(f"{key}: layout awq has one width for all linears; take gptq")
