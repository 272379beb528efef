"""Makes the golden file of pipelines that transformers 5 no longer has.

    PYTHONPATH=. python tests/predict/golden/make.py models FOLDER     # tiny models, by tfcli
    python tests/predict/golden/make.py answers FOLDER                 # in transformers 4.46.3

The first line runs in this project's environment, the second in one of transformers==4.46.3 with
tokenizers==0.20.3, huggingface_hub==0.26.5 and torch. The models are made from a seed, so that the
tests make the same ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
CONTEXT = (
    "The lexical analyser reads a line of source text and gives a stream of tokens. "
    "An assignment binds a name to an object; the object may have many names. "
    "A class statement makes a class, and calling the class makes an instance."
)
QUESTIONS = ("What binds a name?", "Which statement makes a class?")
ASKED = [
    {},
    {"top_k": 3},
    {"max_answer_len": 2},
    {"handle_impossible_answer": True, "top_k": 2},
    {"align_to_words": False},
    {"max_seq_len": 40, "doc_stride": 8, "top_k": 4},
    {"max_seq_len": 40},
]


def models(folder: Path) -> None:
    from tests.predict.support import make_model, make_words

    words = make_words(folder / "words")
    make_model(
        folder / "question-answering", words, "question-answering", seed=3, initializer_range=1.0
    )


def answers(folder: Path) -> None:
    from transformers import pipeline

    ask = pipeline("question-answering", model=str(folder / "question-answering"))
    found = [
        [ask(question=question, context=CONTEXT, **options) for question in QUESTIONS]
        for options in ASKED
    ]
    (HERE / "question_answering.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    {"models": models, "answers": answers}[sys.argv[1]](Path(sys.argv[2]))
