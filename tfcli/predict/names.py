"""The tasks by name: their aliases, where their code is and the model of each that is pinned.

Names, aliases and default models are those of transformers' pipelines: of 5.x, and of 4.46.3 for
tasks that 5.x no longer has. Importing this imports no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from tfcli.errors import UsageError, hint

if TYPE_CHECKING:
    from tfcli.predict.options.shared import Options
    from tfcli.predict.task import Task

ENTRY_POINTS = "tfcli.tasks"
"""The group of entry points by which installed packages add tasks of their own."""
ALIASES = {
    "asr": "automatic-speech-recognition",
    "ner": "token-classification",
    "sentence-embedding": "sentence-embeddings",
    "sentiment-analysis": "text-classification",
    "text-ranking": "rerank",
    "text2text": "text2text-generation",
    "vqa": "visual-question-answering",
}
_TRANSLATION = re.compile(r"translation_[A-Za-z_]+_to_[A-Za-z_]+")
TRANSLATION = "translation"


@dataclass(frozen=True)
class Known:
    """A built-in task.

    Args:
        code: `module:Class` below `tfcli.predict.tasks`.
        options: the same below `tfcli.predict.options`.
        model: the hub id and commit of the model that is taken where none is named; None where
            transformers has none either.
    """

    code: str
    options: str
    model: str | None

    def options_class(self) -> type[Options]:
        """Its options; imports no torch."""
        return _load(f"tfcli.predict.options.{self.options}")

    def task_class(self) -> type[Task]:
        """Its code."""
        return _load(f"tfcli.predict.tasks.{self.code}")


def _load(path: str) -> type:
    module, _, name = path.partition(":")
    found: type = getattr(import_module(module), name)
    return found


TASKS = {
    "text-classification": Known(
        "text_classification:TextClassification",
        "text:TextClassificationOptions",
        "distilbert/distilbert-base-uncased-finetuned-sst-2-english@714eb0f",
    ),
    "zero-shot-classification": Known(
        "zero_shot_classification:ZeroShotClassification",
        "text:ZeroShotOptions",
        "facebook/bart-large-mnli@d7645e1",
    ),
    "token-classification": Known(
        "token_classification:TokenClassification",
        "text:TokenClassificationOptions",
        "dbmdz/bert-large-cased-finetuned-conll03-english@4c53496",
    ),
    "question-answering": Known(
        "question_answering:QuestionAnswering",
        "text:QuestionAnsweringOptions",
        "distilbert/distilbert-base-cased-distilled-squad@564e9b5",
    ),
    "table-question-answering": Known(
        "table_question_answering:TableQuestionAnswering",
        "text:TableQuestionAnsweringOptions",
        "google/tapas-base-finetuned-wtq@e3dde19",
    ),
    "fill-mask": Known(
        "fill_mask:FillMask", "text:FillMaskOptions", "distilbert/distilroberta-base@fb53ab8"
    ),
    "feature-extraction": Known(
        "features:FeatureExtraction",
        "text:FeatureOptions",
        "distilbert/distilbert-base-cased@6ea8117",
    ),
    "sentence-embeddings": Known("features:SentenceEmbeddings", "text:EmbeddingOptions", None),
    "multiple-choice": Known("multiple_choice:MultipleChoice", "text:MultipleChoiceOptions", None),
    "rerank": Known("rerank:Rerank", "text:RerankOptions", None),
    "text-generation": Known(
        "text_generation:TextGeneration",
        "writing:TextGenerationOptions",
        "HuggingFaceTB/SmolLM3-3B@a07cc9a",
    ),
    "text2text-generation": Known(
        "text2text:Text2Text", "writing:Text2TextOptions", "google-t5/t5-base@a9723ea"
    ),
    "summarization": Known(
        "text2text:Summarization",
        "writing:Text2TextOptions",
        "sshleifer/distilbart-cnn-12-6@a4f8f3e",
    ),
    "translation": Known(
        "text2text:Translation", "writing:TranslationOptions", "google-t5/t5-base@a9723ea"
    ),
    "image-text-to-text": Known("image_text:ImageTextToText", "writing:ImageTextOptions", None),
    "visual-question-answering": Known(
        "image_text:VisualQuestionAnswering", "writing:VisualQuestionOptions", None
    ),
    "image-to-text": Known("image_text:ImageToText", "writing:VisualQuestionOptions", None),
    "image-classification": Known(
        "images:ImageClassification",
        "media:ImageClassificationOptions",
        "google/vit-base-patch16-224@3f49326",
    ),
    "image-feature-extraction": Known(
        "images:ImageFeatureExtraction",
        "media:ImageFeatureOptions",
        "google/vit-base-patch16-224@3f49326",
    ),
    "zero-shot-image-classification": Known(
        "zero_shot_images:ZeroShotImageClassification",
        "media:ZeroShotImageOptions",
        "openai/clip-vit-base-patch32@3d74acf",
    ),
    "audio-classification": Known(
        "audio_classification:AudioClassification",
        "media:ImageClassificationOptions",
        "superb/wav2vec2-base-superb-ks@372e048",
    ),
    "automatic-speech-recognition": Known(
        "speech:SpeechRecognition",
        "media:SpeechOptions",
        "facebook/wav2vec2-base-960h@22aad52",
    ),
}
"""The built-in tasks by their names."""


def known(task: str) -> Known | None:
    """A built-in task by its name or an alias; None for those of packages."""
    return TASKS.get(TRANSLATION if is_translation(task) else task)


def is_translation(task: str) -> bool:
    """Whether a name is `translation_xx_to_yy`."""
    return _TRANSLATION.fullmatch(task) is not None


def languages_of(task: str) -> tuple[str, str] | None:
    """The languages that `translation_xx_to_yy` names; None for other names."""
    if not is_translation(task):
        return None
    source, _, target = task.removeprefix("translation_").partition("_to_")
    return source, target


def resolve(task: str) -> str:
    """The name that an alias stands for.

    Raises:
        UsageError: there is no such task, built in or of an installed package.
    """
    name = ALIASES.get(task, task)
    if known(name) is not None or entry_points(group=ENTRY_POINTS, name=name):
        return name
    own = [point.name for point in entry_points(group=ENTRY_POINTS)]
    raise UsageError(
        f"there is no task {task!r}", where="task", fix=hint(task, [*TASKS, *ALIASES, *own])
    )


def task_class(task: str) -> type[Task]:
    """The code of a task.

    Args:
        task: its name, as `resolve` gives it.

    Raises:
        UsageError: what a package's entry point names is no `Task`.
    """
    found = known(task)
    if found is not None:
        return found.task_class()
    from tfcli.predict.task import Task

    (point, *_) = entry_points(group=ENTRY_POINTS, name=task)
    loaded = point.load()
    if not (isinstance(loaded, type) and issubclass(loaded, Task)):
        raise UsageError(
            f"{point.value} of the entry point {task!r} is no tfcli.predict.task.Task",
            where="task",
            fix="docs/predict.md has an example",
        )
    return loaded
