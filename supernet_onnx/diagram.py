"""Multi-valued decision diagrams over the pools: when something is live, and sums of what is.

A diagram is a function of one choice for each variable (a pool), drawn as a directed acyclic graph: an inner
node asks for the choice of one variable and goes on to the child of that choice; a leaf is the function's value.
Variables are asked in order of their level, no node has only equal children, and equal nodes are one object, so
equal functions are the same object (R. E. Bryant, "Graph-Based Algorithms for Boolean Function Manipulation",
1986; leaves of any number: R. I. Bahar et al., "Algebraic Decision Diagrams and Their Applications", 1993).

A condition is a diagram whose leaves are 0 and 1. A sum of amounts under conditions is one of other numbers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from supernet_onnx.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["MAX_STEPS", "Diagram", "Diagrams", "Number", "values", "ways"]

MAX_STEPS: Final = 3_000_000
"""How many children ``Diagrams`` looks at before it gives up, unless told otherwise: seconds, and some 200 MiB."""

Number = int | float

_LEAF: Final = 1 << 60  # the level of a leaf: behind every variable


class Diagram:
    """One function of the choices. Made by ``Diagrams`` alone; equal functions are one object.

    Attributes:
        uid: Its number among the diagrams of its maker, in order of making: children come before their parents.
        level: The variable that this node asks for; larger than any variable's for a leaf.
        children: One diagram for each choice; empty for a leaf.
        value: A leaf's value; 0 for an inner node.
    """

    __slots__ = ("children", "level", "uid", "value")

    uid: int
    level: int
    children: tuple[Diagram, ...]
    value: Number

    def __init__(self, uid: int, level: int, children: tuple[Diagram, ...], value: Number) -> None:
        self.uid = uid
        self.level = level
        self.children = children
        self.value = value

    def __deepcopy__(self, memo: dict[int, object]) -> Diagram:
        return self  # immutable, and known by identity

    def __repr__(self) -> str:
        if self.is_leaf:
            return f"Diagram({self.value})"
        return f"Diagram(level={self.level}, {len(self.children)} children)"

    @property
    def is_leaf(self) -> bool:
        """Whether the function is a constant."""
        return not self.children

    def at(self, choices: Sequence[int]) -> Number:
        """Return the value for ``choices``, which holds one index for each level."""
        node = self
        while node.children:
            node = node.children[choices[node.level]]
        return node.value

    def support(self) -> frozenset[int]:
        """Return the levels that the value depends on."""
        return frozenset(node.level for node in self.nodes() if node.children)

    def nodes(self) -> Iterator[Diagram]:
        """Iterate over this node and all below it, each once, children before their parents."""
        seen: set[int] = set()
        stack: list[tuple[Diagram, bool]] = [(self, False)]
        while stack:
            node, expanded = stack.pop()
            if expanded:
                yield node
            elif node.uid not in seen:
                seen.add(node.uid)
                stack.append((node, True))
                stack.extend((child, False) for child in node.children)


def values(diagrams: Iterable[Diagram], choices: Sequence[int]) -> Iterator[Number]:
    """Iterate over the values of many diagrams for ``choices``; what they share is walked through once."""
    known: dict[Diagram, Number] = {}
    for node in diagrams:
        if node not in known:
            below, passed = node, [node]
            while below.children and below not in known:
                below = below.children[choices[below.level]]
                passed.append(below)
            value = known[below] if below.children else below.value
            known.update(dict.fromkeys(passed, value))
        yield known[node]


def ways(condition: Diagram, *, most: int) -> list[dict[int, list[int]]] | None:
    """Return the ways in which a condition holds, of which no two hold together; None for more than ``most``.

    A way is ``{level: choices}``: it holds where each of these variables takes one of its choices. The empty one is
    always.
    """
    found: list[dict[int, list[int]]] = []
    stack: list[tuple[Diagram, dict[int, list[int]]]] = [(condition, {})]
    while stack:
        node, way = stack.pop()
        if node.is_leaf:
            if node.value:
                found.append(way)
            if len(found) > most:
                return None
            continue
        for child in reversed(list(dict.fromkeys(node.children))):
            if not child.is_leaf or child.value:
                taken = [i for i, other in enumerate(node.children) if other is child]
                stack.append((child, {**way, node.level: taken}))
    return found


class Diagrams:
    """The diagrams over one list of variables; operands of an operation come from the same ``Diagrams``.

    Args:
        sizes: The number of choices of each variable, in the order of their levels.
        names: What an error calls the variables.
        max_steps: How many children of diagrams may be looked at and made. Conditions whose diagrams are large in
            every order of the variables exist, and a file may hold some: the work ends in a ``ModelError`` then.
    """

    def __init__(self, sizes: Sequence[int], *, names: Sequence[str] = (), max_steps: int = MAX_STEPS) -> None:
        self.sizes: tuple[int, ...] = tuple(sizes)
        self._names = tuple(names) or tuple(map(str, range(len(self.sizes))))
        self._max_steps = max_steps
        self._steps = 0
        self._made = 0
        self._leaves: dict[Number, Diagram] = {}
        self._inner: dict[tuple[int, ...], Diagram] = {}
        self._both: dict[tuple[int, int], Diagram] = {}
        self._either: dict[tuple[int, int], Diagram] = {}
        self.false: Diagram = self.constant(0)
        self.true: Diagram = self.constant(1)

    def __deepcopy__(self, memo: dict[int, object]) -> Diagrams:
        return self  # what it made is known by identity

    def constant(self, value: Number) -> Diagram:
        """Return the function that is ``value`` everywhere; nan is equal to nothing and has none."""
        assert not math.isnan(value)
        leaf = self._leaves.get(value)
        if leaf is None:
            leaf = self._leaves[value] = self._make(_LEAF, (), value)
        return leaf

    def ask(self, level: int, children: Sequence[Diagram]) -> Diagram:
        """Return the function that is ``children[i]`` where variable ``level`` takes choice i.

        The children depend on later levels only.
        """
        first = children[0]
        if all(child is first for child in children):
            return first
        assert all(child.level > level for child in children)
        key = (level, *(child.uid for child in children))
        node = self._inner.get(key)
        if node is None:
            node = self._inner[key] = self._make(level, tuple(children), 0)
        return node

    def literal(self, level: int, choice: int) -> Diagram:
        """Return the condition that variable ``level`` takes ``choice``."""
        return self.ask(level, [self.true if i == choice else self.false for i in range(self.sizes[level])])

    def both(self, a: Diagram, b: Diagram) -> Diagram:
        """Return the conjunction of two conditions."""
        known = self._and(a, b)
        return self._combine(a, b, self._and, self._both) if known is None else known

    def either(self, a: Diagram, b: Diagram) -> Diagram:
        """Return the disjunction of two conditions."""
        known = self._or(a, b)
        return self._combine(a, b, self._or, self._either) if known is None else known

    def any_of(self, conditions: Iterable[Diagram]) -> Diagram:
        """Return the disjunction of many conditions: those of later levels first, so that each step is short."""
        result = self.false
        for condition in sorted(set(conditions), key=lambda condition: (-condition.level, condition.uid)):
            result = self.either(result, condition)
        return result

    def pointwise(self, function: Callable[[Number, Number], Number], a: Diagram, b: Diagram) -> Diagram:
        """Return the function ``function(a, b)`` of two diagrams of any leaves."""

        def known(a: Diagram, b: Diagram) -> Diagram | None:
            return self.constant(function(a.value, b.value)) if a.is_leaf and b.is_leaf else None

        of_leaves = known(a, b)
        return self._combine(a, b, known, {}) if of_leaves is None else of_leaves

    def _make(self, level: int, children: tuple[Diagram, ...], value: Number) -> Diagram:
        self._made += 1
        self._count(len(children), *children)
        return Diagram(self._made, level, children, value)

    def _count(self, steps: int, *operands: Diagram) -> None:
        self._steps += steps
        if self._steps > self._max_steps:
            levels = sorted(frozenset().union(*(operand.support() for operand in operands)))
            shown = ", ".join(f"'{self._names[level]}'" for level in levels[:8])
            more = f" and {len(levels) - 8} more" if len(levels) > 8 else ""
            raise ModelError(
                f"the conditions on the pools {shown}{more} take more than {self._max_steps:,} steps to work out: too "
                "many branches of different pools share nodes with each other; split the model or share less"
            )

    def _and(self, a: Diagram, b: Diagram) -> Diagram | None:
        if a is b or b is self.true or a is self.false:
            return a
        if a is self.true or b is self.false:
            return b
        return None

    def _or(self, a: Diagram, b: Diagram) -> Diagram | None:
        if a is b or b is self.false or a is self.true:
            return a
        if a is self.false or b is self.true:
            return b
        return None

    def _combine(
        self,
        a: Diagram,
        b: Diagram,
        known: Callable[[Diagram, Diagram], Diagram | None],
        memo: dict[tuple[int, int], Diagram],
    ) -> Diagram:
        """Apply an operation choice by choice at the higher of two levels, each pair of nodes once.

        ``known`` gives the result where nothing need be asked. A stack, for the depth is the number of variables.
        """
        waiting = [(a, b)]
        while (a.uid, b.uid) not in memo:
            x, y = waiting[-1]
            level = min(x.level, y.level)
            size = self.sizes[level]
            self._count(size, x, y)
            of_x = x.children if x.level == level else (x,) * size
            of_y = y.children if y.level == level else (y,) * size
            children: list[Diagram] = []
            for pair in zip(of_x, of_y, strict=True):
                child = known(*pair) or memo.get((pair[0].uid, pair[1].uid))
                if child is None:
                    waiting.append(pair)
                else:
                    children.append(child)
            if len(children) == size:
                memo[x.uid, y.uid] = self.ask(level, children)
                waiting.pop()
        return memo[a.uid, b.uid]
