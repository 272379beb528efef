"""The metrics as a module of Hugging Face's `evaluate`, which needs no network for it:

    import evaluate
    from tfcli.metrics import module

    evaluate.load(module.__file__, "f1").compute(predictions=[0, 1], references=[0, 1])

`evaluate` imports transformers where that is installed, which takes many seconds; so a training
calls `compute` itself, and the values are the same.
"""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from tfcli.metrics.compute import compute
from tfcli.metrics.spec import METRICS

_NUMBER, _TEXT = datasets.Value("float64"), datasets.Value("string")
_FEATURES: dict[str, tuple[Any, Any]] = {
    "labels": (datasets.Value("int64"), datasets.Value("int64")),
    "numbers": (_NUMBER, _NUMBER),
    "tags": (datasets.Sequence(_TEXT), datasets.Sequence(_TEXT)),
    "answers": (_TEXT, datasets.Sequence(_TEXT)),
    "texts": (_TEXT, _TEXT),
    "retrieval": (datasets.Sequence(_NUMBER), datasets.Sequence(_NUMBER)),
    "pairs": (_NUMBER, _NUMBER),
    "judgements": (_NUMBER, datasets.Value("bool")),
}


class TfcliMetric(evaluate.Metric):
    """One of `METRICS`, by its name as the configuration."""

    def _info(self) -> evaluate.MetricInfo:
        metric = METRICS.get(self.config_name)
        if metric is None:
            raise ValueError(f"no metric {self.config_name!r}; known: {', '.join(METRICS)}")
        predictions, references = _FEATURES[metric.kind]
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description=f"predictions and references, see tfcli.metrics.{metric.kind}",
            features=datasets.Features({"predictions": predictions, "references": references}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return dict(compute([self.config_name], predictions, references))
