"""Train with TRL: training_trl.py lora|packed TEXT BASE STEPS

Runs in the environment that scripts/trl makes, without tfcli. TRL's own defaults, which cut the
loss into chunks; bf16 autocast, AdamW in one kernel, cosine, no checkpoints. Windows are given as
ids, so that both sides read the same; packed rows are put into bins by TRL's best fit.
"""

from __future__ import annotations

import sys
import tempfile
from time import perf_counter
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from training_shapes import CASES, WINDOW, middle_gap, read_rows, read_windows, report
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


def main() -> None:
    case, text, base, steps = sys.argv[1:]
    batch, times = CASES[case]["batch"], list[float]()

    class Clock(TrainerCallback):
        def on_step_end(self, *words: Any, **options: Any) -> None:
            times.append(perf_counter())

    tokenizer = AutoTokenizer.from_pretrained(base)
    if case == "lora":
        windows = read_windows(text, base)[: int(steps) * batch]
        data = Dataset.from_dict({"input_ids": windows.tolist()})
    else:
        data = Dataset.from_list(read_rows(text))
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            max_steps=int(steps),
            per_device_train_batch_size=batch,
            max_length=WINDOW,
            packing=case == "packed",
            completion_only_loss=False,
            learning_rate=2e-4,
            weight_decay=0.1,
            lr_scheduler_type="cosine",
            warmup_steps=10,
            gradient_checkpointing=False,
            bf16=True,
            use_cpu=True,
            optim="adamw_torch_fused",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
        )
        trainer = SFTTrainer(
            AutoModelForCausalLM.from_pretrained(base, dtype="float32"),
            args=arguments,
            train_dataset=data,
            processing_class=tokenizer,
            peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear")
            if case == "lora"
            else None,
            callbacks=[Clock()],
        )
        # What is read, without what rows are filled up with.
        lengths = [len(row["input_ids"]) for row in trainer.train_dataset]
        trainer.train()
    report(batch * sum(lengths) / len(lengths) / middle_gap(times))


main()
