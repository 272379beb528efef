"""wav2vec2's config (transformers: Wav2Vec2Config)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation, require_divides
from tfcli.models.configs.speech import SpeechConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wav2Vec2Config(SpeechConfig):
    """wav2vec2 and XLS-R."""

    model_type: ClassVar[str] = "wav2vec2"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "add_adapter": (False, None),
        "adapter_attn_dim": (None,),
    }

    vocab_size: int = 32
    hidden_size: int = 768
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout: float = 0.1
    activation_dropout: float = 0.1
    attention_dropout: float = 0.1
    feat_proj_dropout: float = 0.0
    final_dropout: float = 0.1
    layerdrop: float = 0.1
    layer_norm_eps: float = 1e-5
    feat_extract_norm: str = "group"
    feat_extract_activation: str = "gelu"
    conv_dim: list[int] = dataclasses.field(default_factory=lambda: [512] * 7)
    conv_stride: list[int] = dataclasses.field(default_factory=lambda: [5, 2, 2, 2, 2, 2, 2])
    conv_kernel: list[int] = dataclasses.field(default_factory=lambda: [10, 3, 3, 3, 3, 2, 2])
    conv_bias: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    do_stable_layer_norm: bool = False
    apply_spec_augment: bool = True
    ctc_loss_reduction: str = "sum"
    ctc_zero_infinity: bool = False
    pad_token_id: int | None = 0

    @property
    def samples_per_state(self) -> int:
        """Samples from one state to the next."""
        return math.prod(self.conv_stride)

    @property
    def hides(self) -> bool:
        """Whether there is a vector that stands for what is hidden in training."""
        return self.mask_time_prob > 0 or self.mask_feature_prob > 0

    def states_of(self, samples: Any) -> Any:
        """How many states so many samples give: an int, or a tensor of them."""
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    def check(self) -> None:
        super().check()
        self.check_sizes(
            "vocab_size",
            "hidden_size",
            "num_attention_heads",
            "intermediate_size",
            "num_conv_pos_embeddings",
        )
        self.check_layers()
        heads, groups = "num_attention_heads", "num_conv_pos_embedding_groups"
        for key in (heads, groups):
            require_divides(getattr(self, key), self.hidden_size, key, "hidden_size")
        for key in ("hidden_act", "feat_extract_activation"):
            require_activation(getattr(self, key), key)
        require(
            self.feat_extract_norm in ("group", "layer"),
            "feat_extract_norm",
            f"is {self.feat_extract_norm!r}; supported: 'group', 'layer'",
        )
        for key in ("conv_dim", "conv_stride", "conv_kernel"):
            sizes = getattr(self, key)
            require(bool(sizes) and min(sizes) >= 1, key, "must have numbers from 1")
            require(len(sizes) == len(self.conv_dim), key, "has another length than conv_dim")
        for key in (
            "hidden_dropout",
            "activation_dropout",
            "attention_dropout",
            "feat_proj_dropout",
            "final_dropout",
            "layerdrop",
        ):
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")
        require(
            self.ctc_loss_reduction in ("sum", "mean"),
            "ctc_loss_reduction",
            f"is {self.ctc_loss_reduction!r}; supported: 'sum', 'mean'",
        )
