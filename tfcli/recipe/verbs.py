"""The verbs: what a step can do, as data. Nothing is imported until a verb is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tfcli.errors import UsageError, hint

if TYPE_CHECKING:  # pydantic is not paid for by `tfcli --help`
    from tfcli.recipe.spec import Result, Spec


@dataclass(frozen=True)
class Verb:
    """One verb.

    Args:
        summary: one line for `tfcli --help`.
        package: the package with `spec.py` and `run.py`.
        stem: the class names' stem: `Train` for `TrainSpec` and `TrainResult`.
    """

    summary: str
    package: str
    stem: str

    def spec(self) -> type[Spec]:
        """The spec class; imports nothing heavy."""
        return getattr(import_module(f"{self.package}.spec"), f"{self.stem}Spec")

    def result(self) -> type[Result]:
        """The result class; imports nothing heavy."""
        return getattr(import_module(f"{self.package}.spec"), f"{self.stem}Result")

    def run(self) -> Callable[..., Any]:
        """The function that does the work; imports what the work needs."""
        return import_module(f"{self.package}.run").run


VERBS = {
    "convert": Verb(
        "Rewrite a checkpoint: container, dtype, shard size; verified.", "tfcli.convert", "Convert"
    ),
    "quantize": Verb(
        "Shrink a model's weights to 2, 3, 4 or 8 bits.", "tfcli.quantize", "Quantize"
    ),
    "train": Verb("Train a model, from scratch or from a checkpoint.", "tfcli.train", "Train"),
    "eval": Verb("Measure a model on a data file.", "tfcli.evaluate", "Eval"),
    "benchmark": Verb("Time loading, prefill and decoding.", "tfcli.benchmark", "Benchmark"),
    "generate": Verb("Continue a prompt.", "tfcli.generation", "Generate"),
    "chat": Verb("Talk with a model.", "tfcli.chat", "Chat"),
    "data": Verb("Prepare text: drop repeats, split by document.", "tfcli.data", "Data"),
    "tokenizer": Verb(
        "Train a tokenizer: byte-level BPE, WordPiece or Unigram.", "tfcli.tokenizers", "Tokenizer"
    ),
    "dequantize": Verb(
        "Unpack a quantized checkpoint into dense weights.", "tfcli.dequantize", "Dequantize"
    ),
    "merge": Verb("Merge an adapter (LoRA, DoRA, IA3) into its base.", "tfcli.merge", "Merge"),
    "average": Verb("Average checkpoints of one model.", "tfcli.average", "Average"),
    "compose": Verb("Put a language model and encoders together.", "tfcli.compose", "Compose"),
    "shard": Verb("Split or join a checkpoint's weight files.", "tfcli.shard", "Shard"),
    "diff": Verb("Compare two checkpoints, tensor by tensor.", "tfcli.diff", "Diff"),
    "inspect": Verb("Show what a checkpoint holds and what it needs.", "tfcli.inspect", "Inspect"),
    "report": Verb("Write one report of finished steps.", "tfcli.report", "Report"),
}
"""Command name -> verb. The order is the order of `tfcli --help`."""


def get_verb(name: str, *, where: str | None = None) -> Verb:
    """The verb of a name, or a UsageError that lists the known ones and the nearest."""
    if name in VERBS:
        return VERBS[name]
    raise UsageError(
        f"unknown command {name!r}",
        where=where,
        fix=hint(name, VERBS),
        code="usage.unknown_command",
    )
