"""Results in the forms of others: lm-evaluation-harness's results, and Every Eval Ever's schema.

The first is what `lm_eval --output_path` writes (0.4), the second version 0.3.0 of eval.schema.json
(evalevalai.com). Both say what was measured and under which conditions; samples lie beside them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tfcli
from tfcli.evaluate.measure import Measure
from tfcli.evaluate.spec import EvalResult, Export, TaskResult
from tfcli.files import write_json

EEE_VERSION = "0.3.0"


def write_exports(
    names: Sequence[Export], result: EvalResult, configs: Mapping[str, Any], folder: Path
) -> None:
    """Write a file for each form.

    Args:
        configs: task -> what its file says; empty where a text was measured.
    """
    for name in names:
        write_json(folder / f"{name}.json", _FORMS[name](result, configs))


def tasks_of(result: EvalResult) -> list[TaskResult]:
    """The results of the tasks; a text that was measured is one."""
    if result.tasks:
        return result.tasks
    one = TaskResult(task=result.task, conditions=result.conditions, measures=result.measures)
    return [one]


def lm_eval_results(result: EvalResult, configs: Mapping[str, Any]) -> dict[str, Any]:
    """What lm-evaluation-harness writes: a mapping from tasks to `metric,filter` -> value."""
    tasks = tasks_of(result)
    return {
        "results": {task.task: _rows(task) for task in tasks},
        "group_subtasks": {task.task: [] for task in tasks},
        "configs": {task.task: configs.get(task.task, {}) for task in tasks},
        "versions": {task.task: task.conditions.task_version for task in tasks},
        "n-shot": {task.task: task.conditions.shots for task in tasks},
        "higher_is_better": {
            task.task: {
                each.name.partition(",")[0]: each.higher_is_better for each in task.measures
            }
            for task in tasks
        },
        "n-samples": {
            task.task: {"original": task.available, "effective": task.conditions.samples}
            for task in tasks
        },
        "config": {
            "model": "tfcli",
            "model_args": {"pretrained": result.model, "dtype": result.dtype},
            "model_dtype": result.dtype,
            "device": result.device,
            "fewshot_seed": result.conditions.shots_seed,
        },
        "model_source": "tfcli",
        "model_name": result.model,
        "chat_template_sha": result.conditions.template_sha256,
        "task_hashes": {task.task: task.conditions.data_sha256 for task in tasks},
        "total_evaluation_time_seconds": str(result.seconds),
        "date": time.time(),
    }


def every_eval_ever(result: EvalResult, configs: Mapping[str, Any]) -> dict[str, Any]:
    """What the schema asks for. Figures that no number of JSON holds are left out."""
    now = str(time.time())
    name = result.model.rstrip("/").rpartition("/")[2]
    return {
        "schema_version": EEE_VERSION,
        "evaluation_id": f"{result.task}/{name}/{now}",
        "retrieved_timestamp": now,
        "source_metadata": {
            "source_name": "tfcli eval",
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
        },
        "eval_library": {"name": "tfcli", "version": tfcli.__version__},
        "model_info": {
            "name": name,
            "id": result.model,
            "inference_engine": {"name": result.conditions.backend, "version": tfcli.__version__},
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "unknown",
                "dtype": result.dtype,
                **({"load_in": result.load_in} if result.load_in else {}),
            },
        },
        "evaluation_results": [
            _entry(task, measure, configs.get(task.task, {}))
            for task in tasks_of(result)
            for measure in task.measures
            if math.isfinite(measure.value)
        ],
    }


def _rows(task: TaskResult) -> dict[str, Any]:
    rows: dict[str, Any] = {"alias": task.task, "sample_len": task.conditions.samples}
    for measure in task.measures:
        metric, _, ending = measure.name.partition(",")
        error = "N/A" if measure.standard_error is None else measure.standard_error
        rows[f"{metric},{ending or 'none'}"] = measure.value
        rows[f"{metric}_stderr,{ending or 'none'}"] = error
    return rows


def _entry(task: TaskResult, measure: Measure, config: Mapping[str, Any]) -> dict[str, Any]:
    uncertainty: dict[str, Any] = {"num_samples": measure.n}
    if measure.standard_error is not None and math.isfinite(measure.standard_error):
        uncertainty["standard_error"] = {"value": measure.standard_error}
    if measure.interval is not None and all(map(math.isfinite, measure.interval)):
        low, high = measure.interval
        uncertainty["confidence_interval"] = {
            "lower": low,
            "upper": high,
            "confidence_level": 0.95,
        }
    # Of a continuous score the schema wants both ends.
    bounded = {"score_type": "continuous", "min_score": 0.0, "max_score": 1.0}
    conditions = task.conditions.model_dump(mode="json")
    return {
        "evaluation_name": task.task,
        "source_data": {
            "dataset_name": str(config.get("dataset_path") or task.task),
            "source_type": "other",
            "additional_details": {"sha256": task.conditions.data_sha256},
        },
        "metric_config": {
            "metric_id": measure.name,
            "metric_name": measure.name,
            **({"metric_unit": _UNITS.get(measure.unit, measure.unit)} if measure.unit else {}),
            "lower_is_better": measure.higher_is_better is False,
            **(bounded if measure.unit == "share" else {}),
        },
        "score_details": {
            "score": measure.value,
            "details": {key: str(value) for key, value in conditions.items() if value is not None},
            "uncertainty": uncertainty,
        },
    }


_UNITS = {"share": "proportion"}
"""Units by the words of the schema, where it has one."""
_FORMS: dict[str, Callable[[EvalResult, Mapping[str, Any]], dict[str, Any]]] = {
    "lm-eval": lm_eval_results,
    "every-eval-ever": every_eval_ever,
}
