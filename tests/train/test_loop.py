"""The training loop: exact accumulation, clipping, numbers that are not finite."""

from __future__ import annotations

import math
import signal

import pytest
import torch

from tfcli.console import Console
from tfcli.errors import WorkError
from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build, initialize
from tfcli.process_group import ALONE
from tfcli.train.checkpoint import Checkpoints
from tfcli.train.feeds.feed import Feed
from tfcli.train.feeds.windows import StreamSource, Windows
from tfcli.train.log import MetricsLog
from tfcli.train.loop import Loop
from tfcli.train.objectives.causal_lm import CausalLM
from tfcli.train.strategies.single import Single
from tfcli.train.validate import Validation

TOKENS = torch.randint(0, 50, (61,), generator=torch.Generator().manual_seed(0))


def make_loop(tmp_path, batch_size=8, accumulation=1, stream=TOKENS, **changes) -> Loop:
    """Plain gradient descent, so that weights after a step show the gradients."""
    config = {
        "model_type": "llama",
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    model = initialize(build(config_from_recipe({**config, **changes.pop("config", {})})), 0)
    lr, objective = changes.pop("lr", 1.0), changes.pop("objective", CausalLM(8))
    groups = [{"params": list(model.parameters()), "initial_lr": lr}]
    strategy = Single(ALONE)
    wrapped, optimizer = strategy.wrap(model, lambda model: torch.optim.SGD(groups, lr=lr), None)
    values = {
        "model": model,
        "wrapped": wrapped.train(),
        "strategy": strategy,
        "feed": Feed(
            StreamSource(lambda epoch: stream, 8, 0), CausalLM(8).collate, batch_size, accumulation
        ),
        "objective": objective,
        "optimizer": optimizer,
        "schedule": lambda step: 1.0,
        "precision": "float32",
        "steps": 3,
        "seed": 0,
        "log": MetricsLog(None),
        "checkpoints": Checkpoints(tmp_path, Console.silent(), strategy),
    }
    return Loop(**{**values, **changes})


class Changed(CausalLM):
    """The objective with something done around its loss."""

    def __init__(self, around):
        super().__init__(8)
        self.around = around

    def loss(self, model, batch):
        return self.around(super().loss, model, batch)


def weights(loop: Loop) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in loop.model.parameters()])


def step(loop: Loop, number: int = 0) -> tuple[torch.Tensor, float, float]:
    """The change of the weights, the loss and the norm."""
    before = weights(loop)
    loss, norm, _ = loop.train_step(number, loop.feed.step(number))
    return weights(loop) - before, loss, norm


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("split", [(4, 2), (2, 4), (1, 8)])
def test_any_split_of_a_step_gives_the_same_gradients(tmp_path, split, number):
    """The text has 60 targets: a step of 8 windows holds two short ones and crosses an epoch."""
    whole = make_loop(tmp_path)
    assert (whole.feed.step(number)[0]["targets"] == -100).any()
    expected, loss, norm = step(whole, number)
    got, split_loss, split_norm = step(make_loop(tmp_path, *split), number)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
    assert (split_loss, split_norm) == pytest.approx((loss, norm), rel=1e-5)


def test_the_loss_is_the_mean_over_all_targets_of_the_step(tmp_path):
    loop = make_loop(tmp_path, 2, 4)
    batches = loop.feed.step(0)
    with torch.no_grad():
        losses = [
            torch.nn.functional.cross_entropy(
                loop.model(input_ids=batch["input_ids"]).logits.flatten(0, 1),
                batch["targets"].flatten(),
                reduction="none",
            )[batch["targets"].flatten() != -100]
            for batch in batches
        ]
    assert step(loop)[1] == pytest.approx(float(torch.cat(losses).mean()), rel=1e-5)


