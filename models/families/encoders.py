"""Encoders."""

from __future__ import annotations

from tfcli.models.families.heads import ENCODER_HEADS, family, only
from tfcli.models.family import Family

FAMILIES: tuple[Family, ...] = (
    family(
        "bert",
        "Bert",
        "encoder",
        {"masked-lm": "tfcli.models.text.bert:BertMaskedLM", **ENCODER_HEADS},
        config="bert:BertConfig",
        backbone="bert:BertModel",
        aliases={"BertForPreTraining": "masked-lm"},
        features=("learned positions", "segments"),
    ),
    *(
        family(
            model_type,
            stem,
            "encoder",
            {
                "masked-lm": "tfcli.models.text.roberta:RobertaMaskedLM",
                **ENCODER_HEADS,
                "sequence-classification": "tfcli.models.text.roberta:RobertaClassification",
            },
            config=f"roberta:{stem}Config",
            backbone="roberta:RobertaModel",
            features=("learned positions after the padding id", "segments"),
        )
        for model_type, stem in (
            ("roberta", "Roberta"),
            ("xlm-roberta", "XLMRoberta"),
            ("camembert", "Camembert"),
        )
    ),
    family(
        "distilbert",
        "DistilBert",
        "encoder",
        {
            "masked-lm": "tfcli.models.text.distilbert:DistilBertMaskedLM",
            **ENCODER_HEADS,
            "sequence-classification": "tfcli.models.text.distilbert:DistilBertClassification",
            "question-answering": "tfcli.models.text.distilbert:DistilBertQuestionAnswering",
            "multiple-choice": "tfcli.models.text.distilbert:DistilBertMultipleChoice",
        },
        config="distilbert:DistilBertConfig",
        backbone="distilbert:DistilBertModel",
        features=("learned or sinusoidal positions",),
    ),
    family(
        "albert",
        "Albert",
        "encoder",
        {"masked-lm": "tfcli.models.text.albert:AlbertMaskedLM", **ENCODER_HEADS},
        config="albert:AlbertConfig",
        backbone="albert:AlbertModel",
        aliases={"AlbertForPreTraining": "masked-lm"},
        features=("learned positions", "segments", "narrow embeddings", "shared layers"),
    ),
    family(
        "electra",
        "Electra",
        "encoder",
        {
            "masked-lm": "tfcli.models.text.electra:ElectraMaskedLM",
            **ENCODER_HEADS,
            "sequence-classification": "tfcli.models.text.electra:ElectraClassification",
            "multiple-choice": "tfcli.models.text.electra:ElectraMultipleChoice",
        },
        config="electra:ElectraConfig",
        backbone="electra:ElectraModel",
        # The discriminator has no head for words: what it is good for is its states.
        aliases={"ElectraForPreTraining": "embedding"},
        features=("learned positions", "segments", "narrow embeddings"),
    ),
    family(
        "layoutlm",
        "LayoutLM",
        "encoder",
        {
            "masked-lm": "tfcli.models.text.bert:BertMaskedLM",
            **only(
                ENCODER_HEADS,
                "sequence-classification",
                "token-classification",
                "question-answering",
                "embedding",
            ),
        },
        config="layoutlm:LayoutLMConfig",
        backbone="layoutlm:LayoutLMModel",
        features=("learned positions", "segments", "boxes on a page"),
    ),
    family(
        "tapas",
        "Tapas",
        "encoder",
        {
            "masked-lm": "tfcli.models.text.bert:BertMaskedLM",
            **only(ENCODER_HEADS, "sequence-classification", "embedding"),
        },
        config="tapas:TapasConfig",
        backbone="tapas:TapasModel",
        # The heads that select cells and aggregate them are not built.
        aliases={"TapasForQuestionAnswering": "embedding"},
        features=("learned positions in each cell", "columns and rows of a table"),
    ),
    family(
        "deberta-v2",
        "DebertaV2",
        "encoder",
        {
            "masked-lm": "tfcli.models.text.deberta_v2:DebertaMaskedLM",
            **ENCODER_HEADS,
            "sequence-classification": (
                "tfcli.models.text.deberta_v2:DebertaSequenceClassification"
            ),
            "multiple-choice": "tfcli.models.text.deberta_v2:DebertaMultipleChoice",
        },
        config="deberta_v2:DebertaV2Config",
        backbone="deberta_v2:DebertaV2Model",
        features=("disentangled attention", "position buckets", "convolution"),
    ),
    family(
        "convbert",
        "ConvBert",
        "encoder",
        {
            "masked-lm": "tfcli.models.text.electra:ElectraMaskedLM",
            **ENCODER_HEADS,
            "sequence-classification": "tfcli.models.text.convbert:ConvBertClassification",
            "multiple-choice": "tfcli.models.text.convbert:ConvBertMultipleChoice",
        },
        config="convbert:ConvBertConfig",
        backbone="convbert:ConvBertModel",
        features=("convolving heads", "grouped linears", "narrow embeddings", "segments"),
    ),
    family(
        "modernbert",
        "ModernBert",
        "encoder",
        {
            "masked-lm": "tfcli.models.text.modernbert:ModernBertMaskedLM",
            "sequence-classification": "tfcli.models.text.modernbert:ModernBertClassification",
            "token-classification": "tfcli.models.text.modernbert:ModernBertTokenClassification",
            "question-answering": "tfcli.models.text.modernbert:ModernBertQuestionAnswering",
            "multiple-choice": "tfcli.models.text.modernbert:ModernBertMultipleChoice",
            **only(ENCODER_HEADS, "embedding"),
        },
        config="modernbert:ModernBertConfig",
        backbone="modernbert:ModernBertModel",
        features=("rotary", "alternating windows on both sides", "gated mlp"),
    ),
)
