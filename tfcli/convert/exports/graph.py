"""From a model to a graph with named inputs and outputs, for batches and texts of any length."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from tfcli.convert.exports.inputs import Inputs, Shape, batch, dimensions
from tfcli.errors import Problem, WorkError
from tfcli.models.model import Model

# What is traced. No two of its sizes are equal, and none is 1: torch would take equal ones for the
# same dimension, and 1 for a dimension that has always that size.
TRACED = Shape(rows=3, length=11, left=1, right=2)


class Graph(nn.Module):
    """A model as a function of named tensors.

    Args:
        model: in eval mode.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        decoder_input_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        bbox: Tensor | None = None,
        prefix_lengths: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The task's answer; inputs and outputs have the names that optimum gives them."""
        # Named one by one: torch.export has no sizes for arguments behind two stars.
        given = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "decoder_input_ids": decoder_input_ids,
            "token_type_ids": token_type_ids,
            "bbox": bbox,
            "prefix_lengths": prefix_lengths,
        }
        inputs = {name: value for name, value in given.items() if value is not None}
        task = self.model.task
        output = self.model(**inputs, output_hidden_states=task == "embedding")
        found: tuple[Tensor, ...] = (output.logits,)
        if task == "embedding":
            found = output.hidden_states[-1:]  # to be pooled as whoever trained it did
        elif task == "question-answering":
            found = output.logits.unbind(-1)
        return dict(zip(output_names(task), found, strict=True))


def output_names(task: str) -> list[str]:
    """The outputs of a task's graph, in order."""
    if task == "embedding":
        return ["last_hidden_state"]
    return ["start_logits", "end_logits"] if task == "question-answering" else ["logits"]


@torch.no_grad()
def answers(graph: Graph, inputs: Inputs) -> dict[str, Tensor]:
    """What the model itself answers.

    Raises:
        WorkError: numbers that are not finite.
    """
    outputs: dict[str, Tensor] = graph(**inputs)
    for name, value in outputs.items():
        if not bool(value.isfinite().all()):
            raise WorkError(
                f"the model's {name} are not finite (NaN or infinity)",
                fix="the weights are damaged, or --dtype fp16 cannot hold what they compute",
            )
    return outputs


@torch.no_grad()
def trace(graph: Graph, *, rows: int | None = None, longest: int | None = None) -> ExportedProgram:
    """Record the graph.

    Args:
        graph: of the model.
        rows: the size of every batch; None takes any.
        longest: tokens that a text may have; None: as many as the model takes.

    What torch raises says what in the model depends on values in a way that no graph can hold.
    """
    model = graph.model
    shape = TRACED if rows is None else Shape(rows, TRACED.length, right=2)
    inputs = batch(model, shape, seed=0)
    # Any size; what the model itself refuses (more positions than it has) is found out.
    length = Dim.DYNAMIC if longest is None else Dim.DYNAMIC(max=longest)
    sizes = {
        name: {at: length if dim.endswith("length") else Dim.DYNAMIC for at, dim in dims.items()}
        for name, dims in dimensions(model, rows).items()
    }
    answers(graph, inputs)  # fills what the model keeps from one pass to the next
    program = torch.export.export(graph, (), kwargs=inputs, dynamic_shapes=sizes, strict=False)
    for part in program.graph_module.modules():
        if isinstance(part, GraphModule):
            for node in part.graph.nodes:  # which remember lines of code by paths of this machine
                node.meta.pop("stack_trace", None)
    return program


@contextmanager
def refusals(subject: str, title: str) -> Iterator[None]:
    """Exporters in silence; what they cannot do is an error with their first line.

    Args:
        subject: what is exported.
        title: the format's name.

    Raises:
        WorkError: anything that they raise, but for a full disk or memory.
    """
    silenced = logging.root.manager.disable
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            yield
    except (Problem, MemoryError, OSError):
        raise
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # torch says step by step what it was doing
            cause = cause.__cause__
        reason = str(cause).strip().partition("\n")[0] or type(cause).__name__
        raise WorkError(
            f"{subject} cannot be exported to {title}: {reason}",
            fix="export it to another format: onnx, torch-export or executorch",
        ) from error
    finally:
        logging.disable(silenced)
