"""Small drawings with what they show, for trying out models that look at images.

Every drawing has one shape of one colour, large or small, in one of nine places; no two are alike
in all four. Nothing is downloaded, and equal drawings are equal bit for bit.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from tfcli.data.documents import Document

SIDE = 32
"""Height and width of a drawing, in pixels."""
IMAGES = "images"
"""The folder of the drawings, beside the rows."""
COLOURS = {
    "red": (214, 40, 40),
    "orange": (247, 127, 0),
    "green": (42, 157, 74),
    "blue": (29, 78, 216),
    "purple": (126, 34, 206),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "cross")
SIZES = {"large": 6, "small": 4}
"""Size -> half its width, in pixels."""
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "middle", "right")
_MARGIN, _STEP = 7, 9


@dataclass(frozen=True)
class Drawing(Document):
    """A drawing; its text says what it shows.

    Args:
        size, colour, shape: of what is shown.
        row, column: of the place, 0 to 2.
    """

    size: str
    colour: str
    shape: str
    row: int
    column: int

    @property
    def place(self) -> str:
        """Where it is, in words."""
        row, column = _ROWS[self.row], _COLUMNS[self.column]
        return "the middle" if row == column == "middle" else f"the {row} {column}"

    @property
    def path(self) -> str:
        """Of its file, from the folder of the rows on."""
        return f"{IMAGES}/{self.id}.png"

    def row_of(self, exercise: str) -> dict[str, Any]:
        """A row of an exercise: `labels`, or `chats`."""
        if exercise == "labels":
            return {"image": self.path, "label": self.shape}
        asked, answer = random.Random(self.id).choice(
            [
                ("What is it?", f"A {self.colour} {self.shape}."),
                ("Which colour is it?", f"It is {self.colour}."),
                ("Where is it?", f"It is at {self.place}."),
                ("Describe the picture.", self.text.strip()),
            ]
        )
        question = [{"type": "image", "image": self.path}, {"type": "text", "text": asked}]
        return {
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
        }


def drawings() -> list[Drawing]:
    """All drawings, in an order without a pattern."""
    found = []
    kinds = product(SIZES, COLOURS, SHAPES, range(3), range(3))
    for number, (size, colour, shape, row, column) in enumerate(kinds):
        made = Drawing(f"{number:03}", "", size, colour, shape, row, column)
        text = f"The picture shows a {size} {colour} {shape} at {made.place}."
        found.append(Drawing(made.id, text, size, colour, shape, row, column))
    random.Random(0).shuffle(found)
    return found


def draw(drawing: Drawing, folder: Path) -> None:
    """Write a drawing as .png below a folder."""
    from PIL import Image, ImageDraw

    chance = random.Random(drawing.id)
    paper = chance.randrange(200, 256)
    image = Image.new("RGB", (SIDE, SIDE), (paper, paper, paper))
    pen = ImageDraw.Draw(image)
    half = SIZES[drawing.size]
    x = _MARGIN + _STEP * drawing.column + chance.randrange(-1, 2)
    y = _MARGIN + _STEP * drawing.row + chance.randrange(-1, 2)
    fill = COLOURS[drawing.colour]
    if drawing.shape == "circle":
        pen.ellipse((x - half, y - half, x + half, y + half), fill=fill)
    elif drawing.shape == "square":
        pen.rectangle((x - half, y - half, x + half, y + half), fill=fill)
    elif drawing.shape == "triangle":
        pen.polygon([(x - half, y + half), (x + half, y + half), (x, y - half)], fill=fill)
    else:
        pen.rectangle((x - half, y - 1, x + half, y + 1), fill=fill)
        pen.rectangle((x - 1, y - half, x + 1, y + half), fill=fill)
    path = folder / drawing.path
    path.parent.mkdir(exist_ok=True)
    image.save(path, "PNG")
