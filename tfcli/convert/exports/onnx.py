"""ONNX graphs, for `tfcli convert --to onnx`.

Written by torch's exporter and run by onnxruntime. Inputs, outputs and dimensions have the names
that optimum gives them, so that what reads its files reads these.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.convert.exports.export import export
from tfcli.convert.exports.formats import Format, Traced
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.recipe.job import Job

if TYPE_CHECKING:
    from torch import Tensor

    from tfcli.convert.exports.formats import Run

FILE, WEIGHTS = "model.onnx", "model.onnx_data"
INLINE_BYTES = 1_000_000_000  # of weights in the graph's own file, which can hold 2 GB at most


def convert(view: Checkpoint, spec: ConvertSpec, job: Job) -> ConvertResult:
    """Write `model.onnx`, run it and compare. See `export` for the errors."""
    return export(view, spec, job, FORMAT)


def write(traced: Traced, folder: Path, *, inline_bytes: int = INLINE_BYTES) -> list[Path]:
    """Write the graph, and its weights beside it where they are many.

    Args:
        traced: the graph.
        folder: where to.
        inline_bytes: more weights than these get a file of their own.
    """
    import onnx_ir
    import torch
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    program = torch.onnx.export(
        traced.program,
        dynamo=True,
        verbose=False,
        input_names=list(traced.dimensions),
        output_names=traced.outputs,
        dynamic_shapes=traced.dimensions,
    )
    assert program is not None
    model = program.model
    ClearMetadataAndDocStringPass()(model)  # names of torch's modules and classes at each node
    model.producer_name, model.producer_version = "tfcli", None
    constants = (value.const_value for value in model.graph.initializers.values())
    apart = sum(constant.nbytes for constant in constants if constant is not None) > inline_bytes
    onnx_ir.save(model, folder / FILE, external_data=WEIGHTS if apart else None)
    return [folder / FILE, *([folder / WEIGHTS] if apart else [])]


def open_graph(folder: Path, outputs: list[str]) -> Run:
    """What runs the graph in a folder, on the CPU."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        folder / FILE, options, providers=["CPUExecutionProvider"]
    )

    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        found = session.run(outputs, {name: value.numpy() for name, value in inputs.items()})
        return {name: torch.from_numpy(value) for name, value in zip(outputs, found, strict=True)}

    return run


FORMAT = Format(
    title="ONNX",
    extra="onnx",
    packages=("onnx", "onnxscript", "onnxruntime"),
    write=write,
    open=open_graph,
    cannot_run=("BF16",),
)
