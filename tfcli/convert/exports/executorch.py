"""ExecuTorch programs for phones and small devices, for `tfcli convert --to executorch`.

What XNNPACK has is handed to it, the rest are ExecuTorch's portable kernels. Memory is planned when
the program is made, for its largest input: so a program takes one row, of a limited length.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.convert.exports.export import export
from tfcli.convert.exports.formats import BOUNDS, Format, Traced
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.recipe.job import Job

if TYPE_CHECKING:
    from torch import Tensor

    from tfcli.convert.exports.formats import Run

FILE = "model.pte"
LONGEST = 512  # tokens


def convert(view: Checkpoint, spec: ConvertSpec, job: Job) -> ConvertResult:
    """Write `model.pte`, run it and compare. See `export` for the errors."""
    return export(view, spec, job, FORMAT)


def write(traced: Traced, folder: Path) -> list[Path]:
    """Write the program with its weights."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(
        traced.program,
        partitioner=[XnnpackPartitioner()],
        # Its check knows fewer operations than its kernels are there for.
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    with (folder / FILE).open("wb") as file:
        lowered.to_executorch().write_to_file(file)
    return [folder / FILE]


def open_graph(folder: Path, outputs: list[str]) -> Run:
    """What runs the program in a folder."""
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(folder / FILE)
    method = program.load_method("forward")
    assert method is not None

    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        found = method.execute(list(inputs.values()))
        # Its outputs lie in memory that the next call writes to.
        return {name: value.clone() for name, value in zip(outputs, found, strict=True)}

    return run


FORMAT = Format(
    title="ExecuTorch",
    extra="executorch",
    packages=("executorch",),
    write=write,
    open=open_graph,
    # XNNPACK approximates tanh: up to 4e-4 in the tiny models of families with that GELU.
    bounds=BOUNDS | {"F32": 5e-3},
    rows=1,
    longest=LONGEST,
)
