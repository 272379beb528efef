"""The heads that many families share, and how Hugging Face names a family's classes with them."""

from __future__ import annotations

from collections.abc import Mapping

from tfcli.models.family import Family

_HEADS = "tfcli.models.heads"
# Types that some parameters are not cast to: those whose numbers end at 65504, or all of two bytes.
NOT_FP16 = ("float16",)
NOT_HALF = ("float16", "bfloat16")
# task -> how the names of its classes end in `architectures`
SUFFIXES = {
    "causal-lm": "ForCausalLM",
    "masked-lm": "ForMaskedLM",
    "seq2seq-lm": "ForConditionalGeneration",
    "sequence-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
    "multiple-choice": "ForMultipleChoice",
    "embedding": "Model",
}
DECODER_HEADS = {
    "causal-lm": f"{_HEADS}.causal_lm:CausalLM",
    "sequence-classification": f"{_HEADS}.sequence_classification:LastTokenClassification",
    "token-classification": f"{_HEADS}.token_classification:TokenScore",
    "question-answering": f"{_HEADS}.question_answering:QuestionAnswering",
    "embedding": f"{_HEADS}.embedding:Embedding",
}
ENCODER_HEADS = {
    "sequence-classification": f"{_HEADS}.sequence_classification:SequenceClassification",
    "token-classification": f"{_HEADS}.token_classification:TokenClassification",
    "question-answering": f"{_HEADS}.question_answering:QuestionAnswering",
    "multiple-choice": f"{_HEADS}.multiple_choice:MultipleChoice",
    "embedding": f"{_HEADS}.embedding:Embedding",
}


def only(heads: Mapping[str, str], *tasks: str) -> dict[str, str]:
    """The heads of some tasks."""
    return {task: heads[task] for task in tasks}


def family(
    model_type: str,
    stem: str,
    kind: str,
    heads: Mapping[str, str],
    *,
    config: str,
    backbone: str,
    names: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    features: tuple[str, ...] = (),
    keep_fp32: Mapping[str, tuple[str, ...]] | None = None,
) -> Family:
    """A family whose class names are a stem and a suffix, such as `Qwen3ForCausalLM`.

    Args:
        stem: how its class names begin.
        config: `module:Class` under `tfcli.models.configs`.
        backbone: `module:Class` under `tfcli.models.text`.
        names: task -> class name, where it is not the stem and the task's suffix.

    The others are those of `Family`.
    """
    return Family(
        model_type=model_type,
        kind=kind,
        config=f"tfcli.models.configs.{config}",
        backbone=f"tfcli.models.text.{backbone}",
        heads=heads,
        names={task: stem + SUFFIXES[task] for task in heads if task in SUFFIXES}
        | dict(names or {}),
        aliases=aliases or {},
        features=features,
        keep_fp32=keep_fp32 or {},
    )
