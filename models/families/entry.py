"""What an entry of a family is made of: heads that many have, and how its classes are called."""

from __future__ import annotations

from collections.abc import Mapping

from tfcli.models.family import Family

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
    "pretraining": "ForPreTraining",
    "image-classification": "ForImageClassification",
    "masked-image-modeling": "ForMaskedImageModeling",
    "feature-maps": "Backbone",
    "contrastive": "Model",
    "image-text-to-text": "ForConditionalGeneration",
    "speech-seq2seq": "ForConditionalGeneration",
    "ctc": "ForCTC",
    "audio-classification": "ForAudioClassification",
}
HEADS = "tfcli.models.heads"
DECODER_HEADS = {
    "causal-lm": f"{HEADS}.causal_lm:CausalLM",
    "sequence-classification": f"{HEADS}.sequence_classification:LastTokenClassification",
    "token-classification": f"{HEADS}.token_classification:TokenScore",
    "question-answering": f"{HEADS}.question_answering:QuestionAnswering",
    "embedding": f"{HEADS}.embedding:Embedding",
}
ENCODER_HEADS = {
    "sequence-classification": f"{HEADS}.sequence_classification:SequenceClassification",
    "token-classification": f"{HEADS}.token_classification:TokenClassification",
    "question-answering": f"{HEADS}.question_answering:QuestionAnswering",
    "multiple-choice": f"{HEADS}.multiple_choice:MultipleChoice",
    "embedding": f"{HEADS}.embedding:Embedding",
}
# Where the modules of a family's own are, by its kind.
ROOMS = {
    "decoder": "text",
    "recurrent": "text",
    "encoder": "text",
    "encoder-decoder": "text",
    "vision": "vision",
    "audio": "audio",
    "dual encoder": "multimodal",
    "vision-language": "multimodal",
}


def but(heads: Mapping[str, str], *tasks: str) -> dict[str, str]:
    """The heads but those of some tasks."""
    return {task: heads[task] for task in heads if task not in tasks}


def only(heads: Mapping[str, str], *tasks: str) -> dict[str, str]:
    """The heads of some tasks."""
    return {task: heads[task] for task in tasks}


def family(
    model_type: str,
    stem: str,
    kind: str,
    heads: Mapping[str, str],
    *features: str,
    config: str | None = None,
    backbone: str | None = None,
    names: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    keep_fp32: Mapping[str, tuple[str, ...]] | None = None,
) -> Family:
    """A family whose class names are a stem and a suffix, such as `Qwen3ForCausalLM`.

    Args:
        stem: how its class names begin.
        heads: task -> `module:Class`; those of its own below `tfcli.models`.
        features: what it has that others lack, for the documentation.
        config: `module:Class` below `tfcli.models.configs`, where it is not the convention's.
        backbone: the same below the room of its kind.
        names: task -> class name, where it is not the stem and the task's suffix.

    The others are those of `Family`.
    """
    module = model_type.replace("-", "_")
    return Family(
        model_type=model_type,
        kind=kind,
        config=f"tfcli.models.configs.{config or f'{module}:{stem}Config'}",
        backbone=f"tfcli.models.{ROOMS[kind]}.{backbone or f'{module}:{stem}Model'}",
        heads={task: _whole_path(head) for task, head in heads.items()},
        names={task: stem + SUFFIXES[task] for task in heads if task in SUFFIXES}
        | dict(names or {}),
        aliases=aliases or {},
        features=features,
        keep_fp32=keep_fp32 or {},
    )


def _whole_path(head: str) -> str:
    return head if head.startswith("tfcli.") else f"tfcli.models.{head}"


LM_ALONE = only(DECODER_HEADS, "causal-lm", "embedding")
NO_SPANS = but(DECODER_HEADS, "question-answering")
NO_TOKENS = but(DECODER_HEADS, "token-classification")
TEXTS = only(DECODER_HEADS, "causal-lm", "sequence-classification", "embedding")
# Earlier decoders call the linear of a token's label `classifier`, as encoders do.
EARLIER = DECODER_HEADS | only(ENCODER_HEADS, "token-classification")
TOWER = {"embedding": f"{HEADS}.tower:Tower"}
