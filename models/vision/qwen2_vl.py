"""Qwen2-VL's tower (Wang et al. 2024): patches of images and videos of any size.

What a patch sees is its frame. Reference: transformers `modeling_qwen2_vl.py`; names of modules and
parameters are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models import processor
from tfcli.models.backbone import Backbone
from tfcli.models.blocks.clip import CLIPMLP
from tfcli.models.blocks.run import run_blocks
from tfcli.models.caches.kinds import Dynamic
from tfcli.models.caches.stores import Store
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.qwen2_vl import Qwen2VLVisionConfig
from tfcli.models.context import Context
from tfcli.models.errors import ModelError
from tfcli.models.folding import Fold, after_norm, span
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.patches import image_or_embeds
from tfcli.models.layers.rotary import AxialRotary

_EPS = 1e-6  # of every norm; the config has no key for it


class Qwen2VLVisionModel(Backbone[Qwen2VLVisionConfig]):
    """Patches, blocks. The features of a language model are what `merger` makes of the states.

    Inputs are `hidden_states` [patches, values], those of all media one after the other, and
    `grid_thw` int [media, 3]: how many frames, rows and columns of patches each has. Where the grid
    can be read for nothing and all frames are of one size, they are the rows of a batch. Otherwise
    they are segments of one row: leave the grid in the host's memory where media are large.
    """

    prefix = "visual"
    main = "hidden_states"
    inputs: ClassVar[tuple[str, ...]] = ("grid_thw",)
    walk = CalibrationWalk(
        blocks="blocks", groups=(("attn.qkv",), ("attn.proj",), ("mlp.fc1",), ("mlp.fc2",))
    )

    def __init__(self, config: Qwen2VLVisionConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        rotary = AxialRotary(config.theta, config.head_dim)
        self.patch_embed = PatchRows(config)
        self.blocks = nn.ModuleList(
            Qwen2VLVisionBlock(config, layer, rotary, attention)
            for layer in range(config.num_hidden_layers)
        )
        self.merger = PatchMerger(config)

    def begin(self, inputs: Mapping[str, Any], **options: Any) -> tuple[torch.Tensor, Context]:
        patches, grid = inputs.get("hidden_states"), inputs.get("grid_thw")
        if patches is None or grid is None:
            raise ModelError("the tower takes hidden_states and grid_thw, which says their order")
        layout = layout_of(grid, len(patches), self.config.spatial_merge_size)
        options["position_ids"] = layout.positions.to(patches.device)
        options["segment_ids"] = None if layout.frames is None else layout.frames.to(patches.device)
        return super().begin(inputs, **options)

    def embed(
        self,
        *,
        hidden_states: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        grid_thw: torch.Tensor | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        """hidden_states (Tensor): [patches, values] -> [frames or 1, s, embed_dim]"""
        assert grid_thw is not None
        x = self.patch_embed(image_or_embeds(hidden_states, inputs_embeds))
        return x.unflatten(0, (rows_of(grid_thw), -1))

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        return context.finished(run_blocks(self.blocks, x, context))

    def pooler_output(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [features, hidden_size], those of all media"""
        return self.merger(x)


class PatchProjection(nn.Module):
    """A linear over the values of each patch: a convolution in the reference, of one window."""

    def __init__(self, config: Qwen2VLVisionConfig) -> None:
        super().__init__()
        side = config.patch_size
        shape = (config.embed_dim, config.in_channels, config.temporal_patch_size, side, side)
        self.weight = nn.Parameter(torch.empty(shape))
        self.values = config.patch_values

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [patches, values] -> [patches, embed_dim]"""
        if x.ndim != 2 or x.shape[1] != self.values:
            raise ModelError(
                f"patches have shape {tuple(x.shape)}, expected [patches, {self.values}]",
                where="pixel_values",
                fix="prepare images with the model's own processor",
            )
        return F.linear(x.to(self.weight.dtype), self.weight.flatten(1))


class PatchRows(nn.Module):
    """Patches to vectors."""

    def __init__(self, config: Qwen2VLVisionConfig) -> None:
        super().__init__()
        self.proj = PatchProjection(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [patches, values] -> [patches, embed_dim]"""
        return self.proj(x)


class Qwen2VLVisionAttention(RotaryAttention):
    """Attention within a frame; queries and keys are turned in float32."""

    out = "proj"
    rotary: AxialRotary

    def add_projections(self, hidden_size: int, width: int, kv_width: int, bias: bool) -> None:
        self.qkv = linear(hidden_size, width + 2 * kv_width, bias)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.qkv(x).chunk(3, dim=-1)

    @property
    def reads(self) -> tuple[str, ...]:
        """See `folding`."""
        return ("qkv",)

    def value_rows(self) -> tuple[str, torch.Tensor | None]:
        """See `RotaryAttention.value_rows`."""
        size = self.qkv.get_parameter("weight").shape[0] // 3
        return "qkv", span(2 * size, 3 * size)

    def make_store(self, kind: Dynamic) -> Store | None:
        return None

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        query, key, value = self.heads(x)
        rotation = context.rotation(self.rotary, torch.float32)
        query, key = (self.rotary.turn(each.float(), rotation).to(x.dtype) for each in (query, key))
        out = getattr(self, self.out)
        return out(self.attend(query, key, value, context.full(), context.attentions))


