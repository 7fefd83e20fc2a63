"""What moves and what is held: by hand on small graphs, and against plain loops on every selection of random ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import assume, given, settings

from supernet_onnx import supergraph
from supernet_onnx.cost import measure, peak_memory, traffic
from supernet_onnx.pruning import prune
from supernet_onnx.selection import every
from tests.cost.naive import measure_memory, supergraphs
from tests.cost.supergraphs import Constant, graph

if TYPE_CHECKING:
    from supernet_onnx.supergraph import SuperGraph


def counted(text: str, constants: dict[str, Constant] | None = None) -> tuple[float, float]:
    """Return the peak and the traffic of a graph without pools."""
    tables = measure(graph(text, constants), [peak_memory, traffic])
    return tables["peak_memory"].trunk, tables["traffic"].trunk


@settings(max_examples=300, deadline=None)
@given(supergraphs())
def test_every_selection_holds_and_moves_what_its_subnet_does(supernet: SuperGraph) -> None:
    assume(supernet.pools)
    tables = measure(supernet, [peak_memory, traffic])
    for selection in every(supernet):
        subnet = prune(supernet, selection)
        expected = measure_memory(subnet)
        assert {name: table.total(selection) for name, table in tables.items()} == expected
        alone = measure(supergraph.read(subnet), [peak_memory, traffic])
        assert {name: table.trunk for name, table in alone.items()} == expected
