"""Objectives by name."""

from __future__ import annotations

from collections.abc import Callable

from tfcli.train.objectives.causal_lm import CausalLM
from tfcli.train.objectives.contrastive import Contrastive
from tfcli.train.objectives.distillation import Distillation
from tfcli.train.objectives.glm import GLM
from tfcli.train.objectives.image_classification import ImageClassification
from tfcli.train.objectives.kto import KTO
from tfcli.train.objectives.masked_lm import MaskedLM
from tfcli.train.objectives.multiple_choice import MultipleChoice
from tfcli.train.objectives.objective import Objective
from tfcli.train.objectives.preference import Preference
from tfcli.train.objectives.question_answering import QuestionAnswering
from tfcli.train.objectives.reward import Reward
from tfcli.train.objectives.seq2seq import Seq2Seq
from tfcli.train.objectives.sequence_classification import SequenceClassification
from tfcli.train.objectives.spec import PREFERENCES
from tfcli.train.objectives.token_classification import TokenClassification
from tfcli.train.preferences import USUAL_BETA
from tfcli.train.spec import TrainSpec


def _preference(spec: TrainSpec) -> Objective:
    return Preference(spec.objective, spec.beta, spec.margin)


def _kto(spec: TrainSpec) -> Objective:
    return KTO(spec.kto, USUAL_BETA["kto"] if spec.beta is None else spec.beta, spec.batch_size)


OBJECTIVES: dict[str, Callable[[TrainSpec], Objective]] = {
    "causal-lm": lambda spec: CausalLM(spec.sequence_length),
    "contrastive": lambda spec: Contrastive(spec.temperature, spec.batch_size),
    "distillation": lambda spec: Distillation(spec.distillation, spec.sequence_length),
    **dict.fromkeys(PREFERENCES, _preference),
    "glm": lambda spec: GLM(spec.blanks),
    "image-classification": lambda spec: ImageClassification(spec.problem_type),
    "kto": _kto,
    "masked-lm": lambda spec: MaskedLM(spec.masking),
    "multiple-choice": lambda spec: MultipleChoice(),
    "question-answering": lambda spec: QuestionAnswering(),
    "reward": lambda spec: Reward(),
    "seq2seq": lambda spec: Seq2Seq(spec.label_smoothing),
    "sequence-classification": lambda spec: SequenceClassification(spec.problem_type),
    "token-classification": lambda spec: TokenClassification(),
}


def make_objective(spec: TrainSpec) -> Objective:
    """What a spec makes smaller."""
    return OBJECTIVES[spec.objective](spec)
