"""Which models and tasks there are, as data. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tfcli.errors import UsageError
from tfcli.models.errors import hint


@dataclass(frozen=True)
class Known:
    """A model that has a name of its own.

    Args:
        name: as it is written, also the name of its folder.
        kind: `glm`, `bert`, `gpt2` or `t5`; says which classes it can be.
        hub: where it is published in a layout that is read here; None: no such place is known.
    """

    name: str
    kind: str
    hub: str | None = None


MODELS: tuple[Known, ...] = (
    Known("GLM-large-ch", "glm", "THUDM/glm-large-chinese"),
    Known("GLM-large-en", "glm"),
    Known("GLM-10b-ch", "glm", "THUDM/glm-10b-chinese"),
    Known("GLM-10b-en", "glm", "THUDM/glm-10b"),
    Known("RoBERTa-base-ch", "bert", "hfl/chinese-roberta-wwm-ext"),
    Known("BERT-base-en", "bert", "google-bert/bert-base-uncased"),
    Known("GPT2-base-ch", "gpt2"),
    Known("GPT2-base-en", "gpt2", "openai-community/gpt2"),
    Known("T5-base-ch", "t5"),
    Known("T5-base-en", "t5", "google-t5/t5-base"),
)

# task -> kind -> the class in tfcli/flagai/models.py
TASKS: dict[str, dict[str, str]] = {
    "lm": {"glm": "GLMModel", "bert": "BertModel", "gpt2": "GPT2Model", "t5": "T5Model"},
    "seq2seq": {
        "glm": "GLMForSeq2Seq",
        "bert": "BertForSeq2seq",
        "gpt2": "GPT2Model",
        "t5": "T5Model",
    },
    "title-generation": {
        "glm": "GLMForSeq2Seq",
        "bert": "BertForSeq2seq",
        "gpt2": "GPT2Model",
        "t5": "T5Model",
    },
    "poetry-generation": {
        "glm": "GLMForSeq2Seq",
        "bert": "BertForSeq2seq",
        "gpt2": "GPT2Model",
        "t5": "T5Model",
    },
    "classification": {"glm": "GLMForSequenceClassification", "bert": "BertForClsClassifier"},
    "semantic-matching": {"glm": "GLMForSequenceClassification", "bert": "BertForClsClassifier"},
    "cloze": {"glm": "GLMForMultiTokenCloze"},
    "sequence-labeling": {"bert": "BertForSequenceLabeling"},
    "ner": {"bert": "BertForSequenceLabeling"},
    "masklm": {"bert": "BertForMaskLM"},
    "embedding": {"bert": "BertForEmbedding"},
}
TASK_ALIASES = {
    "language-modeling": "lm",
    "language-modelling": "lm",
    "masked-lm": "masklm",
    "poetry": "poetry-generation",
    "sequence-labelling": "sequence-labeling",
}


def find_model(name: str) -> Known:
    """The model of a name, in any case.

    Raises:
        UsageError: no such name.
    """
    for known in MODELS:
        if known.name.lower() == name.lower():
            return known
    raise UsageError(
        f"there is no model {name!r}",
        where="model_name",
        fix=_folded_hint(name, [known.name for known in MODELS]),
    )


def find_task(name: str) -> str:
    """The task of a name, in any case; spaces and underscores count as hyphens.

    Raises:
        UsageError: no such task.
    """
    plain = name.lower().replace("_", "-").replace(" ", "-")
    plain = TASK_ALIASES.get(plain, plain)
    if plain not in TASKS:
        fix = _folded_hint(plain, TASKS)
        raise UsageError(f"there is no task {name!r}", where="task_name", fix=fix)
    return plain


def class_for(task: str, known: Known) -> str:
    """The name of the class that does a task with a model.

    Raises:
        UsageError: the two do not go together; the message lists what goes with each.
    """
    classes = TASKS[task]
    if known.kind not in classes:
        models = [other.name for other in MODELS if other.kind in classes]
        tasks = [other for other, kinds in TASKS.items() if known.kind in kinds]
        raise UsageError(
            f"{known.name} is not built for {task}",
            where="task_name",
            fix=f"{task} goes with {', '.join(models)}; {known.name} does {', '.join(tasks)}",
        )
    return classes[known.kind]


def _folded_hint(word: str, choices: Iterable[str]) -> str:
    """A did-you-mean that takes no notice of case, with the names as they are written."""
    written = {choice.lower(): choice for choice in choices}
    found = hint(word.lower(), written)
    for lower, choice in sorted(written.items(), key=lambda pair: -len(pair[0])):
        found = found.replace(lower, choice)
    return found
