"""How a chat template becomes Python code: with a hook of the environment at every step.

jinja2's compiler writes the code; what it would leave to Python alone, such as comparisons, slices
and literal lists, and what it would work out beforehand, is written as a call here.
"""

# ruff: noqa: N802, N815 - jinja2 calls a compiler's methods by the names of its nodes

from __future__ import annotations

from functools import partial
from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame, operators
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Macro

from tfcli.tokenizers.chat_limits import METER


class ChatCompiler(CodeGenerator):
    """Writes `environment.hook(...)` round what the hooks of `ChatEnvironment` are for."""

    def _hook(self, name: str, node: nodes.Node, frame: Frame, visit: Any = None) -> None:
        self.write(f"environment.{name}(")
        (visit or self.visit)(node, frame)
        self.write(")")

    def _output_child_to_const(self, *args: Any) -> str:
        raise nodes.Impossible  # the text of the template comes past the hook like any other

    def _output_child_pre(self, *args: Any) -> None:
        self.write("environment.emit(")

    def _output_child_post(self, *args: Any) -> None:
        self.write(")")

    def visit_CallBlock(self, node: nodes.CallBlock, frame: Frame) -> None:
        call_frame, macro = self.macro_body(node, frame)
        self.writeline("caller = ")
        self.macro_def(macro, call_frame)
        if _is_generation(node.call):
            node.call.args = [nodes.Const(frame.buffer is not None)]
        self.start_write(frame, node)
        self._hook("emit", node.call, frame, partial(self.visit_Call, forward_caller=True))
        self.end_write(frame)

    def visit_FilterBlock(self, node: nodes.FilterBlock, frame: Frame) -> None:
        inner = frame.inner()
        inner.symbols.analyze_node(node)
        self.enter_frame(inner)
        self.buffer(inner)
        self.blockvisit(node.body, inner)
        self.start_write(frame, node)
        self._hook("emit", node.filter, inner)
        self.end_write(frame)
        self.leave_frame(inner)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concatenate((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        self.write("(")
        self._hook("operand", node.expr, frame)
        for compared in node.ops:
            self.visit(compared, frame)
        self.write(")")

    def visit_Operand(self, node: nodes.Operand, frame: Frame) -> None:
        self.write(f" {operators[node.op]} ")
        self._hook("operand", node.expr, frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.cut(")
        self.visit(node.node, frame)
        for end in (node.arg.start, node.arg.stop, node.arg.step):
            self.write(", ")
            self.visit(end or nodes.Const(None), frame)
        self.write(")")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self._hook("made", node, frame, super().visit_List)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx == "load":
            self._hook("made", node, frame, super().visit_Tuple)
        else:
            super().visit_Tuple(node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self.write("environment.made({")
        for item in node.items:
            self._hook("operand", item.key, frame)
            self.write(": ")
            self.visit(item.value, frame)
            self.write(", ")
        self.write("})")

    def _refuse(self, node: nodes.Node, frame: Frame) -> None:
        self.fail("a chat template cannot include, import, extend or autoescape", node.lineno)

    visit_Include = visit_Import = visit_FromImport = visit_Extends = _refuse
    visit_ScopedEvalContextModifier = _refuse


class Generation(Extension):
    """`{% generation %}...{% endgeneration %}`: what the assistant wrote, for the training mask."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own declaration

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("mark"), [], [], body).set_lineno(line)

    def mark(self, buffered: bool, caller: Macro) -> str:
        """The text of the part; its place is noted, where the template writes straight on."""
        meter = METER.get()
        if meter.marking:  # a part within a part
            return caller()
        meter.marking = True
        depth = meter.depth
        made = caller()
        meter.marking = False
        if buffered or depth > 1:  # `mark` itself is the one
            meter.spans = None
        elif meter.spans is not None:
            meter.spans.append((meter.written, meter.written + len(made)))
        return made


def _is_generation(call: nodes.Call) -> bool:
    own = call.node
    return isinstance(own, nodes.ExtensionAttribute) and own.identifier == Generation.identifier
