"""docs/families.md, written from the registry."""

from __future__ import annotations

from collections.abc import Mapping

from tfcli.models.families.entry import ROOMS
from tfcli.models.family import Family
from tfcli.models.registry import FAMILIES

KINDS = {
    "decoder": "Decoders",
    "recurrent": "Recurrent models",
    "encoder": "Encoders",
    "encoder-decoder": "Encoder-decoders",
    "vision": "Vision transformers",
    "audio": "Speech",
    "dual encoder": "Dual encoders of images and texts",
    "vision-language": "Language models that look at images",
}
TASKS = {
    "causal-lm": "causal LM",
    "masked-lm": "masked LM",
    "seq2seq-lm": "seq2seq LM",
    "sequence-classification": "sequence classification",
    "token-classification": "token classification",
    "question-answering": "question answering",
    "multiple-choice": "multiple choice",
    "embedding": "embedding",
    "image-classification": "image classification",
    "distilled-image-classification": "image classification with a teacher",
    "masked-image-modeling": "masked image modeling",
    "feature-maps": "feature maps",
    "projection": "projection",
    "contrastive": "image-text similarity",
    "image-text-to-text": "image and text to text",
    "speech-seq2seq": "speech to text",
    "ctc": "CTC",
    "audio-classification": "audio classification",
    "pooled-embedding": "pooled embedding",
    "pretraining": "pretraining",
    "permutation-lm": "permutation LM",
    "table-question-answering": "table question answering",
}
_HEADER = "| model_type | tasks | features | compared |\n|---|---|---|---|"
_HEAD = """\
# Families

Written by `scripts/reference` from the registry; do not edit.

A family is known by `model_type` in config.json. All read and write Hugging Face checkpoints.
The last column counts the tiny configurations with which a family is compared with transformers:
logits, hidden states, loss and gradients, padding, packing, caches, backends, and loading and
saving both ways, for each of its heads. Where it is not a number, the comparison is another one.

A family's name leads to the page of what its models are made of.
A family of your own: [own-families.md](own-families.md).
"""


def families_page(cases: Mapping[str, int], others: Mapping[str, str]) -> str:
    """The page.

    Args:
        cases: model_type -> configurations that are compared with transformers.
        others: model_type -> how a family that transformers lacks is tested.
    """
    parts = [_HEAD]
    for kind in ROOMS:  # not of the titles: a kind without one must not be left out
        families = [family for family in FAMILIES.values() if family.kind == kind]
        parts.append(f"## {KINDS[kind]}\n\n{_HEADER}")
        parts += [_row(family, cases, others) for family in sorted(families, key=_name)]
        parts.append("")
    return "\n".join(parts)


def _name(family: Family) -> str:
    return family.model_type


def _row(family: Family, cases: Mapping[str, int], others: Mapping[str, str]) -> str:
    tasks = ", ".join(TASKS.get(task, task) for task in family.heads)
    compared = cases.get(family.model_type) or others[family.model_type]
    name = f"[`{family.model_type}`](families/{family.model_type}.md)"
    return f"| {name} | {tasks} | {', '.join(family.features)} | {compared} |"
