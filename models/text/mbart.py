"""mBART (Liu et al. 2020): BART with the norms first, and a target that begins with its language.

Reference: transformers `modeling_mbart.py`.
"""

from __future__ import annotations

import torch

from tfcli.models.configs.mbart import MBartConfig
from tfcli.models.text.bart import BartModel


class MBartModel(BartModel):
    """See the file's head."""

    config: MBartConfig

    norm_first = True

    def start_ids(self, ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """The last token of each row, which names the language, moves to the front.

        As in fairseq, the last token is found by counting: without a mask, rows are expected to be
        padded on the right.
        """
        padding = self.config.pad_token_id
        assert padding is not None  # `shifted` refuses it
        end = torch.ne(ids, padding).sum(-1, keepdim=True)
        if attention_mask is not None:
            real = attention_mask.long()
            end = real.argmax(-1, keepdim=True) + real.sum(-1, keepdim=True)
        return ids.gather(1, (end - 1).clamp(min=0))[:, 0]
