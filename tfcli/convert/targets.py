"""What a checkpoint can become: each target, and the module that makes it."""

from __future__ import annotations

from importlib import import_module

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.containers import TARGETS
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.recipe.job import Job

# Targets with a plan of their own, or none. The others are containers of tensors: a writer takes a
# plan, and what it wrote is read again and compared.
OTHERS = {
    "gguf": "tfcli.convert.gguf",
    "onnx": "tfcli.convert.exports.onnx",
    "executorch": "tfcli.convert.exports.executorch",
    "torch-export": "tfcli.convert.exports.torch_export",
}


def convert(view: Checkpoint, spec: ConvertSpec, job: Job) -> ConvertResult:
    """Make `spec.to` of a view. See `tfcli.convert.run.run` for the errors."""
    if spec.to in OTHERS:
        result: ConvertResult = import_module(OTHERS[spec.to]).convert(view, spec, job)
        return result
    from tfcli.convert.containers import convert_tensors

    return convert_tensors(view, spec, job, TARGETS[spec.to].writer)
