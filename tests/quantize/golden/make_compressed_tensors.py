"""Makes compressed_tensors.safetensors: linears that compressed-tensors quantizes and stores.

    scripts/compressed-tensors
    .compressed-tensors/bin/python tests/quantize/golden/make_compressed_tensors.py

Of each case: the stored tensors, the weight that the library's own code makes of them, and what it
makes of inputs that the scheme rounds.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme, QuantizationStatus
from compressed_tensors.quantization.lifecycle.forward import forward_quantize
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from safetensors.torch import save_file
from torch import Tensor

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from compressed_tensors_cases import CASES, inputs, weight  # noqa: E402


def blocks(matrix: Tensor, args: QuantizationArgs) -> Tensor:
    """The numbers that share a scale: [rows of scales, columns of scales, numbers]."""
    m, n = matrix.shape
    if args.strategy == "tensor":
        return matrix.reshape(1, 1, -1)
    if args.strategy == "channel":
        return matrix.unsqueeze(1)
    if args.strategy == "block":
        height, width = args.block_structure
        padded = torch.nn.functional.pad(matrix, (0, -n % width, 0, -m % height))
        cut = padded.reshape(-(-m // height), height, -(-n // width), width)
        return cut.transpose(1, 2).flatten(2)
    return matrix.unflatten(1, (-1, args.group_size))


def main() -> None:
    held = {}
    for name, (form, of_weight, of_inputs) in CASES.items():
        args = QuantizationArgs(**of_weight)
        scheme = QuantizationScheme(
            targets=["Linear"],
            weights=args,
            input_activations=None if of_inputs is None else QuantizationArgs(**of_inputs),
            format=form,
        )
        matrix, state = weight(), {}
        whole = None
        if args.strategy == "tensor_group":
            whole = generate_gparam(*torch.aminmax(matrix))
            state["weight_global_scale"] = whole
        parts = blocks(matrix, args)
        scale, zero = calculate_qparams(parts.amin(-1), parts.amax(-1), args, global_scale=whole)
        if args.strategy == "tensor":
            scale, zero = scale.reshape(1), zero.reshape(1)
        state |= {"weight": matrix, "weight_scale": scale, "weight_zero_point": zero}
        compressor = BaseCompressor.get_value_from_registry(form)
        stored = compressor.compress(state, scheme)
        held |= {f"{name}.{part}": value.contiguous() for part, value in stored.items()}
        dense = compressor.decompress(stored, scheme)["weight"]
        held[f"{name}.dense"] = dense.contiguous()
        if of_inputs is not None:
            layer = torch.nn.Linear(1, 1)
            layer.quantization_status = QuantizationStatus.FROZEN
            x = inputs()
            if of_inputs.get("dynamic") == "local":
                layer.input_global_scale = generate_gparam(*torch.aminmax(x))
                held[f"{name}.input_global_scale"] = layer.input_global_scale
            rounded = forward_quantize(layer, x, "input", scheme.input_activations)
            held[f"{name}.inputs"] = rounded.contiguous()
    made_by = f"compressed-tensors {version('compressed-tensors')}"
    save_file(held, HERE / "compressed_tensors.safetensors", {"made_by": made_by})


main()
