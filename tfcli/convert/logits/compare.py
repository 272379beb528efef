"""`--verify logits`: what was written answers as the source does, but for what its types cost.

Both sides run on the same random tokens, one after the other, in float32: then two models differ
by their weights and configs alone, and not by the arithmetic of a type on this machine. What the
types cost is not guessed from their bits but measured in the source itself: its weights are rounded
to the types of the file, and it runs again. (A rule such as eps * sqrt(layers) is off by a factor
from 0.9 to 56 across the families here; where a router changes its mind, by more.) So the file is
held against a model that must give the same logits, in general to the last bit, and an error far
below the noise of a 4-bit type shows.

What this does not see: activations that overflow float16, and texts longer than the sample.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import load_model
from tfcli.convert.logits.difference import difference, ranking, spread
from tfcli.convert.logits.rounding import places_of, round_weights
from tfcli.convert.logits.sample import sample_inputs
from tfcli.convert.logits.spec import LogitsAccount
from tfcli.errors import ModelError, WorkError
from tfcli.models.loading import build
from tfcli.models.model import Model
from tfcli.models.registry import read_config

# Of the unexplained difference, where the configs are not equal: a container may keep their numbers
# in float32. Measured over all families, that moves logits by at most 6e-7 of their standard
# deviation, and a wrong epsilon or base of the positions by 1e-4 and more where they matter.
RESPELT = 1e-5
_LM = ("causal-lm", "masked-lm", "seq2seq-lm")
_KEPT = 8  # tokens whose states are kept: those at the end, where positions tell
_NO_MATTER = ("extra", "dtype", "architectures", "initializer_range", "id2label", "label2id")


@dataclass(frozen=True)
class Answer:
    """What a model says to the sample.

    Args:
        logits (Tensor): [n, c], float32; c numbers that are ranked, or a vector.
        states: of the first row's last tokens, by where in the model they are; each [t, d].
    """

    logits: Tensor
    states: dict[str, Tensor]


def compare_logits(
    source: Checkpoint,
    written: Checkpoint,
    *,
    task: str | None = None,
    seed: int = 0,
    rows: int = 2,
    length: int = 64,
) -> LogitsAccount:
    """Compare what was written with its source by what both answer.

    Args and errors are those of `measure_logits`.

    Raises:
        WorkError: the answers differ by more than rounding explains; says after which block.
    """
    account, first = _measure(source, written, task, seed, rows, length)
    if account.within:
        return account
    differing = _config_changes(source, written)
    keys = f", and the configs differ in {', '.join(differing)}" if differing else ""
    raise WorkError(
        f"verification: the logits differ from the source's by {account.relative_difference:.2g} "
        f"of their standard deviation, of which {account.unexplained_difference:.2g} is not "
        f"explained by {_types(account)} (allowed: {account.bound:.2g}); "
        f"the difference begins in {first}{keys}",
        where=str(written.path),
        fix="do not use these files; keep the source, and report the family with its config.json",
    )


def require_runnable(source: Checkpoint, task: str | None = None) -> None:
    """Refuse what cannot be run before it is converted, from the config and the names alone.

    Raises:
        ModelError: a family, task or setting that is not built, or tensors that do not belong to
            the config; names the checkpoint.
    """
    try:
        model = build(read_config(source.config), task, at_most=source.most_values)
    except ModelError as error:
        where = f"{source.path}: {error.where}" if error.where else str(source.path)
        raise ModelError(error.what, where=where, fix=error.fix) from error
    places_of(model, source)


def measure_logits(
    source: Checkpoint,
    written: Checkpoint,
    *,
    task: str | None = None,
    seed: int = 0,
    rows: int = 2,
    length: int = 64,
) -> LogitsAccount:
    """The difference between two checkpoints' logits, and how much of it rounding explains.

    In memory is one model at a time, in float32, and the logits of three runs.

    Args:
        source: what was converted.
        written: what it became.
        task: the head to run; None takes the one that the source's config names, or `embedding`
            where what was written has no head.
        seed: of the token ids.
        rows: how many texts.
        length: tokens of each.

    Raises:
        ModelError: a side that cannot be built or lacks tensors; names it.
        WorkError: logits that are not finite, or of different shapes.
    """
    return _measure(source, written, task, seed, rows, length)[0]


@torch.no_grad()  # and not inference_mode, which does not reach the threads that dequantize
def _measure(
    source: Checkpoint, written: Checkpoint, task: str | None, seed: int, rows: int, length: int
) -> tuple[LogitsAccount, str]:
    model = _load(source, task)
    if task is None and _lacks_head(model, written):
        del model
        model = _load(source, "embedding")
    task = model.task
    inputs = sample_inputs(model, seed, rows, length)
    before = _answer(model, inputs, source)
    kinds = round_weights(model, source, written)
    expected = _answer(model, inputs, written) if kinds else before
    del model  # before the next one is loaded
    found = _answer(_load(written, task), inputs, written)
    if found.logits.shape != before.logits.shape:
        shapes = [tuple(each.logits.shape) for each in (found, before)]
        raise WorkError(
            f"verification: the logits have shape {shapes[0]}, the source's {shapes[1]}",
            where=str(written.path),
        )
    scale = spread(before.logits, by_row=task in _LM) or 1.0
    unexplained, _ = difference(expected.logits, found.logits)
    relative, largest = difference(before.logits, found.logits)
    bound = RESPELT if _config_changes(source, written) else 0.0
    ranked = task != "embedding" and before.logits.shape[-1] > 1
    divergence, same = ranking(before.logits, found.logits) if ranked else (None, None)
    account = LogitsAccount(
        task=task,
        tokens=inputs["input_ids"].numel(),
        seed=seed,
        rounded=kinds,
        largest_difference=largest,
        relative_difference=relative / scale,
        expected_difference=difference(before.logits, expected.logits)[0] / scale,
        unexplained_difference=unexplained / scale,
        bound=bound,
        within=unexplained / scale <= bound,
        kl_divergence=divergence if task in _LM else None,
        same_top=same,
    )
    return account, "" if account.within else _first_difference(expected, found, bound)


def _load(view: Checkpoint, task: str | None) -> Model:
    """A view's model in float32, with memory of its own for every tensor.

    How a matrix lies in memory, and where it begins, decides in which order its products are
    added, and files differ in both.
    """
    model = load_model(view, task=task, dtype=torch.float32)
    for slot in (*model.parameters(), *model.buffers()):
        slot.data = slot.data.clone(memory_format=torch.contiguous_format)
    return model


def _lacks_head(model: Model, written: Checkpoint) -> bool:
    """Whether a container holds the backbone alone, as GGUF does of BERT.

    A decoder without its head is no decoder: there it is an error, which loading finds.
    """
    if model.task in ("causal-lm", "seq2seq-lm"):
        return False
    slots, prefix = model.state_dict(keep_vars=True), f"{model.base()}."
    own = {name for name in slots if not name.startswith(prefix) and model.default(name) is None}
    own -= model.active_ties().keys()
    return bool(own) and not own & places_of(model, written).keys()


def _answer(model: Model, inputs: dict[str, Tensor], view: Checkpoint) -> Answer:
    output = model(**inputs, output_hidden_states=True)
    logits = output.logits.float()
    if not bool(logits.isfinite().all()):
        raise WorkError(
            "verification: the model's logits are not finite (NaN or infinity)",
            where=str(view.path),
            fix="the weights are damaged; or convert without --verify logits",
        )
    if model.task == "question-answering":
        logits = logits.transpose(1, 2)  # places are ranked
    states = {}
    for part, found in (("encoder ", output.encoder_hidden_states), ("", output.hidden_states)):
        for number, state in enumerate(found or ()):
            where = f"{part}block {number - 1}" if number else f"the {part}embeddings"
            where += " or the norm after it" if number and number == len(found) - 1 else ""
            states[where] = state[0, -_KEPT:].clone()
    return Answer(logits.reshape(-1, logits.shape[-1]), states)


def _first_difference(expected: Answer, found: Answer, bound: float) -> str:
    """The part of the model where the states begin to differ: the head, where only logits do."""
    for where, state in expected.states.items():
        other = found.states.get(where)
        if other is None or other.shape != state.shape:
            return where
        scale = spread(state) or 1.0
        if difference(state, other)[0] / scale > bound:
            return where
    return "the head"


def _config_changes(source: Checkpoint, written: Checkpoint) -> list[str]:
    """Keys of the configs that bear on the computation and differ."""
    one, other = read_config(source.config), read_config(written.config)
    if type(one) is not type(other):
        return ["model_type"]
    names = [field.name for field in dataclasses.fields(one) if field.name not in _NO_MATTER]
    return [one.spelling(name) for name in names if getattr(one, name) != getattr(other, name)]


def _types(account: LogitsAccount) -> str:
    """What weights were rounded to, in words."""
    return f"rounding to {', '.join(account.rounded)}" if account.rounded else "any rounding"
