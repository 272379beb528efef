"""What the parity tests share: a transformers model with random weights, its twin, and inputs."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import nn

from tests.models.cases import CASES, Case
from tfcli.models.loading import build, load_weights
from tfcli.models.model import Model
from tfcli.models.registry import read_config

AUTO = {
    "causal-lm": transformers.AutoModelForCausalLM,
    "masked-lm": transformers.AutoModelForMaskedLM,
    "sequence-classification": transformers.AutoModelForSequenceClassification,
}
PAIRS = [(case, task) for case in CASES for task in case.tasks]
CAUSAL = [(case, task) for case, task in PAIRS if task == "causal-lm"]
STEADY = [(case, task) for case, task in CAUSAL if case.steady]


def pair_id(value: Any) -> str:
    return value.name if isinstance(value, Case) else str(value)


def reference(case: Case, task: str, attention: str = "sdpa") -> nn.Module:
    """The transformers model, in eval mode. Biases and norms are moved off 0 and 1, so that one
    left out or exchanged shows."""
    torch.manual_seed(0)
    config = getattr(transformers, case.config)(**case.settings)
    model = AUTO[task].from_config(config, attn_implementation=attention)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def twin(model: nn.Module, task: str, attention: str = "sdpa", **load: Any) -> Model:
    """Our model with the same weights, in eval mode."""
    ours = build(read_config(model.config.to_dict()), task, attention=attention)
    load_weights(ours, {k: v.clone() for k, v in model.state_dict().items()}, **load)
    return ours.eval()


def inputs(case: Case, task: str, rows: int = 2, length: int | None = None) -> dict[str, Any]:
    """Token ids, and segments for an encoder."""
    generator = torch.Generator().manual_seed(1)
    shape = (rows, length or case.length)
    batch = {"input_ids": torch.randint(4, case.settings["vocab_size"], shape, generator=generator)}
    if task != "causal-lm":
        batch["token_type_ids"] = torch.randint(0, 2, shape, generator=generator)
    return batch


def labels_for(case: Case, task: str, batch: dict[str, Any]) -> torch.Tensor:
    """Labels of the kind that the case's problem takes; some tokens have none."""
    generator = torch.Generator().manual_seed(2)
    ids = batch["input_ids"]
    if task == "sequence-classification":
        count = case.settings.get("num_labels", 2)
        if count == 1:
            return torch.randn(len(ids), generator=generator)
        if case.settings.get("problem_type") == "multi_label_classification":
            return torch.randint(0, 2, (len(ids), count), generator=generator).float()
        return torch.randint(0, count, (len(ids),), generator=generator)
    unlabelled = torch.rand(ids.shape, generator=generator) < 0.3
    return ids.masked_fill(unlabelled, -100)


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    """Each parameter's gradient by name; a tied one under each of its names."""
    named = model.named_parameters(remove_duplicate=False)
    return {name: p.grad for name, p in named if p.grad is not None}


def assert_close(actual: torch.Tensor, expected: torch.Tensor, relative: float = 1e-5) -> None:
    """Equal within a fraction of the largest expected value."""
    assert actual.shape == expected.shape
    assert torch.isfinite(actual).all()
    error = (actual.float() - expected.float()).abs().max().item()
    assert error <= relative * max(expected.abs().max().item(), 1e-3), f"off by {error:.2e}"
