"""Writes a page as HTML and as Markdown."""

from __future__ import annotations

import re

import jinja2

from tfcli.console import visible
from tfcli.report.page import Page


def render_html(page: Page) -> str:
    """One HTML file that asks for nothing else: no script, no font, no picture from anywhere."""
    text = _environment(autoescape=True).get_template("report.html.j2").render(page=page)
    return visible(text, kept="\n\t")


def render_markdown(page: Page) -> str:
    """The same without the plots."""
    text = _environment(autoescape=False).get_template("report.md.j2").render(page=page)
    return visible(text.strip() + "\n", kept="\n\t")


def _environment(*, autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfcli.report", "."),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"md": _plain_markdown, "fenced": _fenced}
    return environment


def _plain_markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line, also in a table's cell."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _fenced(text: str) -> str:
    """A code block whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}\n{text.rstrip()}\n{fence}"
