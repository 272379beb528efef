"""LayoutLM (Xu et al. 2019): BERT that knows where on the page each word stands.

Reference: transformers `modeling_layoutlm.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

import torch

from tfcli.models import processor
from tfcli.models.configs.bert import EncoderConfig
from tfcli.models.configs.layoutlm import LayoutLMConfig
from tfcli.models.context import Context
from tfcli.models.errors import ModelError
from tfcli.models.layers.embeddings import Embedding
from tfcli.models.text.bert import BertEmbeddings, BertModel


class LayoutLMEmbeddings(BertEmbeddings):
    """BERT's, and those of each word's box: its edges, its height and its width."""

    def __init__(self, config: LayoutLMConfig) -> None:
        super().__init__(config)
        rows, size = config.max_2d_position_embeddings, config.hidden_size
        self.x_position_embeddings = Embedding(rows, size)
        self.y_position_embeddings = Embedding(rows, size)
        self.h_position_embeddings = Embedding(rows, size)
        self.w_position_embeddings = Embedding(rows, size)

    def of_boxes(self, bbox: torch.Tensor) -> torch.Tensor:
        """The sum of a box's embeddings. bbox (Tensor): [b, s, 4] -> [b, s, d]"""
        left, top, right, bottom = bbox.unbind(-1)
        edges = (
            self.x_position_embeddings(left)
            + self.y_position_embeddings(top)
            + self.x_position_embeddings(right)
            + self.y_position_embeddings(bottom)
        )
        height, width = bottom - top, right - left
        return edges + self.h_position_embeddings(height) + self.w_position_embeddings(width)


class LayoutLMModel(BertModel):
    """Embeddings, blocks, and a pooler, which transformers makes for every task."""

    config: LayoutLMConfig

    prefix = "layoutlm"
    inputs = ("token_type_ids", "bbox")

    def __init__(self, config: EncoderConfig, attention: str) -> None:
        super().__init__(config, attention)
        super().add_pooler()

    def add_pooler(self) -> None:
        """It is there already."""

    def make_embeddings(self) -> BertEmbeddings:
        return LayoutLMEmbeddings(self.config)

    def placed(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Arguments and result as in `BertModel.placed`.

        The context may have `bbox` [b, s, 4]: left, top, right and bottom of each token's word on
        a page that is 1000 wide and high; 0 by default.
        """
        bbox: torch.Tensor | None = context.inputs.get("bbox")
        tables = self.embeddings
        assert isinstance(tables, LayoutLMEmbeddings)
        if bbox is None:
            bbox = torch.zeros(1, 1, 4, dtype=torch.long, device=x.device)
        else:
            check_boxes(bbox, x.shape[:2], tables.x_position_embeddings.num_embeddings)
        types, boxes = tables.of_types(context.inputs.get("token_type_ids")), tables.of_boxes(bbox)
        return tables(x, self.position_ids(context), types, boxes)


def check_boxes(bbox: torch.Tensor, shape: torch.Size, limit: int) -> None:
    """Refuse boxes that are none.

    Args:
        bbox (Tensor): left, top, right, bottom; expected [b, s, 4].
        shape: [b, s]
        limit: coordinates are below it.

    Raises:
        ModelError: another shape, a coordinate outside of 0..limit - 1, or edges in wrong order.
    """
    if bbox.shape != (*shape, 4):
        raise ModelError(
            f"bbox has shape {tuple(bbox.shape)}, expected {(*shape, 4)}",
            fix="give left, top, right and bottom for each token",
        )
    if bbox.numel() == 0 or not processor.can_read(bbox):
        return
    low, high = (int(value) for value in bbox.aminmax())
    if low < 0 or high >= limit:
        raise ModelError(
            f"a box has the coordinate {low if low < 0 else high}, outside of 0 to {limit - 1}",
            where="bbox",
            fix="scale boxes to a page of 1000 by 1000",
        )
    if bool((bbox[..., 2:] < bbox[..., :2]).any()):
        raise ModelError(
            "a box ends before it begins", where="bbox", fix="order as left, top, right, bottom"
        )
