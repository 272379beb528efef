"""Writing down what is said: logits for the next token of a transcript."""

from __future__ import annotations

from tfcli.models.heads.seq2seq_lm import Seq2SeqLM


class SpeechSeq2Seq(Seq2SeqLM):
    """`Seq2SeqLM` on an encoder that takes features of audio."""

    task = "speech-seq2seq"
