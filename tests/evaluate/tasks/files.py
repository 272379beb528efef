"""Small tasks on local files, as lm-evaluation-harness reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import SENTENCES

QUESTIONS = [
    {
        "question": f"{words[n]} {words[n + 1]} {n}?",
        "choices": words[n : n + 3],
        "label": n % 3,
        "answer": words[n],
        "passage": n,
    }
    for n in range(4)
    for words in (sentence.split() for sentence in SENTENCES)
]
TEXTS = [{"text": " ".join(SENTENCES[n : n + 2])} for n in range(3)]
CHOICE = {
    "task": "choose",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "questions.jsonl", "train": "questions.jsonl"}},
    "output_type": "multiple_choice",
    "training_split": "train",
    "fewshot_split": "train",
    "test_split": "test",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "label",
    "doc_to_choice": "choices",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True}
        for name in ("acc", "acc_norm", "acc_bytes", "exact_match")
    ],
    "metadata": {"version": 1.0},
}
CONTINUE = {
    **CHOICE,
    "task": "continue",
    "output_type": "loglikelihood",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{' ' + answer}}",
    "doc_to_choice": None,
    "metric_list": [
        {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
    ],
}
WRITE = {
    **CHOICE,
    "task": "write",
    "output_type": "generate_until",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "doc_to_choice": None,
    "generation_kwargs": {"until": ["\n", "."], "max_gen_toks": 12, "do_sample": False},
    "metric_list": [
        {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True},
        {"metric": "chrf", "aggregation": "chrf", "higher_is_better": True},
    ],
}
ROLL = {
    "task": "roll",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "texts.jsonl"}},
    "output_type": "loglikelihood_rolling",
    "test_split": "test",
    "doc_to_text": "",
    "doc_to_target": "{{text}}",
    "metric_list": [
        {"metric": "word_perplexity", "aggregation": "weighted_perplexity"},
        {"metric": "byte_perplexity", "aggregation": "weighted_perplexity"},
        {"metric": "bits_per_byte", "aggregation": "bits_per_byte"},
    ],
    "metadata": {"version": 1.0},
}
for _entry in ROLL["metric_list"]:
    _entry["higher_is_better"] = False


def write_rows(folder: Path) -> None:
    """The rows that the tasks read."""
    for name, rows in (("questions", QUESTIONS), ("texts", TEXTS)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)


def write_task(folder: Path, task: dict[str, Any], **changes: Any) -> Path:
    """A task's file, with its rows beside it."""
    write_rows(folder)
    values = {key: value for key, value in {**task, **changes}.items() if value is not None}
    path = folder / f"{values['task']}.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path
