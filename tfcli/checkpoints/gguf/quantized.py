"""A GGUF file of weights that are quantized: which types they need, and the file's plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.gguf.mixes import MIXES, Shape, mix_chooser
from tfcli.checkpoints.gguf.packed import PackedRows
from tfcli.checkpoints.gguf.plan import ToGGUF, plan_targets
from tfcli.checkpoints.gguf.to_gguf import family_of, plan_to_gguf
from tfcli.checkpoints.gguf.types import BY_NAME


def types_of(
    view: Checkpoint, mix: str, tensor_types: Sequence[tuple[str, str]] = ()
) -> tuple[dict[str, str], list[str]]:
    """The type that each weight of a checkpoint has in a mix, of those that are quantized.

    Args:
        view: the checkpoint.
        mix: a key of `MIXES`.
        tensor_types: (regular expression found in the GGUF name, type); the first that fits counts.

    Returns:
        Hugging Face's name -> type, and why some have another type than the mix says.

    Raises:
        UsageError: an unknown mix or type.
        WorkError: a family or setting that GGUF does not have.
        ModelError: a config that is not supported.
    """
    dialect, config = family_of(view)
    heads = getattr(config, "num_attention_heads", 1)
    shape = Shape(
        config.num_hidden_layers,
        heads // (getattr(config, "num_key_value_heads", None) or heads),
        getattr(config, "num_experts", 0),
        tied=dialect.head not in view.tensors or config.tie_word_embeddings,
    )
    by_name = {name: replace(one, sources=(name,)) for name, one in view.tensors.items()}
    plan = plan_targets(
        replace(view, tensors=by_name), dialect, mix_chooser(mix, shape, tensor_types)
    )
    found = {
        source: target.dtype
        for target in plan.targets
        if not BY_NAME[target.dtype].plain
        for source in target.sources
    }
    return found, [f"{t.name}: {t.dtype}, because {t.note}" for t in plan.targets if t.note]


@dataclass(frozen=True)
class Place:
    """Where a matrix of a checkpoint goes.

    Args:
        name: of the tensor in GGUF.
        number: which of a stack's matrices it is; 0 where that is one.
        many: how many matrices are in it.
    """

    name: str
    number: int
    many: int


def places_of(view: Checkpoint) -> dict[str, Place]:
    """Where each tensor of a checkpoint goes, by Hugging Face's name.

    Of a tensor that is divided it is the first part; of one that is a stack already, the beginning.

    Raises:
        WorkError: a family or setting that GGUF does not have.
        ModelError: a config that is not supported.
    """
    dialect, _ = family_of(view)
    by_name = {name: replace(one, sources=(name,)) for name, one in view.tensors.items()}
    plan = plan_targets(replace(view, tensors=by_name), dialect, lambda *_: ("F32", ""))
    found: dict[str, Place] = {}
    for target in plan.targets:
        many = target.shape[0] if len(target.shape) == 3 else 1
        for number, source in enumerate(target.sources):
            stacked = number if len(target.sources) == many else 0
            found.setdefault(source, Place(target.name, stacked, many))
    return found


def plan_quantized(
    view: Checkpoint, packed: Mapping[str, PackedRows], mix: str, *, name: str | None = None
) -> ToGGUF:
    """Plan a GGUF file of quantized weights; what is not among them is stored as it is.

    Args:
        view: the checkpoint that they were made from.
        packed: by Hugging Face's name.
        mix: that gave them their types.
        name: of the model; None: the folder's.

    Raises:
        WorkError, ModelError: as `plan_to_gguf`.
    """
    return plan_to_gguf(view, packed=packed, file_type=MIXES[mix][1], name=name)
