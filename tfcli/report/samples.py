"""The report's part on generated text."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.generation.spec import Answer, GenerateResult
from tfcli.report.models import Models
from tfcli.report.page import Sample, Section
from tfcli.report.steps import Step

# Control characters as their pictures: a model may well generate them, and HTML has no place for
# them. Tabs and line ends stay.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}


def visible(text: str) -> str:
    """A text without what HTML has no place for."""
    return text.translate(_PICTURES)


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
            visible(answer.prompt),
            visible(answer.text),
            f"{label}, {_settings(made, answer)}",
        )
        for answer in made.all()
    ]


def _settings(made: GenerateResult, answer: Answer) -> str:
    said = ["greedy"]
    if made.temperature > 0:
        said = [f"sampled at temperature {made.temperature:g}", f"seed {made.seed}"]
        said += [f"top-k {made.top_k}"] if made.top_k is not None else []
        said += [f"top-p {made.top_p:g}"] if made.top_p is not None else []
        said += [f"min-p {made.min_p:g}"] if made.min_p is not None else []
    if made.repetition_penalty != 1:
        said.append(f"repetition penalty {made.repetition_penalty:g}")
    count = len(answer.token_ids)
    said.append(f"{count} token" if count == 1 else f"{count} tokens")
    said.append("ended by the model" if answer.finish_reason == "stop" else "cut at the limit")
    return ", ".join([*said, f"{made.tokens_per_second:,.0f} tokens/s"])
