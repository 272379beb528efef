"""Models that hear."""

from __future__ import annotations

from tfcli.models.families.entry import HEADS, family

AUDIO = (
    family(
        "whisper",
        "Whisper",
        "audio",
        {
            "speech-seq2seq": f"{HEADS}.speech_seq2seq:SpeechSeq2Seq",
            "audio-classification": f"{HEADS}.audio_classification:WhisperClassification",
        },
        "windows of 30 seconds",
        "convolutions over spectrograms",
        "SpecAugment",
        aliases={"WhisperModel": "speech-seq2seq"},
    ),
    family(
        "wav2vec2",
        "Wav2Vec2",
        "audio",
        {
            "ctc": f"{HEADS}.ctc:CTC",
            "audio-classification": f"{HEADS}.audio_classification:AudioClassification",
            "embedding": f"{HEADS}.embedding:Embedding",
        },
        "convolutions over waves",
        "convolved positions",
        "SpecAugment",
        names={"audio-classification": "Wav2Vec2ForSequenceClassification"},
        # The quantizer and its loss are not built.
        aliases={"Wav2Vec2ForPreTraining": "embedding"},
    ),
)
