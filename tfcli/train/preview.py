"""What a training would learn from: its examples as text, with what is learned of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

from tfcli.checkpoints.folder import open_model
from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.tokenizers.load import Tokenizer, load_tokenizer
from tfcli.train.objectives.objective import Material, Objective, Shown
from tfcli.train.objectives.registry import OBJECTIVES, make_objective
from tfcli.train.prepare import config_of, new_config, tokenizer_folder
from tfcli.train.preview_result import PreviewLengths, PreviewPart, PreviewResult, PreviewSample
from tfcli.train.spec import TrainSpec

_RANGES = 10  # of lengths


def preview(spec: TrainSpec, samples: int, console: Console) -> PreviewResult:
    """The examples of a training, made as the training makes them. No weights are read.

    Args:
        spec: of the training.
        samples: how many examples are given as text.
        console: hears of what is left out.

    Raises:
        UsageError: another objective than causal-lm; and as the training.
        WorkError: as the training.
    """
    start = None if spec.model is None else open_model(spec.model)
    companions = tokenizer_folder(spec, start)
    tokenizer = load_tokenizer(spec.tokenizer or companions)
    config = config_of(None if spec.config is None else new_config(spec.config, tokenizer), start)
    objective = make_objective(spec)
    _require_shown(spec, objective)
    found = objective.feed(Material(spec, tokenizer, companions, console, config))
    epoch = found.train.part(0)
    lengths, learned = [], 0
    for example in epoch:
        rows = objective.shown(example)
        lengths.append(sum(row.tokens for row in rows))
        learned += sum(sum(row.learned) for row in rows)
    tokens = sum(lengths)
    return PreviewResult(
        data=", ".join(each.path for each in spec.sources),
        streamed=spec.stream,
        examples=len(epoch),
        validation_examples=None if found.validation is None else len(found.validation),
        tokens=tokens,
        learned=learned,
        learned_share=learned / tokens,
        lengths=_ranges(lengths),
        samples=[_sample(objective.shown(each), tokenizer) for each in epoch[:samples]],
    )


def _ranges(lengths: list[int]) -> list[PreviewLengths]:
    width = -(-max(lengths) // _RANGES)
    counts = torch.bincount((torch.tensor(lengths) - 1) // width).tolist()
    return [
        PreviewLengths(least=number * width + 1, most=(number + 1) * width, examples=count)
        for number, count in enumerate(counts)
    ]


def _require_shown(spec: TrainSpec, objective: Objective) -> None:
    if not _shows(objective):
        each = {name: spec.model_copy(update={"objective": name}) for name in OBJECTIVES}
        others = [name for name, other in each.items() if _shows(make_objective(other))]
        raise UsageError(
            f"objective: {spec.objective} learns something else than the tokens of its examples",
            where="objective",
            fix=f"preview a recipe whose objective is one of {', '.join(others)}",
        )


def _shows(objective: Objective) -> bool:
    return type(objective).shown is not Objective.shown


def _sample(rows: Sequence[Shown], tokenizer: Tokenizer) -> PreviewSample:
    return PreviewSample(
        tokens=sum(row.tokens for row in rows),
        learned=sum(map(sum, (row.learned for row in rows))),
        rows=[_parts(row, tokenizer) for row in rows],
    )


def _parts(row: Shown, tokenizer: Tokenizer) -> list[PreviewPart]:
    """The runs of a row's tokens."""
    pairs = zip(row.ids, row.learned, strict=True)
    return [
        PreviewPart(
            text=tokenizer.decode([id for id, _ in run], skip_special_tokens=False), learned=of
        )
        for of, run in ((of, list(run)) for of, run in groupby(pairs, key=lambda pair: pair[1]))
    ]
