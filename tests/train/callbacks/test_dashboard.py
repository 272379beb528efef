"""The view of a run in a terminal."""

from __future__ import annotations

from io import StringIO

import pytest
import torch
from rich.console import Console as RichConsole

from tfcli.console import Console
from tfcli.train.callbacks.dashboard import Dashboard, bar, curve
from tfcli.train.checkpoint import Progress
from tfcli.train.pace import Length


def test_the_view_has_the_last_figures_and_the_time_left():
    console = Console()
    terminal = StringIO()
    console.err = RichConsole(
        file=terminal, force_terminal=True, width=100, height=25, color_system=None
    )
    progress = Progress()
    view = Dashboard(console, Length(8), torch.device("cpu"), "row")
    view.begin(progress)
    for step, loss in enumerate([4.0, 3.0], start=1):
        progress.step, progress.seconds, progress.best = step, 60.0 * step, {"val_loss": 3.25}
        view.finished(
            {
                "loss": loss,
                "lr": 5e-4,
                "grad_norm": 0.75,
                "tokens_per_second": 1234.0,
                "val_loss": 3.5 if step == 1 else None,
            },
            [],
        )
    view.end()
    shown = terminal.getvalue()
    for part in ("25%", "2 of 8, 6 min 00 s left", "█▁ 3.0000", "▁ 3.5000, best 3.2500"):
        assert part in shown
    assert (
        "0.0005, gradient norm 0.75" in shown
        and "1,234 rows a second" in shown
        and "memory" in shown
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_bar_is_as_long_at_every_share(share):
    assert len(bar(share)) == 40
    assert bar(share).count("━") == round(40 * share)


def test_a_curve_is_the_means_of_equal_parts():
    assert curve([1.0, 8.0]) == "▁█"
    assert curve([2.0] * 5) == "▁▁▁▁▁"
    assert curve([float(i // 10) for i in range(80)]) == "▁" * 5 + "▂" * 5 + "▃" * 5 + (
        "▄" * 5 + "▅" * 5 + "▆" * 5 + "▇" * 5 + "█" * 5
    )
