"""A look at a decoder's tensor names that spares the import of its classes.

Which tensors are tied and which are no parameters is known to the model's classes, and torch comes
with them: a second, where the headers of a folder of any size take a tenth of one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from tfcli.errors import ModelError

_BUILT_IN = "tfcli.models."
_KINDS = ("decoder", "recurrent")
# What a head that may share the token table is called in checkpoints.
_HEADS = ("lm_head.weight", "embed_out.weight")
# Masks that old checkpoints hold have names as biases have, of a module that has none.
_PARAMETER = re.compile(r"(?:.*[.])?(?:weight|(?<!attn\.)(?<!attention\.)bias)")
_LAYER = re.compile(r"\d+")


def are_plain(config: Mapping[str, Any], names: Collection[str]) -> bool:
    """Whether none of a checkpoint's names can be a tied one beside its partner, or no parameter.

    True is certain. False says nothing: then the classes are to be asked.

    Args:
        config: the content of config.json.
        names: of the stored tensors.
    """
    from tfcli.models.registry import FAMILIES, read_config

    family = FAMILIES.get(str(config.get("model_type")))
    if family is None or family.kind not in _KINDS:
        return False
    # Families of users may have any ties.
    if not isinstance(family.backbone, str) or not family.backbone.startswith(_BUILT_IN):
        return False
    try:
        parsed = read_config(config)
    except ModelError:
        return False
    if parsed.tie_word_embeddings and any(name.endswith(_HEADS) for name in names):
        return False
    layers = parsed.num_hidden_layers
    return all(
        _PARAMETER.fullmatch(name) and all(int(n) < layers for n in _LAYER.findall(name)[:1])
        for name in names
    )
