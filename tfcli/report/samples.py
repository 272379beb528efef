"""The report's part on generated text."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.generate.spec import GenerateResult
from tfcli.report.models import Models
from tfcli.report.page import Sample, Section
from tfcli.report.steps import Step

# Control characters as their pictures: a model may well generate them, and HTML has no place for
# them. Tabs and line ends stay.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}


def sample_sections(steps: Sequence[Step], models: Models) -> list[Section]:
    """Every prompt with its continuation, or no section."""
    samples = [_sample(step, models) for step in steps if step.command == "generate"]
    if not samples:
        return []
    lead = "Prompts in bold, and how the model went on."
    return [Section("Samples", lead, samples=tuple(samples))]


def _sample(step: Step, models: Models) -> Sample:
    made = step.value(GenerateResult)
    prompt, text = made.prompt.translate(_PICTURES), made.text.translate(_PICTURES)
    return Sample(prompt, text, f"{models.of(step, made.model).label}, {_settings(made)}")


def _settings(made: GenerateResult) -> str:
    said = ["greedy"]
    if made.temperature > 0:
        said = [f"sampled at temperature {made.temperature:g}", f"seed {made.seed}"]
        said += [f"top-k {made.top_k}"] if made.top_k is not None else []
        said += [f"top-p {made.top_p:g}"] if made.top_p is not None else []
    count = len(made.token_ids)
    said.append(f"{count} token" if count == 1 else f"{count} tokens")
    said.append("ended by the model" if made.finish_reason == "stop" else "cut at the limit")
    return ", ".join([*said, f"{made.tokens_per_second:,.0f} tokens/s"])
