"""Label whole pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from tfcli.console import Console
from tfcli.data.media import Medium, Source, blank_image, source_of
from tfcli.errors import WorkError
from tfcli.processors.images.read import check_image
from tfcli.processors.load import load_image_processor
from tfcli.train.batch import Batch, Example, ExampleList
from tfcli.train.feeds.columns import Table, examples_of
from tfcli.train.feeds.media import MediaExample, media_of, of_row
from tfcli.train.measures.measure import Measure
from tfcli.train.objectives.objective import Examples, Forward, Material, Objective
from tfcli.train.spec import TrainSpec
from tfcli.train.targets import Targets


@dataclass(frozen=True)
class LabelledPictures(ExampleList):
    """Rows as examples; a picture is read when a batch is made of it.

    Args:
        table: the rows, with a column `image`.
        targets: what is to be said of each.
    """

    table: Table
    targets: Sequence[Tensor]

    def __len__(self) -> int:
        return len(self.targets)

    def example(self, number: int) -> Example:
        row = self.table.rows[number]
        media = [Medium("image", self.source(number))]
        return MediaExample({"labels": self.targets[number]}, media, row.where)

    def source(self, number: int) -> Source:
        """The picture of a row, as it can be read.

        Raises:
            WorkError: there is nothing, or no picture; names the row.
        """
        row, column = self.table.rows[number], self.table.columns["image"]
        return source_of(self.table.value(number, "image"), row, repr(column))


class ImageClassification(Objective):
    """Batches have what the model's image processor makes of pictures, as `pixel_values`
    [b, c, h, w], and `labels`: a number each, or 0 and 1 for each label [b, labels].

    The loss of a row is that of `losses.classification_loss`, as of texts.

    Args:
        problem_type: what a label is; None for what the data have.
    """

    task: ClassVar[str] = "image-classification"
    new_head: ClassVar[bool] = True
    reads_text: ClassVar[bool] = False
    unit: ClassVar[str] = "row"
    processor: Any = None

    def __init__(self, problem_type: str | None = None) -> None:
        self.targets = Targets(self.task, problem_type)

    def feed(self, material: Material) -> Examples:
        """Pictures with labels, of rows or of a folder for each label."""
        self.processor = load_image_processor(material.companions)
        found = examples_of(material.spec, lambda table: self._examples(material, table))
        return replace(found, held=False)

    def measure(self, asked: Sequence[str] | None, material: Material) -> Measure | None:
        """Of labels, or of numbers."""
        return self.targets.measure(asked, material.console)

    def _examples(self, material: Material, table: Table) -> LabelledPictures:
        """The examples of a table. The first ones that come say which labels there are.

        Raises:
            WorkError: a label or a picture that cannot be read; names the row.
        """
        found = LabelledPictures(table, self.targets.of(material.config, table))
        self.config_keys = self.targets.config_keys
        console = Console.silent() if table.more else material.console
        with console.progress("look at pictures", len(found), "picture") as bar:
            for number in range(len(found)):
                try:
                    check_image(found.source(number))
                except WorkError as error:
                    where = table.rows[number].where
                    raise error if error.where == where else of_row(error, where) from error
                bar.advance()
        return found

    def collate(self, examples: Sequence[Example]) -> Batch:
        """The pixels of pictures, and their labels."""
        made = self.processor([each.value for each in media_of(examples)])
        return {**made, "labels": torch.stack([each["labels"] for each in examples])}

    def widest(self, spec: TrainSpec) -> Example:
        """A blank picture."""
        label = torch.zeros((), dtype=torch.long)
        return MediaExample({"labels": label}, [blank_image()], "a blank picture")

    def widest_batch(self, material: Material) -> Batch:
        """As large as the model's processor makes pictures."""
        self.processor = load_image_processor(material.companions)
        return super().widest_batch(material)

    def count(self, batch: Batch) -> int:
        """Rows."""
        return len(batch["labels"])

    def loss(self, model: Forward, batch: Batch) -> Tensor:
        """The sum of the rows' losses."""
        output = model(**batch)
        assert output.loss is not None, "its head has a loss"
        return output.loss * self.count(batch)
