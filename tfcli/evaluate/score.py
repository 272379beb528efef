"""Losses of tokens and divergences of distributions, window by window, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tfcli.errors import WorkError
from tfcli.evaluate.predict import Predict, next_tokens
from tfcli.evaluate.windows import Window, batches
from tfcli.models.model import Model
from tfcli.process_group import ALONE, Processes

_CHUNK = 1 << 24
"""Logits made at a time: 64 MiB in float32."""
_KINDS = ("loss", "greedy", "reference_loss", "divergence", "same_top")


@dataclass(frozen=True)
class Scores:
    """Figures of each scored token, in no particular order; each [n], float64.

    Args:
        loss (Tensor): negative log likelihood, nats.
        reference_loss (Tensor): the same of the reference model.
        divergence (Tensor): KL(reference || model) over the tokens that both have, nats.
        same_top (Tensor): 1 where both rank the same token first, else 0.
        greedy (Tensor): 1 where the model ranks the token first, else 0.
        window (Tensor): the number of the token's window, in the order in which they were given.
    """

    loss: torch.Tensor
    reference_loss: torch.Tensor | None = None
    divergence: torch.Tensor | None = None
    same_top: torch.Tensor | None = None
    greedy: torch.Tensor | None = None
    window: torch.Tensor | None = None


@dataclass(frozen=True)
class Distance:
    """How far a model's next-token distributions are from its reference's.

    Args:
        mean: of KL(reference || model) over the scored tokens, nats; so are the three after it.
        median: half of the tokens have no more.
        p99: 99% of them have no more.
        p999: 99.9% of them have no more.
        same_top: share of the tokens where both rank the same one first.
    """

    mean: float
    median: float
    p99: float
    p999: float
    same_top: float

    @classmethod
    def of(cls, scores: Scores) -> Distance:
        """The distance that `score` measured with a reference."""
        found, same = scores.divergence, scores.same_top
        if found is None or same is None:
            raise ValueError("these scores have no reference")
        # kthvalue and not quantile, which refuses more than 16 million values.
        median, p99, p999 = (
            float(found.kthvalue(math.ceil(share * len(found))).values)
            for share in (0.5, 0.99, 0.999)
        )
        return cls(float(found.mean()), median, p99, p999, float(same.mean()))


@torch.inference_mode()
def score(
    model: Model,
    documents: Sequence[Sequence[int]],
    windows: Sequence[Window],
    *,
    batch_size: int = 8,
    reference: Model | None = None,
    predict: Predict = next_tokens,
    prefix: tuple[int, ...] = (),
    advance: Callable[[int], None] = lambda tokens: None,
    processes: Processes = ALONE,
) -> Scores:
    """Score every window.

    Args:
        model: in eval mode.
        documents: token ids, without what the tokenizer puts around a text.
        windows: from `plan_windows`.
        batch_size: windows at a time.
        reference: a model of the same task and tokenizer, on the same device.
        predict: how a model of this kind predicts the scored tokens.
        prefix: ids that stand before the windows that say so.
        advance: told how many tokens were scored since the last call.
        processes: those that share the windows. They make passes of the same shapes together, and
            all get all figures.

    Raises:
        WorkError: logits that are not finite.
    """
    device = model.device
    models = [model] if reference is None else [model, reference]
    step = max(1, _CHUNK // max(each.config.text.vocab_size for each in models))
    columns: list[tuple[torch.Tensor, ...]] = []
    numbers = {window: number for number, window in enumerate(windows)}
    for together in batches(windows, batch_size * processes.count):
        begin = batch_size * processes.rank
        mine = together[begin : begin + batch_size]
        batch = mine or together[:1]  # what the others wait for, and nobody counts
        rows = [
            [*prefix * window.begins, *documents[window.document][window.start : window.end]]
            for window in batch
        ]
        ids = torch.tensor(rows, device=device)
        targets = ids[:, -batch[0].scored :].reshape(-1)
        which = torch.tensor([numbers[window] for window in batch])
        which = which.repeat_interleave(batch[0].scored)
        states = [predict(each, ids, batch[0].scored) for each in models]
        for start in range(0, len(targets), step):
            part = slice(start, start + step)
            logits = [each.logits_of(rows[part]) for each, rows in zip(models, states, strict=True)]
            if mine:
                columns.append((which[part], *_figures(logits, targets[part])))
        advance(sum(each.scored for each in together))
    names = ("window", *_KINDS[: 2 if reference is None else None])
    columns.append((torch.empty(0),) * len(names))
    joined = [processes.joined(torch.cat(column).double()) for column in zip(*columns, strict=True)]
    if not all(bool(column.isfinite().all()) for column in joined):
        raise WorkError(
            "the model's predictions are not finite (NaN or infinity)",
            fix="try --dtype float32; if that does not help, the weights are damaged",
        )
    return Scores(**dict(zip(names, joined, strict=True)))


def _figures(logits: list[torch.Tensor], targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The figures of some tokens by `_KINDS`, each [n], on the CPU; the first two without a
    reference."""
    found = [each.float().log_softmax(-1) for each in logits]
    losses = [-each.gather(-1, targets[:, None])[:, 0] for each in found]
    first = (losses[0].cpu(), (found[0].argmax(-1) == targets).cpu())
    if len(found) == 1:
        return first
    # Tables of one tokenizer may be padded to different lengths: no text has the rows past either.
    both = min(each.shape[-1] for each in found)
    ours, theirs = (
        each if each.shape[-1] == both else each[:, :both].log_softmax(-1) for each in found
    )
    same = (ours.argmax(-1) == theirs.argmax(-1)).float()
    more = (losses[1], divergence(theirs, ours), same)
    return (*first, *(column.cpu() for column in more))


def divergence(reference: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    """KL(reference || model) in nats, [n], of log-probabilities [n, vocab]."""
    return (reference.exp() * (reference - model)).sum(-1)
