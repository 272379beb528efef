"""Train some steps: training.py CASE tfcli|plain|trainer|base TEXT TOKENIZER STEPS [compile]

All sides: the same text and tokenizer, windows of 256 tokens, AdamW (fused where torch has it),
warm-up and cosine, clipping at 1, bf16 autocast, no validation and no checkpoints. The figure is
the median over the steps, so the first slow ones do not count. `base` writes the folder that `lora`
and `packed` start from, which is TOKENIZER then.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from training_shapes import CASES, WINDOW, middle_gap, new_model, read_rows, read_windows, report


def tfcli_side(case: str, text: str, tokenizer: str, steps: int, compiled: bool) -> float:
    """tokens/s of `tfcli train`, as its metrics say."""
    from tfcli.console import Console
    from tfcli.recipe.execute import execute
    from tfcli.train.log import METRICS, read_metrics
    from tfcli.train.spec import TrainSpec

    chosen = CASES[case]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        values: dict[str, Any] = {
            "output": str(out),
            "data": text,
            "sequence_length": WINDOW,
            "batch_size": chosen["batch"],
            "max_steps": steps,
            "schedule": {"name": "cosine", "warmup_steps": 10},
            "precision": "bf16",
            "checkpoint_every": 0,
            "compile": compiled,
        }
        if case in ("lora", "packed"):
            values["model"] = tokenizer
        else:
            config = {"model_type": "llama", "vocab_size": chosen["vocab_size"], **chosen["config"]}
            values |= {"config": config, "tokenizer": tokenizer}
        if case == "lora":
            values["adapter"] = {"type": "lora", "rank": 8, "alpha": 16}
        if case == "packed":
            rows = Path(folder) / "rows.jsonl"
            rows.write_text("".join(json.dumps(row) + "\n" for row in read_rows(text)))
            values["data"] = str(rows)
            values["rows"] = {"train_on": "all", "packing": True, "truncate": "cut"}
        result = execute(TrainSpec.model_validate(values), Console.silent()).result
        lines = read_metrics(out / METRICS)
        assert len(lines) == steps
        return result.tokens_per_second  # type: ignore[attr-defined]


def plain_side(case: str, text: str, tokenizer: str, steps: int, compiled: bool) -> float:
    """A loop as one would write it: transformers' model, torch's optimizer."""
    from transformers import get_cosine_schedule_with_warmup

    windows, model, batch = read_windows(text, tokenizer), new_model(case).train(), _batch(case)
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1, fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, 10, steps)
    times = []
    for _ in range(steps):
        ids = windows[torch.randint(len(windows), (batch,))]
        with torch.autocast("cpu", torch.bfloat16):
            loss = forward(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        loss.item()
        times.append(perf_counter())
    return batch * WINDOW / middle_gap(times)


def trainer_side(case: str, text: str, tokenizer: str, steps: int, compiled: bool) -> float:
    """transformers' Trainer with the same options."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *words: Any, **options: Any) -> None:
            times.append(perf_counter())

    windows, batch = read_windows(text, tokenizer), _batch(case)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=batch,
            learning_rate=2e-3,
            weight_decay=0.1,
            lr_scheduler_type="cosine",
            warmup_steps=10,
            max_grad_norm=1.0,
            bf16=True,
            use_cpu=True,
            torch_compile=compiled,
            optim="adamw_torch_fused",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
        )
        data = [{"input_ids": row, "labels": row} for row in windows]
        trainer = Trainer(new_model(case), arguments, train_dataset=data, callbacks=[Clock()])
        trainer.train()
    return batch * WINDOW / middle_gap(times)


def write_base(case: str, tokenizer: str, folder: str) -> None:
    """The model of a case with its tokenizer, as a folder."""
    new_model(case).save_pretrained(folder)
    for path in Path(tokenizer).glob("tokenizer*"):
        shutil.copy(path, folder)


def _batch(case: str) -> int:
    batch: int = CASES[case]["batch"]
    return batch


def main() -> None:
    case, name, text, tokenizer, steps, *compiled = sys.argv[1:]
    if name == "base":  # TEXT is the tokenizer's folder here, and TOKENIZER the one to write
        write_base(case, text, tokenizer)
        sys.stdout.write("{}\n")
        return
    side = {"tfcli": tfcli_side, "plain": plain_side, "trainer": trainer_side}[name]
    report(side(case, text, tokenizer, int(steps), bool(compiled)))


main()
