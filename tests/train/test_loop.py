"""The training loop: exact accumulation, clipping, numbers that are not finite."""

from __future__ import annotations

import math
import signal

import pytest
import torch
from safetensors.torch import load_file

from tfcli.console import Console
from tfcli.errors import WorkError
from tfcli.models.config import config_from_recipe
from tfcli.models.loading import build, initialize
from tfcli.process_group import ALONE
from tfcli.train.average import WeightAverage
from tfcli.train.callbacks.callback import Callback, Callbacks
from tfcli.train.callbacks.early_stopping import EarlyStopping
from tfcli.train.checkpoint import Checkpoints, Progress
from tfcli.train.feeds.feed import Feed
from tfcli.train.feeds.windows import StreamSource, Windows
from tfcli.train.guard import Guard
from tfcli.train.loop import Loop
from tfcli.train.measures.measure import Better
from tfcli.train.moving_spec import ScheduleSection
from tfcli.train.noise import add_noise
from tfcli.train.objectives.causal_lm import CausalLM
from tfcli.train.pace import Length, every
from tfcli.train.schedule import make_schedule
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
        "schedule": lambda step, seconds: 1.0,
        "precision": "float32",
        "length": Length(3),
        "seed": 0,
        "checkpoints": Checkpoints(tmp_path, Console.silent(), strategy),
    }
    return Loop(**{**values, **changes})


def validated(objective) -> Validation:
    """The same text in windows, eight at a time."""
    windows = Windows.cut(TOKENS, 8)
    batches = [range(n, min(n + 8, len(windows))) for n in range(0, len(windows), 8)]
    return Validation(windows, batches, objective, "float32")


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


class Remembered(Callback):
    """Keeps what it is told of each step, and the weights after it."""

    def __init__(self, loop=None):
        self.figures, self.due, self.loop, self.weights = [], [], loop, []

    def finished(self, figures, due):
        self.weights.append(weights(self.loop) if self.loop else None)
        self.figures.append(figures)
        self.due.append(list(due))


def test_the_schedule_sets_the_rate_of_every_step(tmp_path):
    seen = Remembered()
    loop = make_loop(
        tmp_path,
        lr=0.5,
        schedule=lambda step, seconds: 1 / (step + 1),
        callbacks=Callbacks([seen]),
    )
    loop.run(Progress())
    assert [line["lr"] for line in seen.figures] == [0.5, 0.25, 0.5 / 3]
    assert loop.optimizer.param_groups[0]["lr"] == 0.5 / 3


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
        intervals={"checkpoint": every(10)},
        answer=lambda: answers.append("heard"),
    )
    with pytest.raises(KeyboardInterrupt):
        loop.run(Progress())
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]
    assert answers == ["heard"]


def test_ctrl_c_in_the_last_step_loses_nothing(tmp_path):
    def around(loss, model, batch):
        signal.raise_signal(signal.SIGINT)
        return loss(model, batch)

    loop, progress = make_loop(tmp_path, objective=Changed(around), length=Length(1)), Progress()
    loop.run(progress)
    assert progress.step == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_validation_loss_that_is_not_finite_is_no_best_one(tmp_path, bad):
    def around(loss, model, batch):
        return loss(model, batch) * (1 if torch.is_grad_enabled() else bad)

    validation = validated(Changed(around))
    often = {"validate": every(1)}
    loop = make_loop(tmp_path, validation=validation, intervals=often, keep_best=True)
    with pytest.raises(WorkError, match=r"validation loss is .* at step 1"):
        loop.run(Progress())
    assert not loop.checkpoints.best.exists()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(tmp_path, bad):
    loop = make_loop(tmp_path, objective=Changed(lambda loss, m, b: loss(m, b) * bad))
    before = weights(loop)
    with pytest.raises(WorkError, match="at step 8") as error:
        loop.train_step(7, loop.feed.step(7))
    assert "optimizer.lr" in error.value.fix
    assert torch.equal(weights(loop), before)


