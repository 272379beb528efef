"""Encoder-decoders."""

from __future__ import annotations

from tfcli.models.families.heads import NOT_FP16, family
from tfcli.models.family import Family

_PLAIN = "tfcli.models.heads.seq2seq_plain"
_LM = {"seq2seq-lm": "tfcli.models.heads.seq2seq_lm:Seq2SeqLM"}
_EMBEDDING = {"embedding": f"{_PLAIN}:Seq2SeqEmbedding"}
_ANSWERS = {"question-answering": f"{_PLAIN}:Seq2SeqQuestionAnswering"}
_BART = {
    **_LM,
    "sequence-classification": f"{_PLAIN}:Seq2SeqClassification",
    **_ANSWERS,
    **_EMBEDDING,
}
_T5 = {
    "seq2seq-lm": "tfcli.models.text.t5:T5ForConditionalGeneration",
    "sequence-classification": "tfcli.models.text.t5:T5ForSequenceClassification",
    "token-classification": "tfcli.models.text.t5:T5ForTokenClassification",
    **_ANSWERS,
    "embedding": "tfcli.models.text.t5:T5EncoderModel",
}
FAMILIES: tuple[Family, ...] = (
    family(
        "t5",
        "T5",
        "encoder-decoder",
        _T5,
        config="t5:T5Config",
        backbone="t5:T5Model",
        names={"embedding": "T5EncoderModel"},
        aliases={"T5Model": "seq2seq-lm", "T5WithLMHeadModel": "seq2seq-lm"},
        features=("relative position bias", "plain and gated mlps"),
        keep_fp32={r"\.wo\.weight$": NOT_FP16},
    ),
    family(
        "mt5",
        "MT5",
        "encoder-decoder",
        _T5,
        config="t5:MT5Config",
        backbone="t5:T5Model",
        names={"embedding": "MT5EncoderModel"},
        aliases={"MT5Model": "seq2seq-lm"},
        features=("relative position bias", "plain and gated mlps"),
        keep_fp32={r"\.wo\.weight$": NOT_FP16},
    ),
    family(
        "bart",
        "Bart",
        "encoder-decoder",
        _BART,
        config="bart:BartConfig",
        backbone="bart:BartModel",
        features=("learned positions",),
    ),
    family(
        "mbart",
        "MBart",
        "encoder-decoder",
        _BART,
        config="mbart:MBartConfig",
        backbone="mbart:MBartModel",
        features=("learned positions", "targets begin with their language"),
    ),
    family(
        "pegasus",
        "Pegasus",
        "encoder-decoder",
        _LM | _EMBEDDING,
        config="pegasus:PegasusConfig",
        backbone="pegasus:PegasusModel",
        features=("sinusoidal positions",),
    ),
    family(
        "marian",
        "Marian",
        "encoder-decoder",
        _LM | _EMBEDDING,
        config="marian:MarianConfig",
        backbone="marian:MarianModel",
        names={"seq2seq-lm": "MarianMTModel"},
        features=("sinusoidal positions", "one vocabulary or two"),
    ),
    family(
        "m2m_100",
        "M2M100",
        "encoder-decoder",
        _LM | _EMBEDDING,
        config="m2m_100:M2M100Config",
        backbone="m2m_100:M2M100Model",
        features=("sinusoidal positions",),
    ),
    family(
        "blenderbot",
        "Blenderbot",
        "encoder-decoder",
        _LM | _EMBEDDING,
        config="blenderbot:BlenderbotConfig",
        backbone="blenderbot:BlenderbotModel",
        features=("learned positions",),
    ),
)
