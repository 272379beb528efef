"""Train the quickstart's model for some steps: training.py tfcli|plain|trainer TEXT TOKENIZER STEPS

All sides: the same text and tokenizer, windows of 256 tokens, batch 8, AdamW (fused where torch
has it), warm-up and cosine, clipping at 1, bf16 autocast, no validation and no checkpoints. The
figure is the median over the steps, so the first slow ones do not count.
"""

from __future__ import annotations

import json
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from tfcli.benchmark.memory import peak_memory

WINDOW, BATCH = 256, 8
CONFIG: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}


def tfcli_side(text: str, tokenizer: str, steps: int) -> float:
    """tokens/s of `tfcli train`, as its result says."""
    from tfcli.console import Console
    from tfcli.recipe.execute import execute
    from tfcli.train.spec import TrainSpec

    with tempfile.TemporaryDirectory() as folder:
        spec = TrainSpec.model_validate(
            {
                "output": str(Path(folder) / "out"),
                "config": {"model_type": "llama", **CONFIG},
                "tokenizer": tokenizer,
                "data": text,
                "sequence_length": WINDOW,
                "batch_size": BATCH,
                "max_steps": steps,
                "schedule": {"name": "cosine", "warmup_steps": 10},
                "precision": "bf16",
                "checkpoint_every": 0,
            }
        )
        return execute(spec, Console.silent()).result.tokens_per_second  # type: ignore[attr-defined]


def read_windows(text: str, tokenizer: str) -> torch.Tensor:
    """The text as token ids: [n, 256]"""
    from transformers import AutoTokenizer

    lines = Path(text).read_text(encoding="utf-8").splitlines()
    encode = AutoTokenizer.from_pretrained(tokenizer)
    ids = [id for line in lines for id in encode(json.loads(line)["text"])["input_ids"]]
    return torch.tensor(ids[: len(ids) // WINDOW * WINDOW]).view(-1, WINDOW)


def new_model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=4096, **CONFIG))


def plain_side(text: str, tokenizer: str, steps: int) -> float:
    """A loop as one would write it: transformers' model, torch's optimizer."""
    from transformers import get_cosine_schedule_with_warmup

    windows, model = read_windows(text, tokenizer), new_model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1, fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, 10, steps)
    times = []
    for _ in range(steps):
        began = perf_counter()
        batch = windows[torch.randint(len(windows), (BATCH,))]
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        loss.item()
        times.append(perf_counter() - began)
    return BATCH * WINDOW / median(times)


def trainer_side(text: str, tokenizer: str, steps: int) -> float:
    """transformers' Trainer with the same options."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *words: Any, **options: Any) -> None:
            times.append(perf_counter())

    windows = read_windows(text, tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=2e-3,
            weight_decay=0.1,
            lr_scheduler_type="cosine",
            warmup_steps=10,
            max_grad_norm=1.0,
            bf16=True,
            use_cpu=True,
            optim="adamw_torch_fused",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
        )
        data = [{"input_ids": row, "labels": row} for row in windows]
        trainer = Trainer(new_model(), arguments, train_dataset=data, callbacks=[Clock()])
        trainer.train()
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return BATCH * WINDOW / median(gaps)


def main() -> None:
    name, text, tokenizer, steps = sys.argv[1:]
    side = {"tfcli": tfcli_side, "plain": plain_side, "trainer": trainer_side}[name]
    rate = side(text, tokenizer, int(steps))
    print(json.dumps({"tokens_per_second": rate, "peak_memory_bytes": peak_memory()}))


main()
