"""Whether what is asked for goes together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from tfcli.errors import UsageError
from tfcli.generation.settings import TextSettings

_BEAMS = "there is one beam"
_NEEDS: Mapping[str, tuple[Callable[[TextSettings], object], str, str]] = {
    **dict.fromkeys(
        ("length_penalty", "early_stopping"),
        (lambda settings: settings.beams, _BEAMS, "--num-beams 4"),
    ),
    "seed": (
        lambda settings: settings.draw,
        "the likeliest token is taken",
        "--temperature 1 or --do-sample",
    ),
}
"""A key -> what must be so that it has an effect, how it is said that it is not, and what asks for
it."""


def check_choice(settings: TextSettings, given: Collection[str]) -> None:
    """Refuse keys without an effect, and those that do not go together.

    Args:
        settings: of the checkpoint and of the user.
        given: the user's keys.

    Raises:
        UsageError: names the key.
    """
    for key, (holds, otherwise, remedy) in _NEEDS.items():
        if key in given and not holds(settings):
            raise UsageError(
                f"{key} has no effect where {otherwise}",
                where=key,
                fix=f"add {remedy}, or leave it out",
            )
    _check_count(settings, "num_return_sequences" in given)


def _check_count(settings: TextSettings, asked: bool) -> None:
    """Several texts of a prompt are drawn, or are the best of several beams."""
    key, count = "num_return_sequences", settings.sequences
    if settings.beams is not None and count > settings.beams.num_beams:
        raise UsageError(
            f"{count} texts of each prompt are asked for, and there are only "
            f"{settings.beams.num_beams} beams",
            where=key,
            fix=f"--num-beams {count}, or fewer texts",
        )
    if asked and count > 1 and settings.beams is None and settings.draw is None:
        raise UsageError(
            f"{key} has no effect where the likeliest token is taken",
            where=key,
            fix="add --temperature 1, --do-sample or --num-beams, or leave it out",
        )
