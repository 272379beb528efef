"""lm-evaluation-harness asks, and a model of ours answers.

The harness is imported here alone, and only when it is asked for: it brings transformers along, and
the code of its tasks runs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from tfcli.devices import dtype_name
from tfcli.errors import UsageError, WorkError, nearest
from tfcli.evaluate.answers import LanguageModel, Pair
from tfcli.evaluate.by_tasks import all_measures, together_of
from tfcli.evaluate.conditions import Conditions
from tfcli.evaluate.decode import TextRequest
from tfcli.evaluate.exports import write_exports
from tfcli.evaluate.measure import Measure
from tfcli.evaluate.opened import Opened
from tfcli.evaluate.samples import Sample, write_samples
from tfcli.evaluate.spec import EvalResult, EvalSpec, TaskResult
from tfcli.evaluate.uncertainty import interval_of
from tfcli.evaluate.windows import Plan
from tfcli.recipe.job import Job


def run_harness(spec: EvalSpec, job: Job) -> EvalResult:
    """Measure a model on tasks of the harness.

    Raises:
        UsageError: the harness is not installed, has no such task, or is to be shared by several
            processes.
        WorkError: what the harness or a task of it fails with.
    """
    if find_spec("lm_eval") is None:
        raise UsageError(
            "lm-evaluation-harness is not installed",
            where="harness",
            fix="pip install 'tfcli[harness]'",
        )
    opened = Opened.of(spec, job)
    if opened.processes.count > 1:
        raise UsageError("the harness asks one process", where="harness", fix="start one")
    chat, template = opened.chat() if spec.chat else (None, None)
    language_model, plan = opened.load(job)
    began = perf_counter()
    found = _evaluate(spec, language_model, plan, chat)
    seconds = perf_counter() - began
    dtype = dtype_name(language_model.model.dtype)
    results = [
        TaskResult(
            task=name,
            conditions=_conditions(name, found, opened, template, language_model.room, plan, dtype),
            measures=_measures(rows, found["higher_is_better"].get(name, {})),
            available=found["n-samples"][name]["original"],
        )
        for name, rows in found["results"].items()
        if name in found["n-samples"]
    ]
    together = together_of(spec, results)
    result = EvalResult(
        task=together.task,
        model=spec.model,
        conditions=together,
        measures=all_measures(results),
        tasks=results,
        samples=together.samples,
        bos=spec.bos,
        bos_tokens=len(opened.prefix),
        load_in=spec.load_in,
        dtype=dtype,
        device=opened.processes.device.type,
        data_sha256=together.data_sha256,
        tokenizer_sha256=opened.tokenizer.fingerprint,
        seconds=seconds,
    )
    if job.folder is not None:
        write_samples(_samples(found["samples"]), job.folder)
        configs = json.loads(json.dumps(found["configs"], default=str))
        write_exports(spec.export, result, configs, job.folder)
    return result


def _evaluate(spec: EvalSpec, model: LanguageModel, plan: Plan, chat: Any) -> dict[str, Any]:
    # Its processes for bootstraps would take tfcli's handling of signals along.
    os.environ.setdefault("LMEVAL_DISABLE_MULTIPROC", "1")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    assert spec.harness is not None, "a task of the harness is asked for"
    names = [name.strip() for name in spec.harness.split(",")]
    manager = TaskManager()
    known = set(manager.all_tasks)
    unknown = [name for name in names if name not in known]
    if unknown:
        guess = nearest(unknown[0], known)
        raise UsageError(
            f"the harness has no task {unknown[0]!r}",
            where="harness",
            fix=f"did you mean {guess!r}?" if guess else "lm_eval ls tasks",
        )
    found = simple_evaluate(
        model=_answering(model, plan, chat),
        tasks=names,
        num_fewshot=spec.shots,
        limit=spec.limit,
        fewshot_random_seed=spec.seed,
        apply_chat_template=chat is not None,
        task_manager=manager,
        log_samples=True,
    )
    if found is None:
        raise WorkError("the harness gave no results", where="harness")
    return dict(found)


def _answering(model: LanguageModel, plan: Plan, chat: Any) -> Any:
    """The model as the harness knows models."""
    from lm_eval.api.model import LM

    class Answering(LM):
        """Three calls, each with requests whose `args` say what is asked."""

        tokenizer_name = model.tokenizer.fingerprint

        def loglikelihood(self, requests: Any, **more: Any) -> list[tuple[float, bool]]:
            pairs = [Pair(*request.args) for request in requests]
            return [(each.total, each.greedy) for each in model.loglikelihood(pairs)]

        def loglikelihood_rolling(self, requests: Any, **more: Any) -> list[float]:
            texts = [request.args[0] for request in requests]
            return [each.total for each in model.rolling(texts, plan)]

        def generate_until(self, requests: Any, **more: Any) -> list[str]:
            prompts = [request.args[0] for request in requests]
            given = [TextRequest.of(request.args[1], ()) for request in requests]
            how = [replace(each, seed=number) for number, each in enumerate(given)]
            return model.generate_until(prompts, how)

        def chat_template(self, chat_template: Any = False) -> str:
            return ""

        def apply_chat_template(self, chat_history: Any, add_generation_prompt: bool = True) -> str:
            assert chat is not None, "asked for beside --chat alone"
            return str(chat([dict(message) for message in chat_history]))

    return Answering()


def _measures(rows: Mapping[str, Any], higher: Mapping[str, Any]) -> list[Measure]:
    """The harness's figures with its standard errors."""
    found = []
    for key, value in rows.items():
        metric, comma, ending = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = rows.get(f"{metric}_stderr,{ending}")
        error = float(error) if isinstance(error, int | float) else None
        found.append(
            Measure(
                name=metric if ending == "none" else key,
                value=float(value),
                unit="",
                higher_is_better=higher.get(metric),
                n=int(rows["sample_len"]),
                standard_error=error,
                interval=interval_of(float(value), error),
            )
        )
    return found


