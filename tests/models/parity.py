"""What the parity tests share: a transformers model with random weights, its twin, and inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence, Set
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import nn
from transformers.core_model_loading import revert_weight_conversion

from tests.models.case import Case
from tests.models.cases import decoders, earlier, encoders, hybrids, mixtures, recurrent
from tfcli.models.cache import Cache
from tfcli.models.loading import build, load_weights
from tfcli.models.model import Model
from tfcli.models.registry import get_family, read_config
from tfcli.models.rules import current_name, stacked
from tfcli.models.saving import stored_place

AUTO = {
    "causal-lm": transformers.AutoModelForCausalLM,
    "masked-lm": transformers.AutoModelForMaskedLM,
    "sequence-classification": transformers.AutoModelForSequenceClassification,
    "token-classification": transformers.AutoModelForTokenClassification,
    "question-answering": transformers.AutoModelForQuestionAnswering,
    "multiple-choice": transformers.AutoModelForMultipleChoice,
    "embedding": transformers.AutoModel,
    "pretraining": transformers.AutoModelForPreTraining,
    "permutation-lm": transformers.AutoModelForCausalLM,
    "table-question-answering": transformers.AutoModelForTableQuestionAnswering,
}
CASES = [
    case
    for group in (decoders, mixtures, earlier, recurrent, hybrids, encoders)
    for case in group.CASES
]
MAIN = [(case, case.tasks[0]) for case in CASES]
PAIRS = [(case, task) for case in CASES for task in case.tasks]
CAUSAL = [(case, task) for case, task in MAIN if task == "causal-lm"]
STEADY = [(case, task) for case, task in CAUSAL if case.steady]
CHOICES = 3  # of a multiple-choice question
WHOLE = ("sequence-classification", "multiple-choice", "embedding")  # one answer for a row
WAYS = [(name, mask) for name in ("flash", "flex") for mask in ("whole", "padded")]
"""The backends beside sdpa, each with rows of one length and of several."""
# Caches that give what one pass over the whole input gives.
CACHES: dict[str, Callable[[Model, int], Cache]] = {
    "dynamic": lambda model, length: model.make_cache(),
    "static": lambda model, length: model.make_cache("static", length),
    "offloaded": lambda model, length: model.make_cache("offloaded"),
}


def rotated(pairs: Sequence[Any], choices: Sequence[Any]) -> list[tuple[Any, ...]]:
    """(case, task, choice): the first case of each config class with every choice, the others with
    one in turn. What a choice does to a family shows in its first case; what a case's own switches
    do to a choice, across the others.
    """
    found, seen, turn = [], set(), 0
    for case, task in pairs:
        if case.config not in seen:
            found += [(case, task, choice) for choice in choices]
        else:
            found.append((case, task, choices[turn % len(choices)]))
            turn += 1
        seen.add(case.config)
    return found


def pair_id(value: Any) -> str:
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    return value.name if hasattr(value, "name") else str(value)


def reference(case: Case, task: str, attention: str | None = None) -> nn.Module:
    """The transformers model, in eval mode. Biases and norms are moved off 0 and 1, so that one
    left out or exchanged shows; stored buffers too."""
    torch.manual_seed(0)
    config = getattr(transformers, case.config)(**case.settings)
    if task == "sequence-classification" and config.pad_token_id is None:
        config.pad_token_id = 0  # their decoders need one to find the last token
    options: dict[str, Any] = {"attn_implementation": attention or case.attention}
    if task == "embedding":
        body = transformers.AutoModel._model_mapping[type(config)]
        if isinstance(body, tuple):  # several, told apart by their names
            body = body[0]
            config.architectures = [body.__name__]
        if "add_pooling_layer" in inspect.signature(body.__init__).parameters:
            options["add_pooling_layer"] = False
    auto = AUTO[task]
    if task == "question-answering" and type(config) not in auto._model_mapping:
        auto = transformers.AutoModelForDocumentQuestionAnswering  # of text with boxes
    model = auto.from_config(config, **options)
    stored = model.state_dict()
    buffers = [each for name, each in model.named_buffers() if name in stored]
    with torch.no_grad():
        for value in (*model.parameters(), *(each for each in buffers if each.is_floating_point())):
            if value.ndim == 1 or bool((value == value.flatten()[0]).all()):
                value.add_(torch.randn_like(value) * 0.1)
    return model.eval()


def checkpoint_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors as transformers would store them, which is not always how it holds them."""
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return spelt_today(model, revert_weight_conversion(model, tensors))


