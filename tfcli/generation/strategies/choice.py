"""Whether what is asked for goes together."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from tfcli.errors import UsageError
from tfcli.generation.settings import TextSettings

FORMS = ("regex", "json_schema", "grammar")


@dataclass(frozen=True)
class _Need:
    """What keys need for an effect.

    Args:
        keys: the keys.
        holds: whether the settings have it, or one of the keys that the user gave is it.
        otherwise: how it is said that they do not.
        remedy: what asks for it.
    """

    keys: tuple[str, ...]
    holds: Callable[[TextSettings, Collection[str]], object]
    otherwise: str
    remedy: str


_NEEDS = (
    _Need(
        ("length_penalty", "early_stopping", "num_beam_groups", "force_words"),
        lambda settings, given: settings.beams,
        "there is one beam",
        "--num-beams 4",
    ),
    _Need(
        ("num_assistant_tokens", "assistant_confidence_threshold"),
        lambda settings, given: "assistant_model" in given,
        "no model assists",
        "--assistant-model MODEL",
    ),
    _Need(
        ("max_matching_ngram_size",),
        lambda settings, given: settings.drafts.prompt_lookup_num_tokens,
        "nothing is drafted from the text",
        "--prompt-lookup-num-tokens 10",
    ),
    _Need(
        ("negative_prompt",),
        lambda settings, given: settings.guidance != 1,
        "guidance_scale is 1",
        "--guidance-scale 1.5",
    ),
    _Need(
        ("diversity_penalty",),
        lambda settings, given: settings.beams and settings.beams.num_beam_groups > 1,
        "all beams are one group",
        "--num-beam-groups 2",
    ),
    _Need(
        ("penalty_alpha",),
        lambda settings, given: settings.contrast,
        "it is 0, tokens are drawn, or top_k leaves one candidate",
        "--no-do-sample and --top-k 4",
    ),
    _Need(
        ("seed",),
        lambda settings, given: settings.draw,
        "the likeliest token is taken",
        "--temperature 1 or --do-sample",
    ),
)


def check_choice(settings: TextSettings, given: Collection[str]) -> None:
    """Refuse keys without an effect, and those that do not go together.

    Args:
        settings: of the checkpoint and of the user.
        given: the user's keys.

    Raises:
        UsageError: names the key.
    """
    for need in _NEEDS:
        for key in need.keys:
            if key in given and not need.holds(settings, given):
                raise UsageError(
                    f"{key} has no effect where {need.otherwise}",
                    where=key,
                    fix=f"add {need.remedy}, or leave it out",
                )
    asked = _check_together(settings, given)
    if "logprobs" in given and asked not in (None, "guidance_scale"):
        raise UsageError(
            f"logprobs are of tokens that are picked one at a time, which {asked} does not do",
            where="logprobs",
            fix="leave one of them out; what generation_config.json says of it counts too",
        )
    _check_beams(settings, given)
    _check_count(settings, "num_return_sequences" in given)


def _check_together(settings: TextSettings, given: Collection[str]) -> str | None:
    """Only one of these says how a text goes on, or needs a token at a time; returns which."""
    asked = {
        "num_beams": settings.beams,
        "assistant_model": "assistant_model" in given,
        "prompt_lookup_num_tokens": settings.drafts.prompt_lookup_num_tokens,
        "guidance_scale": settings.guidance != 1,
        "penalty_alpha": settings.contrast,
        "dola_layers": settings.dola_layers is not None,
    }
    # DoLa excludes what is unlikely, which may be all that a form leaves.
    asked |= {key: key in given for key in FORMS if settings.dola_layers is not None}
    several = [key for key, value in asked.items() if value]
    if len(several) > 1:
        first, second = several[:2]
        raise UsageError(
            f"{first} and {second} do not go together: what the one looks at the other changes",
            where=second,
            fix="leave one of them out; what generation_config.json says of it counts too",
        )
    return next(iter(several), None)


def _check_beams(settings: TextSettings, given: Collection[str]) -> None:
    """Groups and words are for beams that are not drawn."""
    beams = settings.beams
    if beams is None:
        return
    asked = {
        "num_beam_groups": beams.num_beam_groups > 1,
        "force_words": beams.force_words or "force_words" in given,
        "do_sample": settings.draw,
    }
    several = [key for key, value in asked.items() if value]
    if len(several) > 1:
        first, second = several[:2]
        raise UsageError(
            f"{first} and {second} do not go together",
            where=first,
            fix="leave one of them out",
        )


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