def _conditions(
    name: str,
    found: Mapping[str, Any],
    opened: Opened,
    template: str | None,
    room: int,
    plan: Plan,
    dtype: str,
) -> Conditions:
    config = json.dumps(found["configs"].get(name, {}), sort_keys=True, default=str)
    docs = [[row["doc_hash"], row["target_hash"]] for row in found["samples"].get(name, [])]
    shots = int(found["n-shot"].get(name, 0))
    rolls = found["configs"].get(name, {}).get("output_type") == "loglikelihood_rolling"
    cuts = rolls or opened.spec.overlong == "cut"
    stated = found["versions"].get(name)
    return Conditions(
        task=name,
        task_version=None if stated is None else str(stated),
        task_sha256=hashlib.sha256(config.encode()).hexdigest(),
        data_sha256=hashlib.sha256(json.dumps(docs).encode()).hexdigest(),
        samples=int(found["n-samples"][name]["effective"]),
        tokenizer_sha256=opened.tokenizer.fingerprint,
        template_sha256=template,
        bos=opened.spec.bos,
        bos_tokens=len(opened.prefix),
        shots=shots,
        shots_seed=opened.spec.seed if shots else None,
        window=(plan.window if rolls else room) if cuts else None,
        stride=plan.step if rolls else None,
        dtype=dtype,
        backend=f"tfcli, asked by lm_eval {version('lm_eval')}",
    )


def _samples(found: Mapping[str, Any]) -> list[Sample]:
    return [
        Sample(
            id=f"{row['doc_id']}" + ("" if row["filter"] == "none" else f",{row['filter']}"),
            task=name,
            cluster=None,
            scores={
                metric: float(row[metric])
                for metric in row["metrics"]
                if isinstance(row.get(metric), int | float)
            },
            prompt=str(next(iter(row["arguments"].values()))["arg_0"])
            if isinstance(row["arguments"], dict)
            else str(row["arguments"][0][0]),
            target=str(row["target"]),
            answer=json.loads(json.dumps(row["filtered_resps"], default=str)),
        )
        for name, rows in found.items()
        for row in rows
    ]