def test_a_jump_of_the_gradients_stops_before_the_weights_and_keeps_the_data(tmp_path):
    factor = [1.0]
    loop = make_loop(
        tmp_path,
        objective=Changed(lambda loss, m, b: loss(m, b) * factor[0]),
        lr=1e-4,
        guard=Guard(tmp_path, 0, spike_factor=20),
    )
    for number in range(12):
        step(loop, number)
    before, factor[0] = weights(loop), 100.0
    with pytest.raises(WorkError, match=r"norm jumped to .* at step 13, .* times the median"):
        step(loop, 12)
    assert torch.equal(weights(loop), before)
    kept = load_file(tmp_path / "stopped-step-13-rank-0.safetensors")
    assert torch.equal(kept["0.input_ids"], loop.feed.step(12)[0]["input_ids"])


def test_a_resumed_guard_knows_the_norms_of_before():
    one, other = Guard(spike_factor=3), Guard(spike_factor=3)
    for number in range(11):
        one.check(number, [], "gradient norm", 1.0)
    other.restore(one.state())
    with pytest.raises(WorkError, match="jumped to 4"):
        other.check(12, [], "gradient norm", 4.0)


def test_the_mean_of_the_weights_is_validated_in_their_place(tmp_path):
    """The mean after each step is 0.9 of the one before and 0.1 of the weights."""
    validation = validated(CausalLM(8))
    loop = make_loop(tmp_path, lr=0.1, validation=validation, intervals={"validate": every(1)})
    loop.average = WeightAverage(loop.model, 0.9)
    seen = Remembered(loop)
    loop.callbacks = Callbacks([seen])
    mean = weights(loop)
    loop.run(Progress())
    for moved in seen.weights:
        mean = mean * 0.9 + moved * 0.1
    torch.testing.assert_close(weights(loop), seen.weights[-1], rtol=0, atol=0)
    loop.average.swap()
    torch.testing.assert_close(weights(loop), mean)
    measured = validation.figures(loop.model, loop.strategy, lambda: False)["val_loss"]
    assert seen.figures[-1]["val_loss"] == pytest.approx(measured, rel=1e-6)


def test_noise_is_on_embeddings_in_training_alone(tmp_path):
    """Uniform in +-alpha / sqrt(length x width), as transformers' NEFTune hook has it."""
    loop = make_loop(tmp_path)
    table, ids = loop.model.body.get_submodule(loop.model.body.tokens), torch.arange(40)[None]
    plain = table(ids)
    add_noise(loop.model, 5.0)
    noise = (table(ids) - plain).detach()
    reach = 5.0 / (40 * 16) ** 0.5
    assert noise.abs().max() <= reach
    assert noise.std() == pytest.approx(reach / 3**0.5, rel=0.1)
    loop.model.eval()
    assert torch.equal(table(ids), plain)


def test_a_run_ends_after_validations_without_a_better_loss(tmp_path):
    better = Better(least=0.1)
    stopping = EarlyStopping(2, better)
    for loss, stops in [(3.0, False), (2.0, False), (1.95, False), (2.5, True)]:
        stopping.finished({"val_loss": loss}, [])
        again = EarlyStopping(2, better)
        again.restore(stopping.state())
        assert bool(again.stops()) is bool(stopping.stops()) is stops
        stopping.finished({"val_loss": None}, [])
    loop, progress = make_loop(tmp_path, callbacks=Callbacks([stopping])), Progress()
    loop.run(progress)
    assert progress.step == 1
    assert progress.ended == "no better loss than 2.0000 in 2 validations"


def test_time_ends_a_run_and_its_schedule(tmp_path, monkeypatch):
    """A clock on which a step takes ten seconds: six steps are in a minute, and the rate comes
    down to what is left of it."""
    clock = iter(range(0, 1000, 1))
    monkeypatch.setattr("tfcli.train.loop.time.perf_counter", lambda: 2.5 * next(clock))
    seen, length = Remembered(), Length(None, 60.0)
    schedule = make_schedule(ScheduleSection(name="linear", final_ratio=0.0), length, 0)
    loop = make_loop(
        tmp_path,
        lr=1.0,
        length=length,
        schedule=schedule,
        callbacks=Callbacks([seen]),
        intervals={"checkpoint": every("0.5 minutes")},
    )
    progress = Progress()
    loop.run(progress)
    assert len(seen.figures) == progress.step
    rates = [line["lr"] for line in seen.figures]
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] <= 0.2, "the last step is one of the last ten seconds"
    assert sum("checkpoint" in due for due in seen.due) == 2
