"""What a training would learn from: its examples as text, with what is learned of them."""

from __future__ import annotations

from itertools import groupby

import torch

from tfcli.checkpoints.folder import open_model
from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.models.losses import IGNORED
from tfcli.tokenizers.load import Tokenizer
from tfcli.train.batch import Example
from tfcli.train.beside import beside_of, read_tokenizer
from tfcli.train.feeds.media import MediaExample
from tfcli.train.objectives.causal_lm import CausalLM
from tfcli.train.objectives.objective import Material
from tfcli.train.objectives.registry import make_objective
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
    if not isinstance(objective, CausalLM):
        raise UsageError(
            f"objective: {spec.objective} learns something else than the tokens of its examples",
            where="objective",
            fix="preview a recipe whose objective is causal-lm",
        )
    tokenizer = read_tokenizer(spec, start)
    config = config_of(None if spec.config is None else new_config(spec.config, tokenizer), start)
    beside = beside_of(spec, start, config)
    found = objective.feed(Material(spec, tokenizer, beside.folder, console, config))
    epoch, targets = found.train.epoch(0), objective.targets
    look = _Look(tokenizer, objective)
    lengths, learned, features = [], 0, 0
    for example in epoch:
        lengths.append(len(example["input_ids"]))
        learned += int((example[targets] != IGNORED).sum())
        features += look.features(example)
    tokens = sum(lengths)
    return PreviewResult(
        data=spec.data,
        examples=len(epoch),
        validation_examples=None if found.validation is None else len(found.validation),
        tokens=tokens,
        learned=learned,
        features=features,
        learned_share=learned / tokens,
        lengths=_ranges(lengths),
        samples=[look.shown(each) for each in epoch[:samples]],
    )


def _ranges(lengths: list[int]) -> list[PreviewLengths]:
    width = -(-max(lengths) // _RANGES)
    counts = torch.bincount((torch.tensor(lengths) - 1) // width).tolist()
    return [
        PreviewLengths(least=number * width + 1, most=(number + 1) * width, examples=count)
        for number, count in enumerate(counts)
    ]


class _Look:
    """Examples as text.

    Args:
        tokenizer: of the model.
        objective: that made the examples.
    """

    def __init__(self, tokenizer: Tokenizer, objective: CausalLM) -> None:
        self.tokenizer, self.targets = tokenizer, objective.targets
        media = objective.media
        self.of_media = () if media is None else tuple(media.feature_ids)

    def features(self, example: Example) -> int:
        """How many tokens stand for features of media."""
        return int(torch.isin(example["input_ids"], torch.tensor(self.of_media)).sum())

    def shown(self, example: Example) -> PreviewSample:
        """An example as text, row by row."""
        ids, learned = example["input_ids"], example[self.targets]
        segments = example.get("segment_ids", torch.zeros_like(ids))
        return PreviewSample(
            tokens=len(ids),
            learned=int((learned != IGNORED).sum()),
            media=len(example.media) if isinstance(example, MediaExample) else 0,
            features=self.features(example),
            rows=[
                self._parts(ids[segments == each], learned[segments == each])
                for each in segments.unique().tolist()
            ],
        )

    def _parts(self, ids: torch.Tensor, targets: torch.Tensor) -> list[PreviewPart]:
        """The text of a row. Its last token is a target only, and not known where it is not
        learned."""
        learned = [False, *(targets != IGNORED).tolist()]
        tokens = [*ids.tolist(), int(targets[-1])]
        pairs = [pair for pair in zip(tokens, learned, strict=True) if pair[0] != IGNORED]
        return [
            PreviewPart(text=self._text([id for id, _ in run]), learned=of)
            for of, run in ((of, list(run)) for of, run in groupby(pairs, key=lambda pair: pair[1]))
        ]

    def _text(self, ids: list[int]) -> str:
        """The text of tokens; a run of those that stand for one medium is written once."""
        pieces = []
        for feature, run in groupby(ids, key=lambda id: id if id in self.of_media else None):
            some = list(run)
            text = self.tokenizer.decode(
                some if feature is None else [feature], skip_special_tokens=False
            )
            pieces.append(text if feature is None else f"{text} x {len(some)}")
        return "".join(pieces)
