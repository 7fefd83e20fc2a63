"""Who is live when: the order of the pools, and one sweep over the nodes that fills in all conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supernet_onnx.diagram import Diagram, Diagrams
    from supernet_onnx.graph import Wiring
    from supernet_onnx.marks import Mark

__all__ = ["order", "sweep"]


def order(wiring: Wiring, outputs: Sequence[str], found: Mapping[int, Mark]) -> list[str]:
    """Return the pool names in the order of a walk from the outputs that leaves each node behind what it reads.

    The levels of the diagrams follow it. Any order gives the same conditions, but some make them large: where all
    inner pools of parallel nests come before all outer ones, twice as large with each nest, and the graph's own
    order, which tools change, may be such a one. The walk keeps each nest together (depth first from the outputs, as
    S. Malik et al., "Logic Verification using Binary Decision Diagrams in a Logic Synthesis Environment", 1988); of
    what a node reads it takes first what the graph makes first.

    Args:
        wiring: Of a graph whose nodes are sorted.
        outputs: The graph's outputs.
        found: The marks in it, by node index.
    """
    if len(found) < 2:
        return [mark.pool for mark in found.values()]
    maker = {name: index for index, makes in enumerate(wiring.makes) for name in makes if name}
    names: dict[str, None] = {}
    seen: set[int] = set()
    stack = sorted((maker[name] for name in outputs if name in maker), reverse=True)
    while stack:
        index = stack.pop()
        if index < 0:  # all that pool node ~index reads lies behind
            names[found[~index].pool] = None
        elif index not in seen:
            seen.add(index)
            reads = wiring.reads[index]
            if index in found:
                stack.append(~index)
                reads = reads[1:]
            makers = [maker[name] for name in reads if name in maker]
            stack.extend(makers if len(makers) < 2 else sorted(makers, reverse=True))
    return [*dict.fromkeys(mark.pool for mark in found.values() if mark.pool not in names), *names]


def sweep(
    wiring: Wiring,
    outputs: Sequence[str],
    found: Mapping[int, Mark],
    levels: Mapping[str, int],
    diagrams: Diagrams,
) -> tuple[tuple[Diagram, ...], dict[str, Diagram]]:
    """Fill in all conditions in one pass from the outputs back: live is what something live reads.

    Args:
        wiring: Of a graph whose nodes are sorted.
        outputs: The graph's outputs.
        found: The marks in it, by node index.
        levels: The level of each pool's variable.
        diagrams: Their maker.

    Returns:
        The condition of each node; and that of each tensor that something reads.
    """
    false = diagrams.false
    needed: dict[str, Diagram] = dict.fromkeys(outputs, diagrams.true)
    several: dict[str, list[Diagram]] = {}  # of tensors read under several conditions, until all are known
    conditions: list[Diagram] = [false] * len(wiring.nodes)

    def need(names: Sequence[str], condition: Diagram) -> None:
        for name in names:
            first = needed.setdefault(name, condition)
            if first is not condition:
                several.setdefault(name, [first]).append(condition)

    for index in range(len(conditions) - 1, -1, -1):
        live = false
        for name in wiring.makes[index]:
            if name in several:
                needed[name] = diagrams.any_of(several.pop(name))
            condition = needed.get(name, false)
            live = condition if live is false else diagrams.either(live, condition)
        if live is false:
            continue
        conditions[index] = live
        mark = found.get(index)
        if mark is None:
            need(wiring.reads[index], live)
            continue
        level = levels[mark.pool]
        for choice, name in enumerate(wiring.reads[index][1 : 1 + len(mark.branches)]):
            need((name,), diagrams.both(live, diagrams.literal(level, choice)))
    for name, conditions_of_it in several.items():
        needed[name] = diagrams.any_of(conditions_of_it)
    return tuple(conditions), needed
