"""What a training would learn from: its examples as text, with what is learned of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

from tfcli.checkpoints.folder import open_model
from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.tokenizers.load import Tokenizer
from tfcli.train.batch import Example
from tfcli.train.beside import beside_of, read_tokenizer
from tfcli.train.feeds.media import MediaExample
from tfcli.train.objectives.causal_lm import CausalLM
from tfcli.train.objectives.objective import Material, Objective, Shown
from tfcli.train.objectives.registry import OBJECTIVES, make_objective
from tfcli.train.prepare import config_of, new_config
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
    objective = make_objective(spec)
    _require_shown(spec, objective)
    tokenizer = read_tokenizer(spec, start)
    config = config_of(None if spec.config is None else new_config(spec.config, tokenizer), start)
    beside = beside_of(spec, start, config)
    found = objective.feed(Material(spec, tokenizer, beside.folder, console, config))
    epoch = found.train.part(0)
    look = _Look(tokenizer, objective)
    lengths, learned, features = [], 0, 0
    for example in epoch:
        rows = objective.shown(example)
        lengths.append(sum(row.tokens for row in rows))
        learned += sum(sum(row.learned) for row in rows)
        features += look.features(rows)
    tokens = sum(lengths)
    return PreviewResult(
        data=", ".join(each.path for each in spec.sources),
        streamed=spec.stream,
        examples=len(epoch),
        validation_examples=None if found.validation is None else len(found.validation),
        tokens=tokens,
        learned=learned,
        features=features,
        learned_share=learned / tokens,
        lengths=_ranges(lengths),
        samples=[look.sample(each) for each in epoch[:samples]],
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


class _Look:
    """Examples as text.

    Args:
        tokenizer: of the model.
        objective: that made the examples.
    """

    def __init__(self, tokenizer: Tokenizer, objective: Objective) -> None:
        self.tokenizer, self.objective = tokenizer, objective
        media = objective.media if isinstance(objective, CausalLM) else None
        self.of_media = frozenset(() if media is None else media.feature_ids)

    def features(self, rows: Sequence[Shown]) -> int:
        """How many tokens stand for features of media."""
        return sum(id in self.of_media for row in rows for id in row.ids)

    def sample(self, example: Example) -> PreviewSample:
        """An example, row by row."""
        rows = self.objective.shown(example)
        return PreviewSample(
            tokens=sum(row.tokens for row in rows),
            learned=sum(map(sum, (row.learned for row in rows))),
            media=len(example.media) if isinstance(example, MediaExample) else 0,
            features=self.features(rows),
            rows=[self._parts(row) for row in rows],
        )

    def _parts(self, row: Shown) -> list[PreviewPart]:
        """The runs of a row's tokens."""
        pairs = zip(row.ids, row.learned, strict=True)
        return [
            PreviewPart(text=self._text([id for id, _ in run]), learned=of)
            for of, run in ((of, list(run)) for of, run in groupby(pairs, key=lambda pair: pair[1]))
        ]

    def _text(self, ids: list[int]) -> str:
        """The text of tokens; a run of those that stand for one medium is written once."""
        pieces = []
        for feature, run in groupby(ids, key=lambda id: id if id in self.of_media else None):
            some = list(run)
            shown = some if feature is None else some[:1]
            text = self.tokenizer.decode(shown, skip_special_tokens=False)
            pieces.append(text if feature is None else f"{text} x {len(some)}")
        return "".join(pieces)
