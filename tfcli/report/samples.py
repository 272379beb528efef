"""The report's part on generated text."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.generation.spec import Answer, GenerateResult
from tfcli.report.models import Models
from tfcli.report.page import Sample, Section
from tfcli.report.steps import Step

_ENDS = {"stop": "ended by the model", "length": "cut at the limit", "time": "cut by max_time"}
"""Why a text ended -> how the report says it."""
# Control characters as their pictures: a model may well generate them, and HTML has no place for
# them. Tabs and line ends stay.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}


def sample_sections(steps: Sequence[Step], models: Models) -> list[Section]:
    """Every prompt with its continuation, or no section."""
    samples = [
        sample for step in steps if step.command == "generate" for sample in _samples(step, models)
    ]
    if not samples:
        return []
    lead = "Prompts in bold, and how the model went on."
    return [Section("Samples", lead, samples=tuple(samples))]


def _samples(step: Step, models: Models) -> list[Sample]:
    made = step.value(GenerateResult)
    label = models.of(step, made.model).label
    return [
        Sample(
            answer.prompt.translate(_PICTURES),
            answer.text.translate(_PICTURES),
            f"{label}, {_settings(made, answer)}",
        )
        for answer in made.all()
    ]


def _settings(made: GenerateResult, answer: Answer) -> str:
    how = "greedy" if made.temperature == 0 else f"sampled, seed {made.seed}"
    keys = [f"{key} {value}" for key, value in made.generation.items() if key != "do_sample"]
    said = [how, *keys]
    count = len(answer.token_ids)
    said.append(f"{count} token" if count == 1 else f"{count} tokens")
    said.append(_ENDS[answer.finish_reason])
    return ", ".join([*said, f"{made.tokens_per_second:,.0f} tokens/s"])
