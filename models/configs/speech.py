"""What the configs of models of speech share."""

from __future__ import annotations

import dataclasses

from tfcli.models.config import BaseConfig, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpeechConfig(BaseConfig):
    """What of its features a model does not see in training (Park et al. 2019), and the sizes of
    a classifier of recordings."""

    num_hidden_layers: int = 12
    apply_spec_augment: bool = False
    mask_time_prob: float = 0.05
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    mask_feature_prob: float = 0.0
    mask_feature_length: int = 10
    mask_feature_min_masks: int = 0
    use_weighted_layer_sum: bool = False
    classifier_proj_size: int = 256

    def check(self) -> None:
        super().check()
        self.check_sizes("classifier_proj_size")
        for axis in ("time", "feature"):
            share, length, least = (
                f"mask_{axis}_{name}" for name in ("prob", "length", "min_masks")
            )
            require(0 <= getattr(self, share) <= 1, share, "must be in [0, 1]")
            require(getattr(self, length) >= 1, length, "must be at least 1")
            require(getattr(self, least) >= 0, least, "is negative")
