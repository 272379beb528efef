"""ModernBERT's config (transformers: ModernBertConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation, require_divides
from tfcli.models.configs.rope import check_rope, read_layer_rope, write_layer_rope
from tfcli.models.configs.text import TextConfig
from tfcli.models.configs.windows import FULL, SLIDING
from tfcli.models.limits import MAX_LAYERS

# type of layer -> the older key of its base, and the base where a file gives none
BASES = {SLIDING: ("local_rope_theta", 10000.0), FULL: ("global_rope_theta", 160000.0)}
POOLINGS = ("cls", "mean")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModernBertConfig(TextConfig):
    """ModernBERT.

    Args:
        initializer_cutoff_factor: new values lie within so many standard deviations; None: 3.
        layer_types: which layers see the neighbourhood only; by default all but every third.
        global_attn_every_n_layers: how `layer_types` was spelt before.
        local_attention: width of the neighbourhood; half of it lies on each side.
        classifier_pooling: the state that classifiers of whole inputs look at: the first (`cls`)
            or the mean of all.
    """

    model_type: ClassVar[str] = "modernbert"
    # Logits of masked words only, whose number no batch has in common: the loss is the same.
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"sparse_prediction": (False, None)}

    vocab_size: int = 50368
    hidden_size: int = 768
    intermediate_size: int = 1152
    num_hidden_layers: int = 22
    num_attention_heads: int = 12
    hidden_activation: str = "gelu"
    max_position_embeddings: int = 8192
    initializer_cutoff_factor: float | None = 2.0
    norm_eps: float = 1e-5
    norm_bias: bool = False
    pad_token_id: int | None = 50283
    eos_token_id: int | list[int] | None = 50282
    bos_token_id: int | None = 50281
    cls_token_id: int | None = 50281
    sep_token_id: int | None = 50282
    attention_bias: bool = False
    attention_dropout: float = 0.0
    layer_types: list[str] | None = None
    global_attn_every_n_layers: int | None = None
    local_attention: int = 128
    embedding_dropout: float = 0.0
    mlp_bias: bool = False
    mlp_dropout: float = 0.0
    decoder_bias: bool = True
    classifier_pooling: str = "cls"
    classifier_dropout: float | None = 0.0
    classifier_bias: bool = False
    classifier_activation: str = "gelu"
    rope_parameters: dict[str, Any] = dataclasses.field(
        default_factory=lambda: read_layer_rope({}, BASES)
    )

    @property
    def head_dropout(self) -> float:
        return self.classifier_dropout or 0.0

    def kind(self, layer: int) -> str:
        """A layer's entry in `layer_types`."""
        assert self.layer_types is not None  # complete() fills it in
        return self.layer_types[layer]

    def radius(self, layer: int) -> int | None:
        """How far a layer sees on each side; None: everything."""
        return self.local_attention // 2 if self.kind(layer) == SLIDING else None

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        data.setdefault("max_position_embeddings", cls.max_position_embeddings)
        scaling, own = data.pop("rope_scaling", None), data.get("rope_parameters") or {}
        if scaling:  # of files before transformers 5; it holds for both types of layers
            for key, value in (("rope_scaling", scaling), ("rope_parameters", own)):
                require(isinstance(value, dict), key, "must be a mapping")
            scaling = {"rope_type": scaling.get("type", "default"), **scaling}
            data["rope_parameters"] = {
                **own,
                **{kind: {**(own.get(kind) or {}), **scaling} for kind in BASES},
            }
        data["rope_parameters"] = read_layer_rope(data, BASES)
        return data

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        return {**out, **write_layer_rope(self.rope_parameters, BASES)}

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        return tuple(sorted({*super().keys(), *(key for key, _ in BASES.values())}))

    def complete(self) -> None:
        if self.layer_types is None:
            given = self.global_attn_every_n_layers
            every = 3 if given is None else given
            require(every >= 1, "global_attn_every_n_layers", "must be at least 1")
            # Only as many as are allowed: check() comes later and refuses more.
            layers = range(min(self.num_hidden_layers, MAX_LAYERS))
            kinds = [SLIDING if layer % every else FULL for layer in layers]
            object.__setattr__(self, "layer_types", kinds)

    def check(self) -> None:
        super().check()
        require_divides(
            self.num_attention_heads, self.hidden_size, "num_attention_heads", "hidden_size"
        )
        for key in ("intermediate_size", "local_attention"):
            require(getattr(self, key) >= 1, key, "must be at least 1")
        for key in ("hidden_activation", "classifier_activation"):
            require_activation(getattr(self, key), key)
        for key in ("attention_dropout", "embedding_dropout", "mlp_dropout"):
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")
        cutoff = self.initializer_cutoff_factor
        require(cutoff is None or cutoff > 0, "initializer_cutoff_factor", "must be above 0")
        known = f"is {self.classifier_pooling!r}; built are {', '.join(POOLINGS)}"
        require(self.classifier_pooling in POOLINGS, "classifier_pooling", known)
        kinds = self.layer_types or []
        for kind in kinds:
            require(kind in BASES, "layer_types", f"has {kind!r}; built are {', '.join(BASES)}")
        require(
            len(kinds) == self.num_hidden_layers,
            "layer_types",
            f"has {len(kinds)} entries for {self.num_hidden_layers} layers",
        )
        for rope in self.rope_parameters.values():
            check_rope(rope, self.head_dim)
            partial = rope.get("partial_rotary_factor", 1.0)
            require(partial == 1.0, "partial_rotary_factor", f"is {partial}; supported: 1.0")
