"""All classes of FlagAI's interface, by their names."""

from tfcli.flagai.base_model import BaseModel
from tfcli.flagai.bert_model import (
    BertForClsClassifier,
    BertForEmbedding,
    BertForMaskLM,
    BertForSeq2seq,
    BertForSequenceLabeling,
    BertModel,
)
from tfcli.flagai.glm_cloze import GLMForMultiTokenCloze, GLMForSingleTokenCloze
from tfcli.flagai.glm_model import GLMForSeq2Seq, GLMForSequenceClassification, GLMModel
from tfcli.flagai.gpt2_model import GPT2Model
from tfcli.flagai.t5_model import T5Model

__all__ = [
    "BaseModel",
    "BertForClsClassifier",
    "BertForEmbedding",
    "BertForMaskLM",
    "BertForSeq2seq",
    "BertForSequenceLabeling",
    "BertModel",
    "GLMForMultiTokenCloze",
    "GLMForSeq2Seq",
    "GLMForSequenceClassification",
    "GLMForSingleTokenCloze",
    "GLMModel",
    "GPT2Model",
    "T5Model",
]