def spelt_today(model: nn.Module, stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """By today's names: theirs give ESM's norms the first ones that BERT's had."""
    rules = get_family(model.config.model_type).backbone_class().rules
    return {current_name(rules, name): tensor for name, tensor in stored.items()}


def twin(model: nn.Module, task: str, attention: str = "sdpa", **load: Any) -> Model:
    """Our model with the same weights, in eval mode."""
    ours = build(read_config(model.config.to_dict()), task, attention=attention)
    load_weights(ours, checkpoint_of(model), **load)
    if task == "embedding":
        ours.set_pooling("mean", normalize=False)
    return ours.eval()


def inputs(case: Case, task: str, rows: int = 2, length: int | None = None) -> dict[str, Any]:
    """Token ids, and what else the case asks for. A choice is a row more."""
    generator = torch.Generator().manual_seed(1)
    shape = (rows * CHOICES if task == "multiple-choice" else rows, length or case.length)
    batch = {"input_ids": torch.randint(4, case.settings["vocab_size"], shape, generator=generator)}
    for name in case.extra:
        batch[name] = EXTRA_INPUTS[name](case, shape, generator)
    return shaped(task, batch)


def shaped(task: str, batch: dict[str, Any]) -> dict[str, Any]:
    """Give a multiple-choice batch its dimension of choices: [b * choices, ...] -> [b, choices]."""
    if task != "multiple-choice":
        return batch
    return {name: value.unflatten(0, (-1, CHOICES)) for name, value in batch.items()}


def token_types(case: Case, shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """The segment of each token; of a family that has more than segments, [..., kinds]."""
    kinds = case.settings.get("type_vocab_sizes")
    sizes = kinds or [case.settings.get("type_vocab_size", 2)]
    ids = torch.stack([torch.randint(0, n, shape, generator=generator) for n in sizes], -1)
    return ids if kinds else ids[..., 0]


def boxes(case: Case, shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """Left, top, right and bottom of each token's word."""
    limit = case.settings["max_2d_position_embeddings"]
    corners = torch.randint(0, limit, (*shape, 2, 2), generator=generator)
    return corners.sort(dim=-2).values.flatten(-2)


def task_types(case: Case, shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """The task that each token is read for."""
    return torch.randint(0, 3, shape, generator=generator)


def chosen(case: Case, shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """The tokens that see all and that all see: some, not as many in each row, and maybe none."""
    return (torch.rand(shape, generator=generator) < 0.2).long()


EXTRA_INPUTS: dict[str, Callable[..., torch.Tensor]] = {
    "global_attention_mask": chosen,
    "token_type_ids": token_types,
    "task_type_ids": task_types,
    "bbox": boxes,
}


def answer(output: Any, task: str, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Their output in the shape of our logits."""
    if task == "question-answering":
        return torch.stack((output.start_logits, output.end_logits), -1)
    if task == "embedding":
        states = output.last_hidden_state
        weights = torch.ones(states.shape[:2]) if mask is None else mask.float()
        return (states * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
    return output.logits


def labels_for(case: Case, task: str, batch: dict[str, Any]) -> torch.Tensor:
    """Labels of the kind that the case's problem takes; some tokens have none."""
    generator = torch.Generator().manual_seed(2)
    ids = batch["input_ids"]
    count = case.settings.get("num_labels", 2)
    if task == "multiple-choice":
        return torch.randint(0, CHOICES, (len(ids),), generator=generator)
    if task == "question-answering":
        return torch.randint(0, ids.shape[1], (len(ids), 2), generator=generator)
    if task == "sequence-classification":
        if count == 1:
            return torch.randn(len(ids), generator=generator)
        if case.settings.get("problem_type") == "multi_label_classification":
            return torch.randint(0, 2, (len(ids), count), generator=generator).float()
        return torch.randint(0, count, (len(ids),), generator=generator)
    unlabelled = torch.rand(ids.shape, generator=generator) < 0.3
    if task in ("pretraining", "table-question-answering"):  # yes or no
        return torch.randint(0, 2, ids.shape, generator=generator)
    if task == "token-classification":
        ids = torch.randint(0, count, ids.shape, generator=generator)
    return ids.masked_fill(unlabelled, -100)


def their_labels(task: str, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """The keywords that transformers takes for these labels."""
    if task == "question-answering":
        return {"start_positions": labels[:, 0], "end_positions": labels[:, 1]}
    return {"labels": labels}


def their_gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    """Each stored tensor's gradient by name; of a tied one under each of its names."""
    named = model.named_parameters(remove_duplicate=False)
    grads = {
        n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in named if p.requires_grad
    }
    return spelt_today(model, revert_weight_conversion(model, grads))


def our_gradients(model: Model) -> dict[str, torch.Tensor]:
    """The same of our model, as a checkpoint would store them."""
    named = dict(model.named_parameters(remove_duplicate=False))
    grads = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in named.items()}
    places = {name: stored_place(model, name) for name in grads}
    found = {}
    for stored, names in stacked(places).items():
        parts = [places[name].write(grads[name]) for name in names]
        found[stored] = parts[0] if places[names[0]].index is None else torch.stack(parts)
    return found


def assert_close(actual: torch.Tensor, expected: torch.Tensor, relative: float = 1e-5) -> None:
    """Equal within a fraction of the largest expected value."""
    assert actual.shape == expected.shape
    assert torch.isfinite(actual).all()
    error = (actual.float() - expected.float()).abs().max().item()
    assert error <= relative * max(expected.abs().max().item(), 1e-3), f"off by {error:.2e}"


def assert_same_weights(one: nn.Module, other: nn.Module, but: Set[str] = frozenset()) -> None:
    """Every parameter and buffer has the same bits, `but` some."""
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() - but == theirs.keys() - but
    for name in theirs.keys() - but:
        assert torch.equal(ours[name], theirs[name]), name


def normalized(x: torch.Tensor) -> torch.Tensor:
    """Vectors of length 1."""
    return F.normalize(x, dim=-1)
