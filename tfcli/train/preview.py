"""What a training would learn from: its examples as text, with what is learned of them."""

from __future__ import annotations

from itertools import groupby

import torch

from tfcli.checkpoints.folder import open_model
from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.models.losses import IGNORED
from tfcli.tokenizers.load import Tokenizer, load_tokenizer
from tfcli.train.batch import Example
from tfcli.train.objectives.causal_lm import CausalLM
from tfcli.train.objectives.objective import Material
from tfcli.train.objectives.registry import make_objective
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
    if not isinstance(objective, CausalLM):
        raise UsageError(
            f"objective: {spec.objective} learns something else than the tokens of its examples",
            where="objective",
            fix="preview a recipe whose objective is causal-lm",
        )
    found = objective.feed(Material(spec, tokenizer, companions, console, config))
    epoch, targets = found.train.part(0), objective.targets
    lengths, learned = [], 0
    for example in epoch:
        lengths.append(len(example["input_ids"]))
        learned += int((example[targets] != IGNORED).sum())
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
        samples=[_shown(each, targets, tokenizer) for each in epoch[:samples]],
    )


def _ranges(lengths: list[int]) -> list[PreviewLengths]:
    width = -(-max(lengths) // _RANGES)
    counts = torch.bincount((torch.tensor(lengths) - 1) // width).tolist()
    return [
        PreviewLengths(least=number * width + 1, most=(number + 1) * width, examples=count)
        for number, count in enumerate(counts)
    ]


def _shown(example: Example, targets: str, tokenizer: Tokenizer) -> PreviewSample:
    ids, learned = example["input_ids"], example[targets]
    segments = example.get("segment_ids", torch.zeros_like(ids))
    rows = [
        _parts(ids[segments == each], learned[segments == each], tokenizer)
        for each in segments.unique().tolist()
    ]
    return PreviewSample(tokens=len(ids), learned=int((learned != IGNORED).sum()), rows=rows)


def _parts(ids: torch.Tensor, targets: torch.Tensor, tokenizer: Tokenizer) -> list[PreviewPart]:
    """The text of a row. Its last token is a target only, and not known where it is not learned."""
    learned = [False, *(targets != IGNORED).tolist()]
    tokens = [*ids.tolist(), int(targets[-1])]
    pairs = [pair for pair in zip(tokens, learned, strict=True) if pair[0] != IGNORED]
    return [
        PreviewPart(
            text=tokenizer.decode([id for id, _ in run], skip_special_tokens=False), learned=of
        )
        for of, run in ((of, list(run)) for of, run in groupby(pairs, key=lambda pair: pair[1]))
    ]
