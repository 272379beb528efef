"""A source that changes under whoever reads it: in every container and verb an error that names it.

No artifact, nothing printed and no model is of two versions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.checkpoints.changes import CHANGES, rewritten, truncated
from tests.checkpoints.models import GPT2, tiny
from tests.conftest import make_tiny_llama
from tests.dequantize.test_dequantize import join_files
from tests.merge.adapters import by_hand
from tfcli.average.spec import AverageSpec
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.containers import TARGETS, open_checkpoint
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.console import Bar, Console, NoBar
from tfcli.convert.spec import ConvertSpec
from tfcli.dequantize.spec import DequantizeSpec
from tfcli.diff.spec import DiffSpec
from tfcli.errors import WorkError
from tfcli.merge.spec import MergeSpec
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.execute import execute
from tfcli.recipe.spec import Spec
from tfcli.shard.spec import ShardSpec

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("changing") / "llama", tiny_tokenizer, **SIZES)


def copied(source: Path, target: Path) -> Path:
    """A copy of a folder, whose files are all old: a change in one tick of the clock is seen."""
    for path in source.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
            os.utime(place, ns=(1, 1))
    return target


@pytest.mark.parametrize("to", TARGETS)
def test_between_two_tensors(llama: Path, tmp_path: Path, to: str) -> None:
    model = llama
    if to == "flagai":  # which knows no llama
        save_model(tiny(GPT2), model := tmp_path / "gpt2")
    execute(ConvertSpec(source=str(model), output=str(tmp_path / "made"), to=to), Console.silent())
    for change in CHANGES:
        source = copied(tmp_path / "made", tmp_path / change.__name__)
        opened = open_checkpoint(source)
        first, *others = opened.tensors.values()
        first.read()
        largest = max(opened.files, key=lambda path: path.stat().st_size)
        change(largest)
        with pytest.raises(WorkError, match="changed while it was read") as error:
            for tensor in others:
                tensor.read()
        assert error.value.where == str(largest)


def changing(opened: Checkpoint, change: Callable[[], None]) -> Checkpoint:
    """The same, which changes when its second tensor was read."""
    name = list(opened.tensors)[1]
    tensor = opened.tensors[name]

    def read() -> torch.Tensor:
        values = tensor.read()
        change()
        return values

    return replace(opened, tensors={**opened.tensors, name: replace(tensor, read=read)})


@pytest.mark.parametrize("change", CHANGES)
def test_while_a_model_is_loaded(llama: Path, tmp_path: Path, change: Change) -> None:
    """So in eval, generate, benchmark and train, which load whole models first."""
    source = copied(llama, tmp_path / "source")
    weights = source / "model.safetensors"
    with pytest.raises(WorkError, match="changed while it was read") as error:
        load_model(changing(open_checkpoint(source), lambda: change(weights)))
    assert error.value.where == str(weights)


class Changing(Console):
    """A console during whose first progress a file changes, when as much is done as is said."""

    def __init__(self, change: Callable[[], None], after: int) -> None:
        super().__init__(quiet=True)
        self.change, self.left = change, after

    @contextmanager
    def progress(self, description: str, total: float, unit: str = "it") -> Iterator[Bar]:
        console = self

        class Counting(NoBar):
            def advance(self, n: float = 1) -> None:
                console.left -= 1
                if console.left == 0:
                    console.change()

        yield Counting()


def specs(source: Path, other: Path, packed: Path, adapter: Path, output: str) -> dict[str, Spec]:
    """A step of each verb that streams a checkpoint."""
    return {
        "convert": ConvertSpec(source=str(source), output=output, dtype="bf16"),
        "gguf": ConvertSpec(source=str(source), output=output, to="gguf", dtype="q8_0"),
        "quantize": QuantizeSpec(model=str(source), output=output, method="rtn", group_size=32),
        "dequantize": DequantizeSpec(source=str(packed), output=output),
        "average": AverageSpec(sources=[str(other), str(source)], output=output),
        "merge": MergeSpec(base=str(source), adapter=str(adapter), output=output),
        "shard": ShardSpec(source=str(source), output=output, shard_size="20KB"),
    }


VERBS = list(specs(Path(), Path(), Path(), Path(), "x"))


@pytest.mark.parametrize("moment", ["first", "last"])
@pytest.mark.parametrize("verb", VERBS)
def test_while_a_verb_streams_it(
    llama: Path, tmp_path: Path, tiny_tokenizer: Path, verb: str, moment: str
) -> None:
    source, other = copied(llama, tmp_path / "source"), copied(llama, tmp_path / "other")
    packed = tmp_path / "packed"
    if verb == "dequantize":
        rtn = QuantizeSpec(model=str(llama), output=str(packed), method="rtn", group_size=32)
        execute(rtn, Console.silent())
        join_files(packed)
        source = packed = copied(packed, tmp_path / "source-packed")
    name = "model.layers.0.self_attn.q_proj"
    factors = {"lora_A.weight": torch.ones(2, 64), "lora_B.weight": torch.ones(64, 2)}
    by_hand(tmp_path / "adapter", {f"{name}.{key}": value for key, value in factors.items()})
    weights, output = source / "model.safetensors", tmp_path / "out"
    spec = specs(source, other, packed, tmp_path / "adapter", str(output))[verb]
    count = Changing(lambda: None, 0)
    execute(spec, count, force=True)
    after = 2 if moment == "first" else -count.left  # what is said last, when all was read
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    with pytest.raises(WorkError, match="changed while it was read") as error:
        execute(spec, Changing(lambda: truncated(weights), after), force=True)
    assert error.value.where == str(weights)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    # What can go on keeps what it has made of the source as it was.
    assert spec.resumable or not (tmp_path / ".out.partial").exists()


def test_while_two_are_compared(llama: Path, tmp_path: Path) -> None:
    """Of tensors that differ, each is read whole; the last read is not the end of the verb."""
    source = copied(llama, tmp_path / "source")
    weights = source / "model.safetensors"
    spec = DiffSpec(a=str(source), b=str(llama))
    count = Changing(lambda: None, 0)
    execute(spec, count)
    assert count.left < 0
    for after in (1, -count.left):
        with pytest.raises(WorkError, match="changed while it was read") as error:
            execute(spec, Changing(lambda: truncated(weights), after))
        assert error.value.where == str(weights)
        copied(llama, source)


def test_a_text_that_a_model_is_quantized_by(llama: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("A name may have many objects, and an object many names. " * 20)
    os.utime(text, ns=(1, 1))
    sizes = {"samples": 2, "sequence_length": 16, "group_size": 32}
    spec = QuantizeSpec(model=str(llama), output=str(tmp_path / "out"), data=str(text), **sizes)
    with pytest.raises(WorkError, match="changed while it was read") as error:
        execute(spec, Changing(lambda: rewritten(text), 1))
    assert error.value.where == str(text)
    assert not (tmp_path / "out").exists()
