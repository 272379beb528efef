"""FlagAI's folders for `tfcli convert`: tensors under Hugging Face's names, as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tfcli.checkpoints.beside import CONFIG, read_object
from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.flagai.configs import kind_of, to_core
from tfcli.checkpoints.flagai.folders import task_of
from tfcli.checkpoints.flagai.tensors import differ, from_flagai
from tfcli.checkpoints.flagai.weights import is_weights, open_weights
from tfcli.models.configs.text import TextConfig
from tfcli.models.registry import get_family


def read(path: Path, asked: Reading) -> Checkpoint:
    """The view of a FlagAI folder, or of one with the files of model-parallel ranks.

    Raises:
        WorkError: files that cannot be read.
        ModelError: a config that is not built.
    """
    config = read_object(path, CONFIG)
    kind = kind_of(config, str(path / CONFIG))
    stored = open_weights(path, kind, config)
    task = task_of(stored.tensors, kind)
    tensors, unused = from_flagai(stored, kind, task, config)
    core = to_core(config, kind).replace(architectures=[get_family(kind).names[task]])
    core = _with_labels(core, tensors)
    if differ(tensors, kind):
        core = core.replace(tie_word_embeddings=False)
    files = tuple(sorted(one for one in path.iterdir() if is_weights(one.name)))
    return Checkpoint(
        "flagai", path, core.to_dict(), tensors, files, companions=path, unused=unused
    )


def _with_labels(core: TextConfig, tensors: Mapping[str, TensorEntry]) -> TextConfig:
    """The config with as many classes as the head has rows."""
    for name in ("classifier.weight", "multichoice_head.weight"):
        if name in tensors and not core.id2label:
            count = tensors[name].shape[0]
            return core.replace(
                id2label={str(i): f"LABEL_{i}" for i in range(count)},
                label2id={f"LABEL_{i}": i for i in range(count)},
            )
    return core
