"""How FlagAI's checkpoints name their tensors, as data that works both ways.

FlagAI reads Hugging Face's names and writes its own, so a folder may hold either. BERT differs
most: one tensor for queries, keys and values, and other names for heads. Reference: the classes of
FlagAI's `bert_model.py`, `glm_model.py`, `gpt2_model.py` and `t5_model.py`, and `mp_tools.py` for
what model-parallel ranks hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import torch

from tfcli.checkpoints.dialect.dialect import Cut

NESTED = "model."  # FlagAI's task classes hold the body under this name


@dataclass(frozen=True)
class Rows:
    """A part of a stored tensor: the `part`-th of `of` equal groups of rows."""

    name: str
    part: int = 0
    of: int = 1

    def read(self, stored: torch.Tensor) -> torch.Tensor:
        """A view; nothing is copied."""
        return stored if self.of == 1 else stored.chunk(self.of)[self.part]


@dataclass(frozen=True)
class Dialect:
    """The names of one kind of model.

    Args:
        prefix: what Hugging Face's task classes call the body; "" where names are the same.
        body: how names of the body begin, without a prefix.
        own_prefix: what FlagAI's names of the body begin with.
        joined: a part of FlagAI's name -> the parts of Hugging Face's names that it joins, by rows.
        heads: how a head's names begin in FlagAI -> how they do in Hugging Face, by task.
        copies: two of Hugging Face's names for one tensor of FlagAI's, which has the first.
        ties: what FlagAI stores twice -> the tensor that it equals where Hugging Face's ties it.
        strays: FlagAI stores it and never uses it -> why it is left out.
    """

    prefix: str = ""
    body: tuple[str, ...] = ()
    own_prefix: str = ""
    joined: dict[str, tuple[str, ...]] = field(default_factory=dict)
    heads: dict[str, dict[str, str]] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    ties: dict[str, str] = field(default_factory=dict)
    strays: dict[str, str] = field(default_factory=dict)

    def hf_places(self, name: str, task: str) -> dict[str, Rows]:
        """Hugging Face's names for what a stored tensor holds."""
        bare = name.removeprefix(NESTED)
        if bare.startswith(self.body):
            bare = f"{self.prefix}.{bare}"
        for ours, theirs in self.heads.get(task, {}).items():
            if bare.startswith(ours):
                bare = theirs + bare.removeprefix(ours)
                break
        for joined, parts in self.joined.items():
            if joined in bare:
                spelt = [bare.replace(joined, part) for part in parts]
                return {one: Rows(name, i, len(parts)) for i, one in enumerate(spelt)}
        return {bare: Rows(name)}

    def flagai_place(self, name: str, task: str, nested: bool) -> Rows:
        """Where FlagAI keeps a tensor of Hugging Face.

        Args:
            name: Hugging Face's, with or without the body's prefix.
            task: whose head there is.
            nested: FlagAI's class holds the body under `NESTED`.
        """
        for first, second in self.copies.items():
            name = first if name == second else name
        bare = name.removeprefix(f"{self.prefix}.") if self.prefix else name
        for ours, theirs in self.heads.get(task, {}).items():
            if name.startswith(theirs):
                return Rows(ours + name.removeprefix(theirs))
        nest = ""
        if self.body and bare.startswith(self.body):
            nest = f"{NESTED}{self.own_prefix}" if nested else self.own_prefix
        for joined, parts in self.joined.items():
            for i, part in enumerate(parts):
                if part in bare:
                    return Rows(nest + bare.replace(part, joined), i, len(parts))
        return Rows(nest + bare)

    def stray(self, name: str) -> str | None:
        """Why a stored tensor is left out; None if it is not."""
        return next((why for odd, why in self.strays.items() if re.search(odd, name)), None)


DIALECTS: dict[str, Dialect] = {
    "glm": Dialect(
        prefix="glm",
        body=("word_embeddings.", "transformer."),
        strays={r"^(model\.)?prompt_spell\.": "prompts that are spelt are not built"},
    ),
    "bert": Dialect(
        prefix="bert",
        body=("embeddings.", "encoder.", "pooler."),
        joined={
            "attention.self.query_key_value.": (
                "attention.self.query.",
                "attention.self.key.",
                "attention.self.value.",
            )
        },
        heads={
            "token-classification": {"final_dense.": "classifier."},
            "sequence-classification": {"out_layer.": "classifier."},
        },
        copies={"cls.predictions.decoder.bias": "cls.predictions.bias"},
        ties={"cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight"},
    ),
    # FlagAI reads GPT-2's linears as [in, out], as Hugging Face stores them.
    "gpt2": Dialect(
        prefix="transformer",
        body=("wte.", "wpe.", "h.", "ln_f."),
        own_prefix="transformer.",
        strays={r"^lm_head\.weight$": "FlagAI takes the token table for it and never reads it"},
    ),
    "t5": Dialect(
        ties={
            "encoder.embed_tokens.weight": "shared.weight",
            "decoder.embed_tokens.weight": "shared.weight",
        },
    ),
}

_ROWS, _COLUMNS, _THIRDS = Cut(0), Cut(1), Cut(0, blocks=3)
_CUTS: dict[str, dict[str, Cut]] = {
    "glm": {
        r"word_embeddings\.weight$": _ROWS,
        r"attention\.query_key_value\.(weight|bias)$": _THIRDS,
        r"attention\.dense\.weight$": _COLUMNS,
        r"mlp\.dense_h_to_4h\.(weight|bias)$": _ROWS,
        r"mlp\.dense_4h_to_h\.weight$": _COLUMNS,
    },
    "gpt2": {
        r"wte\.weight$": _ROWS,
        r"attn\.c_attn\.(weight|bias)$": _THIRDS,
        r"attn\.c_proj\.weight$": _COLUMNS,
        r"mlp\.c_fc\.(weight|bias)$": _ROWS,
        r"mlp\.c_proj\.weight$": _COLUMNS,
    },
}


def cut_of(kind: str, name: str) -> Cut | None:
    """How model-parallel ranks divide a tensor; None: each holds all of it."""
    cuts = _CUTS.get(kind, {})
    return next((cut for pattern, cut in cuts.items() if re.search(pattern, name)), None)
