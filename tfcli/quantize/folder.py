"""Quantized weights as a folder of tensors, whose config says how to read them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tfcli
from tfcli.checkpoints.beside import CONFIG, warn_of_lost_modules
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.fit import require_fit
from tfcli.checkpoints.write import Written
from tfcli.errors import UsageError
from tfcli.files import write_json
from tfcli.models.folding import folds_of
from tfcli.models.layouts.registry import get_layout
from tfcli.models.model import Model
from tfcli.models.walks import linears_of
from tfcli.quantize.head import untied
from tfcli.quantize.methods.method import Method
from tfcli.quantize.methods.registry import get_method
from tfcli.quantize.output import Output
from tfcli.quantize.overrides import width_of
from tfcli.quantize.plan import (
    DEFAULT_GROUP_SIZES,
    Choice,
    default_group_size,
    make_plan,
    sizes_of,
)
from tfcli.quantize.result_spec import TensorOutcome
from tfcli.quantize.spec import QuantizeSpec
from tfcli.quantize.write import BlockFiles
from tfcli.recipe.job import Job
from tfcli.units import format_bytes


class FolderOutput(Output):
    """A Hugging Face folder. See `Output`."""

    def __init__(
        self, spec: QuantizeSpec, checkpoint: Checkpoint, model: Model, unseen: Mapping[str, str]
    ) -> None:
        super().__init__(spec, checkpoint, model, unseen)
        chosen = get_method(spec.method)
        if chosen.folds:
            _require_pairs(spec, model)
        self.tables = _tables(spec, model, self.choice)
        self.method = chosen(spec, self._group_size(chosen))
        if self.head is not None and spec.head is not None:
            self.method.name(self.head, spec.head)
        left_out = self.choice.reasons(list(linears_of(model)), self.tables)
        names = [name for name in linears_of(model) if name not in left_out]
        self.layout = get_layout(_layout(spec, self.method, names, self.head))
        self.plan = make_plan(
            model,
            checkpoint.weights,
            format_of=self.method.format,
            layout=self.layout,
            choice=self.choice,
            head=self.head,
            tables=self.tables,
        )
        self._described = self.layout.of(self.plan.packed(self._said()))
        self._config = self._described.written_in(self._dense_config())
        others = [kept.written for kept in self.plan.kept]
        self.texts = self._described.header(self.plan.linears, others, checkpoint.config)
        pending = BlockFiles(Path(), self.plan, checkpoint.weights).pending()
        require_fit(self._config, {item.name: item.shape for item in pending}, checkpoint.path)
        self._count = len(pending)

    def folder(self, job: Job) -> Path:
        """Where the walk writes its files: they are those of the result."""
        return job.output

    def finish(self, job: Job, files: BlockFiles) -> tuple[Written, list[TensorOutcome]]:
        """Write the index and what lies beside weights. See `Output.finish`."""
        copied = self.checkpoint.carry_along(job.output)
        if self.checkpoint.companions is not None:
            warn_of_lost_modules(self.checkpoint.companions, copied, job.console)
        write_json(job.output / CONFIG, self._config)
        outcomes = files.close()
        if self._described.caveat is not None:
            job.console.warn(self._described.caveat)
        nbytes = sum(outcome.bytes for outcome in outcomes)
        return Written(files.names, copied, nbytes, self._count), outcomes

    def _group_size(self, chosen: type[Method]) -> int:
        found = self.spec.group_size or chosen.usual_group_size
        if found is not None:
            return found
        word = self.spec.head
        follows = self.head if word is not None and width_of(word)[1] is None else None
        size, culprit = default_group_size(self.model, self.choice, follows, self.tables)
        if culprit is not None:
            self.notes.append(
                f"groups of {size} inputs, as {DEFAULT_GROUP_SIZES[0]} does not divide the "
                f"{sizes_of(self.model.get_submodule(culprit))[0]:,} of {culprit}"
            )
        return size

    def _dense_config(self) -> Mapping[str, Any]:
        """The model's config: of one whose head no longer shares a table, that says so."""
        config = self.checkpoint.config
        if self.head is None or f"{self.head}.weight" not in self.model.active_ties():
            return config
        for head in self.plan.heads:
            if head.tied:
                self.notes.append(
                    f"{head.name} shares {head.stored_name}, which stays as it is: quantized it is "
                    f"a matrix of its own, {format_bytes(head.nbytes)} more, and the config says "
                    "tie_word_embeddings: false"
                )
        return untied(config)

    def _said(self) -> dict[str, Any]:
        """What the config says of who quantized, and how."""
        by = {"quantizer": [f"tfcli:{tfcli.__version__}"], "method": self.spec.method}
        return {**by, **self.method.notes()}


def _tables(spec: QuantizeSpec, model: Model, choice: Choice) -> list[str]:
    """Full names of the tables of embeddings that are quantized: those that `include` names, where
    readers of the layout take packed ones.

    Raises:
        UsageError: a pattern means a table alone, and the layout or the method takes none.
    """
    named = choice.tables(model)
    layout = None if spec.layout is None else get_layout(spec.layout)
    if layout is not None and layout.tables and spec.method == "rtn":
        return named
    linears = list(linears_of(model))
    for pattern in choice.include:
        table = next((name for name in named if re.search(pattern, name)), None)
        if table is not None and not any(re.search(pattern, name) for name in linears):
            raise UsageError(
                f"include: {pattern!r} names {table}, a table of embeddings, which only "
                "--method rtn --layout mlx packs",
                where="include",
                fix="leave it out: tables stay as they are",
            )
    return []


def _require_pairs(spec: QuantizeSpec, model: Model) -> None:
    """Refuse a family of which nothing says where factors can go.

    Raises:
        UsageError: names it.
    """
    blocks = (model.get_submodule(chain.blocks) for chain in model.text_walks)
    if not any(folds_of(block) for block in blocks):
        raise UsageError(
            f"{spec.method} moves factors into what comes before a linear, and in the blocks of "
            f"{model.config.model_type} there is no place for them",
            where="method",
            fix="--method gptq, or --method rtn with --round-inputs, which need none",
        )


def _layout(spec: QuantizeSpec, method: Method, names: Sequence[str], head: str | None) -> str:
    """The layout that was asked for, or the first of the method's that holds what it makes of
    linears of these names, and of a head.

    Raises:
        UsageError: the method makes nothing that fits into it.
    """
    forms = {method.format(name) for name in (*names, *([] if head is None else [head]))}
    known = {name: get_layout(name) for name in method.layouts}
    fitting = [
        name
        for name, layout in known.items()
        if not any(layout.refusal(form) for form in forms)
        and (layout.mixes or len(forms) == 1)
        and (layout.heads or head is None)
    ]
    name: str = spec.layout or (*fitting, *method.layouts)[0]
    if name not in method.layouts:
        raise UsageError(
            f"{name} cannot hold what {spec.method} makes",
            where="layout",
            fix=f"layout: {' or '.join(method.layouts)}",
        )
    return name
