"""The files of a quantized checkpoint, one for each block that holds something."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.checkpoint import Weights
from tfcli.quantize.plan import KeptPlan, Plan, Unit
from tfcli.quantize.write import BlockFiles


def test_a_block_that_holds_nothing_is_done_and_has_no_file(tmp_path: Path) -> None:
    outside, empty = Unit("", kept=[KeptPlan("embed", "embed", "a table")]), Unit("layers.0")
    plan = Plan([outside, empty], {}, {}, {}, [], ["layers"], [])
    files = BlockFiles(tmp_path, plan, Weights({}))
    assert files.names == ["model.safetensors"]
    assert files.outcomes(outside) is None
    assert (files.outcomes(empty), files.finished(empty), files.kept(empty)) == ([], {}, {})
