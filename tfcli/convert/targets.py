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

# Those that keep packed weights as they are stored, and those that a model is run for, which
# say themselves what they take.
_AS_STORED = ("hf", "pt", "dcp", "onnx", "executorch", "torch-export")


def needs_dense(spec: ConvertSpec) -> bool:
    """Whether packed weights come out dense: a type is asked for, or the target holds none."""
    return spec.dtype is not None or spec.to not in _AS_STORED


def convert(view: Checkpoint, spec: ConvertSpec, job: Job) -> ConvertResult:
    """Make `spec.to` of a view. See `tfcli.convert.run.run` for the errors."""
    if spec.to in OTHERS:
        result: ConvertResult = import_module(OTHERS[spec.to]).convert(view, spec, job)
        return result
    from tfcli.convert.containers import convert_tensors

    return convert_tensors(view, spec, job, TARGETS[spec.to].writer)