class Qwen2VLVisionBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        config: gives the sizes.
        layer: index of the layer.
        rotary: shared by all layers.
        attention: name of the attention backend.
    """

    def __init__(
        self, config: Qwen2VLVisionConfig, layer: int, rotary: AxialRotary, attention: str
    ) -> None:
        super().__init__()
        size, heads = config.embed_dim, config.num_attention_heads
        self.norm1 = layer_norm(size, _EPS)
        self.attn = Qwen2VLVisionAttention(
            size,
            heads,
            heads,
            config.head_dim,
            layer=layer,
            rotary=rotary,
            backend=attention,
            bias=True,
        )
        self.norm2 = layer_norm(size, _EPS)
        self.mlp = CLIPMLP(size, size * config.mlp_ratio, config.hidden_act)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = x + self.attn(self.norm1(x), context)
        return x + self.mlp(self.norm2(x))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield from after_norm("norm1", {"attn": self.attn})
        yield from after_norm("norm2", {"mlp": self.mlp})


class PatchMerger(nn.Module):
    """The states of a square of patches, side by side, through two linears."""

    def __init__(self, config: Qwen2VLVisionConfig) -> None:
        super().__init__()
        self.wide = config.embed_dim * config.spatial_merge_size**2
        self.ln_q = layer_norm(config.embed_dim, _EPS)
        self.mlp = nn.Sequential(
            linear(self.wide, self.wide, bias=True),
            nn.GELU(),
            linear(self.wide, config.hidden_size, bias=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, embed_dim], squares one after the other -> [features, hidden_size]"""
        return self.mlp(self.ln_q(x).reshape(-1, self.wide))


class Layout(NamedTuple):
    """Where patches stand.

    Args:
        positions (Tensor): int64 [frames or 1, 2, s], rows and columns.
        frames (Tensor): int64 [1, s], the number of each patch's frame, where all are one row.
    """

    positions: torch.Tensor
    frames: torch.Tensor | None


def rows_of(grid_thw: torch.Tensor) -> int:
    """How many frames are the rows of a batch: all, if they are of one size; else one row."""
    if not processor.can_read(grid_thw):
        return 1
    alike = bool((grid_thw[:, 1:] == grid_thw[:1, 1:]).all())
    return int(grid_thw[:, 0].sum()) if alike else 1


def layout_of(grid_thw: torch.Tensor, patches: int, merge: int) -> Layout:
    """Rows, columns and frames of patches, which come square by square.

    Args:
        grid_thw (Tensor): int [media, 3], frames, rows and columns of each.
        patches: how many there are, of all media.
        merge: side of a square.

    Raises:
        ModelError: a grid of another shape, one that squares do not fill, or another number of
            patches.
    """
    if grid_thw.ndim != 2 or grid_thw.shape[1] != 3 or len(grid_thw) == 0:
        raise ModelError(f"grid_thw has shape {tuple(grid_thw.shape)}, expected [media, 3]")
    if processor.can_read(grid_thw):
        _check_grid(grid_thw, patches, merge)
    grid = grid_thw.long()
    counts = grid.prod(1)
    at = torch.arange(patches, device=grid.device)
    which = torch.searchsorted(counts.cumsum(0), at, right=True).clamp(max=len(grid) - 1)
    at = at - (counts.cumsum(0) - counts)[which]
    _, high, wide = grid[which].unbind(1)
    square, corner = at % (high * wide) // merge**2, at % merge**2
    across = wide // merge
    row = square // across * merge + corner // merge
    column = square % across * merge + corner % merge
    places = torch.stack((row, column))
    rows = rows_of(grid_thw)
    if rows > 1 or (len(grid) == 1 and processor.can_read(grid_thw)):
        return Layout(places.unflatten(1, (rows, -1)).transpose(0, 1), None)
    earlier = grid[:, 0].cumsum(0) - grid[:, 0]
    return Layout(places[None], (earlier[which] + at // (high * wide))[None])


def _check_grid(grid: torch.Tensor, patches: int, merge: int) -> None:
    if bool((grid < 1).any()) or bool((grid[:, 1:] % merge != 0).any()):
        raise ModelError(
            f"grid_thw is {grid.tolist()}: rows and columns must be multiples of "
            f"spatial_merge_size ({merge})",
            where="grid_thw",
        )
    wanted = int(grid.prod(1).sum())
    if wanted != patches:
        raise ModelError(
            f"grid_thw says {wanted} patches, but there are {patches}",
            where="pixel_values",
            fix="prepare images with the model's own processor",
        )
