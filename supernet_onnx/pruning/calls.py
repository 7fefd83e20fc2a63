"""What is called: the local functions that a model still needs, and the operator domains that it still uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet_onnx import marks
from supernet_onnx.graph import attribute_graphs, has_subgraphs, subgraphs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from onnx import FunctionProto, ModelProto, NodeProto

__all__ = ["keep_called"]

_Call = tuple[str, str, str]  # domain, name and overload of an operator or a local function


def keep_called(subnet: ModelProto, source: ModelProto) -> None:
    """Give a subnet, complete but for them, the functions and the opset imports of its source that it still needs.

    The standard domain stays, and so does an import that nothing used in the source either: it is of no branch.
    """
    called = _called(subnet)
    functions = {(function.domain, function.name, function.overload): function for function in source.functions}
    waiting = list(called & functions.keys())
    while waiting:
        inner = set(_function_calls(functions[waiting.pop()])) - called
        waiting.extend(inner & functions.keys())
        called |= inner
    subnet.functions.extend(function for name, function in functions.items() if name in called)
    domains = {"", "ai.onnx", *(domain for domain, _, _ in called)}
    domains.update(entry.domain for function in subnet.functions for entry in function.opset_import)
    if any(entry.domain not in {*domains, marks.DOMAIN} for entry in source.opset_import):
        domains.update({entry.domain for entry in source.opset_import} - _domains(source) - {marks.DOMAIN})
    subnet.opset_import.extend(entry for entry in source.opset_import if entry.domain in domains)


def _domains(model: ModelProto) -> set[str]:
    """Return the domains that anything in a model uses."""
    used = {domain for domain, _, _ in _called(model)}
    for function in model.functions:
        used.update((function.domain, *(domain for domain, _, _ in _function_calls(function))))
        used.update(entry.domain for entry in function.opset_import)
    return used


def _called(model: ModelProto) -> set[_Call]:
    """Return what the main graph and the training steps call, without what functions call in turn."""
    called = set(_calls(model.graph.node))
    for training in model.training_info:
        for graph in (training.initialization, training.algorithm):
            called.update(_calls(graph.node))
    return called


def _function_calls(function: FunctionProto) -> Iterator[_Call]:
    yield from _calls(function.node)
    for attribute in function.attribute_proto:  # the defaults of its attributes, which may be graphs
        for graph in attribute_graphs(attribute):
            yield from _calls(graph.node)


def _calls(nodes: Iterable[NodeProto]) -> Iterator[_Call]:
    for node in nodes:
        yield node.domain, node.op_type, node.overload
        if has_subgraphs(node):
            for graph in subgraphs(node):
                yield from _calls(graph.node)
