"""What the tests of objectives share: tiny models beside transformers', and steps in parts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tfcli.checkpoints.folder import open_base, save_model
from tfcli.console import Console
from tfcli.models.config import BaseConfig
from tfcli.models.loading import build, initialize
from tfcli.models.model import Model
from tfcli.models.saving import stored_place
from tfcli.process_group import ALONE
from tfcli.recipe.job import Job
from tfcli.train.batch import Example
from tfcli.train.beside import beside_of, read_tokenizer
from tfcli.train.checkpoint import Checkpoints
from tfcli.train.feeds.feed import Feed
from tfcli.train.feeds.shuffled import Shuffled
from tfcli.train.log import METRICS, read_metrics
from tfcli.train.loop import Loop
from tfcli.train.objectives.objective import Examples, Material, Objective
from tfcli.train.objectives.registry import make_objective
from tfcli.train.pace import Length
from tfcli.train.prepare import config_of, new_config
from tfcli.train.run import run
from tfcli.train.spec import TrainSpec
from tfcli.train.strategies.single import Single

BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "classifier_dropout": 0.0,
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}

T5 = {
    "model_type": "t5",
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 1,
    "num_heads": 2,
    "dropout_rate": 0.0,
}
BART = {
    "model_type": "bart",
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 64,
    "dropout": 0.0,
    "init_std": 0.2,
}


def fed(spec: TrainSpec, console: Console | None = None) -> tuple[Objective, Examples, BaseConfig]:
    """A spec's objective, its examples, and the config of the model that it trains."""
    objective = make_objective(spec)
    start = None if spec.model is None else open_base(spec.model)
    tokenizer = read_tokenizer(spec, start) if objective.reads_text else None
    config = config_of(None if start else new_config(spec.config, tokenizer), start)
    beside = beside_of(spec, start, config)
    given = Material(spec, tokenizer, beside.folder, console or Console.silent(), config)
    examples = objective.feed(given)
    return objective, examples, config.replace(**objective.config_keys)


def made(objective: Objective, config: BaseConfig, seed: int = 0) -> Model:
    """The model that an objective trains, new and without dropout. Attention is step by step, as in
    `theirs`: fused, it rounds otherwise."""
    return initialize(build(config, objective.task_of(config), attention="eager"), seed).eval()


def theirs(model: Model, folder: Path, auto: Any) -> nn.Module:
    """transformers' model with the same weights, from what we write."""
    save_model(model, folder)
    return auto.from_pretrained(folder, attn_implementation="eager").eval()


def require_same(loss: Tensor, model: Model, wanted: Tensor, reference: nn.Module) -> None:
    """Both losses are equal to 1e-6 relative, and each gradient to 1e-6 of the norm of all."""
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    model.zero_grad(), reference.zero_grad()
    loss.backward(), wanted.backward()
    ours, expected = dict(model.named_parameters()), dict(reference.named_parameters())
    if set(ours) != set(expected):  # transformers has some under the names that files have
        ours = {stored_place(model, name).name: each for name, each in ours.items()}
    assert set(ours) == set(expected)
    grads = [each.grad.flatten() for each in expected.values() if each.grad is not None]
    norm = torch.cat(grads).norm()
    for name in ours:
        got, want = (each[name].grad for each in (ours, expected))
        assert (got is None) == (want is None), name
        if want is not None:
            assert (got - want).norm() <= 1e-6 * norm, name


def parts(
    objective: Objective, config: BaseConfig, examples: Sequence[Example], folder: Path
) -> None:
    """A step of 8 examples has the same gradients as one pass, as 4 and as 8 passes."""
    steps = []
    for batch, passes in ((8, 1), (2, 4), (1, 8)):
        loop = make_loop(objective, config, examples, folder, batch, passes)
        before = _weights(loop.model)
        loss, norm, count = loop.train_step(0, loop.feed.step(0))
        steps.append((_weights(loop.model) - before, loss, norm, count))
    for change, loss, norm, count in steps[1:]:
        torch.testing.assert_close(change, steps[0][0], rtol=1e-4, atol=1e-6)
        assert (loss, norm, count) == pytest.approx(steps[0][1:], rel=1e-5)


def straight_and_resumed(spec: TrainSpec, folder: Path) -> list[list[float]]:
    """The losses of a run's steps, and those of one that goes on from its first checkpoint."""
    straight, cut = folder / "straight", folder / "cut"
    straight.mkdir(), cut.mkdir()
    run(spec, Job(folder=straight))
    checkpoint = min(straight.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    shutil.copytree(checkpoint, cut / checkpoint.name)
    lines = (straight / METRICS).read_text().splitlines(keepends=True)
    (cut / METRICS).write_text("".join(lines[: int(checkpoint.name[11:])]))
    run(spec, Job(folder=cut))
    return [[line["loss"] for line in read_metrics(each / METRICS)] for each in (straight, cut)]


def make_loop(
    objective: Objective,
    config: BaseConfig,
    examples: Sequence[Example],
    folder: Path,
    batch: int = 8,
    passes: int = 1,
) -> Loop:
    """A loop of plain gradient descent, so that weights after a step show the gradients."""
    model, strategy = made(objective, config), Single(ALONE)
    groups = [{"params": list(model.parameters()), "initial_lr": 1.0}]
    objective.begin(lambda ref: made(objective, config))
    wrapped, optimizer = strategy.wrap(model, lambda model: torch.optim.SGD(groups, lr=1.0), None)
    return Loop(
        model=model,
        wrapped=wrapped,
        strategy=strategy,
        feed=Feed(Shuffled(examples, 0), objective.collate, batch, passes),
        objective=objective,
        optimizer=optimizer,
        schedule=lambda step, seconds: 1.0,
        precision="float32",
        length=Length(1),
        seed=0,
        checkpoints=Checkpoints(folder, Console.silent(), strategy),
    )


def _weights(model: Model) -> Tensor:
    return torch.cat([each.detach().flatten() for each in model.parameters()])
