"""Learn what another model thinks of each next token (Hinton et al. 2015)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tfcli.checkpoints.folder import open_model
from tfcli.errors import UsageError
from tfcli.models.losses import IGNORED
from tfcli.tokenizers.load import load_tokenizer
from tfcli.train.batch import Batch
from tfcli.train.objectives.causal_lm import CausalLM
from tfcli.train.objectives.objective import (
    Examples,
    Forward,
    Frozen,
    Material,
    with_backbones_part,
)
from tfcli.train.objectives.spec import DistillationSection


class Distillation(CausalLM):
    """Examples are those of `CausalLM`. The loss of a target is `share` of how far the model is
    from its teacher (the KL divergence of their predictions at a temperature, times its square, so
    that gradients keep their size), and for the rest the cross entropy of the text.

    Args:
        section: names the teacher, and says what the two parts are.
        length: what rows are filled up to; None for the longest of a batch.
    """

    def __init__(self, section: DistillationSection, length: int | None = None) -> None:
        super().__init__(length)
        self.section = section
        self.teacher: Forward | None = None

    def feed(self, material: Material) -> Examples:
        """Windows of the texts, which both models can read.

        Raises:
            UsageError: a teacher with another tokenizer, or for shorter texts.
        """
        self._check_teacher(material)
        return super().feed(material)

    def begin(self, frozen: Frozen) -> None:
        """Load the teacher."""
        self.teacher = frozen(self.section.teacher)

    def loss(self, model: Forward, batch: Batch) -> Tensor:
        """The sum of the targets' losses."""
        inputs = {name: tensor for name, tensor in batch.items() if name != self.targets}
        counted = batch[self.targets] != IGNORED
        output = model(**inputs)
        assert self.teacher is not None, "it was loaded before the first step"
        with torch.no_grad():
            wanted = _logits(self.teacher(**inputs).logits, counted)
        logits = _logits(output.logits, counted)
        summed = F.cross_entropy(logits, batch[self.targets][counted], reduction="sum")
        # Models may have rows for more tokens than the tokenizer that they share.
        known = min(logits.shape[-1], wanted.shape[-1])
        temperature, share = self.section.temperature, self.section.share
        apart = F.kl_div(
            (logits[:, :known] / temperature).log_softmax(-1),
            (wanted[:, :known] / temperature).log_softmax(-1),
            reduction="sum",
            log_target=True,
        )
        mixed = share * temperature**2 * apart + (1 - share) * summed
        return with_backbones_part(mixed, output, self.count(batch))

    def _check_teacher(self, material: Material) -> None:
        assert self.section.teacher is not None, "the spec asks for one"
        teacher = open_model(self.section.teacher)
        if load_tokenizer(teacher.beside).fingerprint != material.tokenizer.fingerprint:
            raise UsageError(
                "the teacher has another tokenizer, so that their predictions cannot be compared",
                where="distillation.teacher",
                fix="train with the teacher's: leave out tokenizer, or name the teacher there",
            )
        longest, asked = teacher.model_config.text.longest_input, material.spec.sequence_length
        if asked > longest:
            raise UsageError(
                f"sequence_length is {asked}, and the teacher has {longest} positions",
                where="sequence_length",
                fix=f"at most {longest}",
            )


def _logits(logits: Tensor | None, counted: Tensor) -> Tensor:
    """Those of the places that count, [n, vocab] float32."""
    assert logits is not None, "its head has them"
    return logits[counted].float()
