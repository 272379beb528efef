"""Graphs of torch.export, for `tfcli convert --to torch-export`.

`torch.export.load` reads them, `torch._inductor.aoti_compile_and_package` compiles them, and
neither needs tfcli.
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

FILE = "model.pt2"


def convert(view: Checkpoint, spec: ConvertSpec, job: Job) -> ConvertResult:
    """Write `model.pt2`, load it, run it and compare. See `export` for the errors."""
    return export(view, spec, job, FORMAT)


def write(traced: Traced, folder: Path) -> list[Path]:
    """Write the graph with its weights."""
    import torch

    torch.export.save(traced.program, folder / FILE)
    return [folder / FILE]


def open_graph(folder: Path, outputs: list[str]) -> Run:
    """What runs the graph in a folder."""
    import torch

    module = torch.export.load(folder / FILE).module()

    @torch.no_grad()
    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = module(**inputs)
        return {name: found[name] for name in outputs}

    return run


FORMAT = Format(title="torch.export", extra="", packages=(), write=write, open=open_graph)
