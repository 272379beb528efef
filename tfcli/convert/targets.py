"""What a checkpoint can become: each target, and the module that makes it."""

from __future__ import annotations

from importlib import import_module

from tfcli.checkpoints.checkpoint import View
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.recipe.job import Job

# Containers of tensors: a writer takes a plan, and what it wrote is read again and compared.
WRITERS = {
    "hf": "tfcli.checkpoints.hf.write",
    "pt": "tfcli.checkpoints.torch.write",
    "meta": "tfcli.checkpoints.meta.write",
    "megatron": "tfcli.checkpoints.megatron.write",
    "dcp": "tfcli.checkpoints.dcp.write",
    "flagai": "tfcli.checkpoints.flagai.write",
}
# Those with a plan of their own, or none.
OTHERS = {
    "gguf": "tfcli.convert.gguf",
    "onnx": "tfcli.convert.exports.onnx",
    "executorch": "tfcli.convert.exports.executorch",
    "torch-export": "tfcli.convert.exports.torch_export",
}


def convert(view: View, spec: ConvertSpec, job: Job) -> ConvertResult:
    """Make `spec.to` of a view. See `tfcli.convert.run.run` for the errors."""
    if spec.to in OTHERS:
        result: ConvertResult = import_module(OTHERS[spec.to]).convert(view, spec, job)
        return result
    from tfcli.convert.containers import convert_tensors

    return convert_tensors(view, spec, job, import_module(WRITERS[spec.to]))