def test_gradients_are_scaled_down_to_the_norm(tmp_path):
    free, _, norm = step(make_loop(tmp_path))
    clipped, _, told = step(make_loop(tmp_path, clip_norm=norm / 2))
    assert told == pytest.approx(norm)
    torch.testing.assert_close(clipped, free / 2, rtol=1e-3, atol=1e-6)


def test_the_schedule_sets_the_rate_of_every_step(tmp_path):
    class Log(MetricsLog):
        lines: list = []  # noqa: RUF012

        def write(self, values):
            self.lines.append(values)

    log = Log(None)
    loop = make_loop(tmp_path, lr=0.5, schedule=lambda step: 1 / (step + 1), log=log)
    with Console.silent().progress("train", 3) as bar:
        loop.run(fresh(), bar)
    assert [line["lr"] for line in log.lines] == [0.5, 0.25, 0.5 / 3]
    assert loop.optimizer.param_groups[0]["lr"] == 0.5 / 3


def fresh():
    from tfcli.train.checkpoint import Progress

    return Progress()


def test_bf16_computes_in_bf16_and_keeps_float32_weights(tmp_path):
    seen = []

    def around(loss, model, batch):
        logits = model(input_ids=batch["input_ids"]).logits
        seen.append(logits.dtype)
        return logits.float().square().sum()

    loop = make_loop(tmp_path, precision="bfloat16", objective=Changed(around))
    step(loop)
    assert seen == [torch.bfloat16]
    assert weights(loop).dtype == torch.float32


def test_dropout_follows_from_the_seed_and_the_step(tmp_path):
    config = {"attention_dropout": 0.5}
    first, again, other = (
        step(make_loop(tmp_path, config=config, seed=seed))[0] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    later = make_loop(tmp_path, config=config)
    before = weights(later)
    later.train_step(5, later.feed.step(0))
    assert not torch.equal(weights(later) - before, first), "every step draws anew"


def test_ctrl_c_stops_after_the_step_that_it_comes_in(tmp_path):
    """And not after the next one, of which the signal would still be in time."""

    def around(loss, model, batch):
        signal.raise_signal(signal.SIGINT)
        return loss(model, batch)

    answers = []
    loop = make_loop(
        tmp_path,
        objective=Changed(around),
        checkpoint_every=10,
        answer=lambda: answers.append("heard"),
    )
    with Console.silent().progress("train", 3) as bar, pytest.raises(KeyboardInterrupt):
        loop.run(fresh(), bar)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]
    assert answers == ["heard"]


def test_ctrl_c_in_the_last_step_loses_nothing(tmp_path):
    def around(loss, model, batch):
        signal.raise_signal(signal.SIGINT)
        return loss(model, batch)

    loop, progress = make_loop(tmp_path, objective=Changed(around), steps=1), fresh()
    with Console.silent().progress("train", 1) as bar:
        loop.run(progress, bar)
    assert progress.step == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_validation_loss_that_is_not_finite_is_no_best_one(tmp_path, bad):
    def around(loss, model, batch):
        return loss(model, batch) * (1 if torch.is_grad_enabled() else bad)

    windows = Windows.cut(TOKENS, 8)
    batches = [range(n, min(n + 8, len(windows))) for n in range(0, len(windows), 8)]
    validation = Validation(windows, batches, Changed(around), "float32")
    loop = make_loop(tmp_path, validation=validation, validate_every=1, keep_best=True)
    with (
        Console.silent().progress("train", 3) as bar,
        pytest.raises(WorkError, match=r"validation loss is .* at step 1"),
    ):
        loop.run(fresh(), bar)
    assert not loop.checkpoints.best.exists()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(tmp_path, bad):
    loop = make_loop(tmp_path, objective=Changed(lambda loss, m, b: loss(m, b) * bad))
    before = weights(loop)
    with pytest.raises(WorkError, match="at step 8") as error:
        loop.train_step(7, loop.feed.step(7))
    assert "optimizer.lr" in error.value.fix
    assert torch.equal(weights(loop), before)
