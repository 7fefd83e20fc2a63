"""Multi-valued decision diagrams over the pools: when something is live, and sums of what is.

A diagram is a function of one choice for each variable (a pool), drawn as a directed acyclic graph: an inner
node asks for the choice of one variable and goes on to the child of that choice; a leaf is the function's value.
Variables are asked in order of their level, no node has only equal children, and equal nodes are one object, so
equal functions are the same object (R. E. Bryant, "Graph-Based Algorithms for Boolean Function Manipulation",
1986; leaves of any number: R. I. Bahar et al., "Algebraic Decision Diagrams and Their Applications", 1993).

A condition is a diagram whose leaves are 0 and 1. A sum of amounts under conditions is one of other numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Diagram", "Diagrams", "Number"]

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


class Diagrams:
    """The diagrams over one list of variables; operands of an operation come from the same ``Diagrams``.

    Args:
        sizes: The number of choices of each variable, in the order of their levels.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes: tuple[int, ...] = tuple(sizes)
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
        """Return the function that is ``value`` everywhere."""
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
        if a is b or b is self.true or a is self.false:
            return a
        if a is self.true or b is self.false:
            return b
        return self._combine(a, b, self.both, self._both)

    def either(self, a: Diagram, b: Diagram) -> Diagram:
        """Return the disjunction of two conditions."""
        if a is b or b is self.false or a is self.true:
            return a
        if a is self.false or b is self.true:
            return b
        return self._combine(a, b, self.either, self._either)

    def pointwise(self, function: Callable[[Number, Number], Number], a: Diagram, b: Diagram) -> Diagram:
        """Return the function ``function(a, b)`` of two diagrams of any leaves."""
        memo: dict[tuple[int, int], Diagram] = {}

        def apply(a: Diagram, b: Diagram) -> Diagram:
            if a.is_leaf and b.is_leaf:
                return self.constant(function(a.value, b.value))
            return self._combine(a, b, apply, memo)

        return apply(a, b)

    def _make(self, level: int, children: tuple[Diagram, ...], value: Number) -> Diagram:
        self._made += 1
        return Diagram(self._made, level, children, value)

    def _combine(
        self,
        a: Diagram,
        b: Diagram,
        apply: Callable[[Diagram, Diagram], Diagram],
        memo: dict[tuple[int, int], Diagram],
    ) -> Diagram:
        """Apply an operation choice by choice at the higher of two levels, each pair of nodes once."""
        key = (a.uid, b.uid)
        known = memo.get(key)
        if known is None:
            level = min(a.level, b.level)
            size = self.sizes[level]
            of_a = a.children if a.level == level else (a,) * size
            of_b = b.children if b.level == level else (b,) * size
            known = memo[key] = self.ask(level, [apply(x, y) for x, y in zip(of_a, of_b, strict=True)])
        return known
