"""BatchNormalizations that stay nodes of their own while torch's exporter optimizes the rest of the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx_ir as ir

__all__ = ["Kept", "give_back", "hide"]

_HIDDEN: Final = "supernet_onnx.kept"  # a domain whose operators no rule of the optimizer knows


class Kept(NamedTuple):
    """A BatchNormalization, and the scale, bias, mean and variance that are its own."""

    node: ir.Node
    values: tuple[ir.Value, ...]


def hide(model: ir.Model) -> list[Kept]:
    """Hide the BatchNormalizations of a translated model from the optimizer, which folds them into convolutions."""
    kept = []
    for node in model.graph:
        if node.op_type == "BatchNormalization" and node.domain == "":
            node.domain = _HIDDEN
            kept.append(Kept(node, tuple(value for value in node.inputs[1:] if value is not None)))
    if kept:
        model.opset_imports[_HIDDEN] = 1
    return kept


def give_back(model: ir.Model, kept: Iterable[Kept]) -> None:
    """Undo ``hide``. Each layer reads its own vectors again, also where the optimizer merged some that were equal.

    Fresh layers have equal statistics; merged, they could not be given different ones.
    """
    graph = model.graph
    names = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    names.update(value.name for node in graph for value in node.outputs)
    for node, values in kept:
        node.domain = ""
        if node.graph is not graph:  # it was dead
            continue
        for slot, value in enumerate(values, start=1):
            if node.inputs[slot] is value or value.const_value is None:
                continue
            if graph.initializers.get(value.name or "") is not value:
                while value.name in names:
                    value.name = f"{value.name}_"
                names.add(value.name)
                graph.register_initializer(value)
            node.replace_input_with(slot, value)
    model.opset_imports.pop(_HIDDEN, None)
    for name in [
        name for name, value in graph.initializers.items() if not value.uses() and not value.is_graph_output()
    ]:
        del graph.initializers[name]
