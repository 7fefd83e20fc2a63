"""What a metric is, and the one that users write: a set of handlers, each the count of one operator.

A handler is a small pure function of an ``OpCall``, registered once for an operator and a range of opset versions.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, SupportsIndex, TypeVar

from supernet_onnx.cost import free
from supernet_onnx.errors import UnknownOperatorError, UnknownShapeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from supernet_onnx.cost.calls import CallGraph
    from supernet_onnx.cost.opcall import Body, OpCall
    from supernet_onnx.diagram import Number
    from supernet_onnx.supergraph import Condition

__all__ = ["Bill", "Combine", "CostSpec", "Entry", "Metric", "Unknown"]

Unknown = Literal["error", "free"]
"""What becomes of an operator that nobody can price: an error, or left out and reported."""

Combine = Literal["sum", "max"]
"""How the amounts of nodes add up."""


class Entry(NamedTuple):
    """One line of a bill: an amount, and when it is due.

    Attributes:
        node: The index of the main graph's node that it stands with; None for what no node reads.
        condition: The selections that pay it.
        amount: In the metric's unit; negative for what a node costs less under some selections than under others.
    """

    node: int | None
    condition: Condition
    amount: Number


class Bill(NamedTuple):
    """What a metric asks for a graph.

    Attributes:
        entries: Its lines.
        unknown: The operators that it left out because nobody can price them.
        combine: How the lines add up: ``"sum"`` over all, or ``"max"`` over the nodes of each one's sum.
    """

    entries: tuple[Entry, ...]
    unknown: tuple[str, ...]
    combine: Combine = "sum"


class Metric(Protocol):
    """What can be measured: a ``CostSpec``, or a count of what is stored."""

    @property
    def name(self) -> str:
        """Its name on the command line and in tables."""

    @property
    def unit(self) -> str:
        """The unit of its amounts, in the plural."""

    def bill(self, graph: CallGraph, *, unknown: Unknown) -> Bill:
        """Price every part of a graph."""


Handler = TypeVar("Handler", bound="Callable[[OpCall], Number]")

_NEWEST: Final = 1 << 30  # no opset version is larger


class _Rule(NamedTuple):
    handler: Callable[[OpCall], Number]
    first: int
    last: int
    when: Callable[[OpCall], bool] | None


class CostSpec:
    """A metric that adds up what handlers count, operator by operator.

    Args:
        name: Its name in tables.
        unit: The unit of what its handlers return.
        default: What an operator costs that no handler counts and that is not free (``supernet_onnx.cost.free``):
            ``"fail"`` makes it an error, ``"zero"`` nothing.
        combine: How the amounts of nodes add up: ``"sum"``, or ``"max"`` for the largest of them.

    Raises:
        ValueError: ``default`` or ``combine`` is another word.

    Example:
        >>> cycles = CostSpec("cycles", "cycles")
        >>> @cycles.counts("Conv", when=lambda call: call.attrs.get("group", 1) == call.input(0).shape[1])
        ... def depthwise(call: OpCall) -> float:
        ...     return 1.5 * call.output().numel
    """

    def __init__(
        self,
        name: str,
        unit: str,
        *,
        default: Literal["fail", "zero"] = "fail",
        combine: Combine = "sum",
    ) -> None:
        if default not in ("fail", "zero"):
            raise ValueError(f"metric '{name}': default is {default!r}, expected 'fail' or 'zero'")
        if combine not in ("sum", "max"):
            raise ValueError(f"metric '{name}': combine is {combine!r}, expected 'sum' or 'max'")
        self.name = name
        self.unit = unit
        self.default = default
        self.combine: Combine = combine
        self._rules: dict[tuple[str, str], list[_Rule]] = {}

    def __repr__(self) -> str:
        return f"CostSpec({self.name!r}, {self.unit!r})"

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[object, ...]:
        """Copy and pickle a metric that comes with the package by its name: handlers are code."""
        from supernet_onnx.cost.pricing import METRICS

        if METRICS.get(self.name) is self:
            return _packaged, (self.name,)
        return super().__reduce_ex__(protocol)

    def counts(
        self,
        op_type: str,
        *,
        domain: str = "",
        since: int = 1,
        until: int | None = None,
        when: Callable[[OpCall], bool] | None = None,
    ) -> Callable[[Handler], Handler]:
        """Register the decorated function as the handler of an operator.

        A handler with ``when`` wins over one without, where its condition holds. Two whose conditions hold at
        once are an error when such a call is priced, whatever the order in which they were registered.

        Args:
            op_type: The operator.
            domain: Its domain; ``""`` and ``"ai.onnx"`` are the standard one.
            since: The first opset version of the domain that it holds for.
            until: The last one; None for all later ones.
            when: Which calls it counts; None for all.

        Raises:
            ValueError: The range of versions is empty, or another handler without ``when`` has part of it.
        """
        rule_of = self._rules.setdefault((_standard(domain), op_type), [])
        last = _NEWEST if until is None else until
        if last < since:
            raise ValueError(f"metric '{self.name}', {op_type}: since={since} is after until={until}")

        def register(handler: Handler) -> Handler:
            new = _Rule(handler, since, last, when)
            for rule in rule_of:
                if when is None and rule.when is None and rule.first <= last and since <= rule.last:
                    raise ValueError(
                        f"metric '{self.name}': {op_type} is counted by {_title(rule)} already, in the opset versions "
                        f"{_versions(rule)}; give {_title(new)} a condition (when=) or other versions"
                    )
            rule_of.append(new)
            return handler

        return register

    def price(self, call: OpCall) -> Number | None:
        """Return what a call costs; None where no handler counts it, it is not free, and ``default`` is ``"fail"``.

        Raises:
            CostError: A shape that the handler needs is not known, or the node lacks an input.
            ValueError: Two handlers match equally, or the handler returns no finite number.
        """
        rule = self._rule(call)
        if rule is not None:
            amount = rule.handler(call)
            if not math.isfinite(amount):
                raise ValueError(f"metric '{self.name}', {call.name}: {_title(rule)} returned {amount}")
            return amount
        if self.default == "zero" or free.reason(call.op_type, call.domain) is not None:
            return 0
        return None

    def _rule(self, call: OpCall) -> _Rule | None:
        """Return the rule that counts a call, if there is one."""
        rules = [
            rule for rule in self._rules.get((call.domain, call.op_type), ()) if rule.first <= call.opset <= rule.last
        ]
        matching = [rule for rule in rules if rule.when is not None and rule.when(call)]
        matching = matching or [rule for rule in rules if rule.when is None]
        if len(matching) > 1:
            raise ValueError(
                f"metric '{self.name}', {call.name}: the handlers {' and '.join(map(_title, matching))} match equally; "
                "make their conditions exclude each other"
            )
        return matching[0] if matching else None

    def bill(self, graph: CallGraph, *, unknown: Unknown = "error") -> Bill:
        """Price every call of a graph. One that holds graphs and has no handler costs what they do.

        Raises:
            UnknownOperatorError: No handler counts an operator, and ``unknown`` is ``"error"``.
            CostError: As ``price`` raises.
        """
        entries: list[Entry] = []
        left_out: dict[str, None] = {}
        for node, calls in itertools.groupby(graph.calls, key=lambda call: call.node):
            priced = [(condition, self._amount(graph, call, unknown, left_out)) for _, condition, call in calls]
            usual = priced[-1][1]
            if usual:
                entries.append(Entry(node, graph.supergraph.node_conditions[node], usual))
            entries += [Entry(node, condition, amount - usual) for condition, amount in priced if amount != usual]
        return Bill(tuple(entries), tuple(left_out), self.combine)

    def _amount(self, graph: CallGraph, call: OpCall | None, unknown: Unknown, left_out: dict[str, None]) -> Number:
        """Price a call of a graph; an operator that must be left out is noted in ``left_out``."""
        if call is None:
            return 0
        if call.bodies and self._rule(call) is None:
            return max(self._amount_of_body(graph, call, body, unknown, left_out) for body in call.bodies)
        try:
            amount = self.price(call)
        except UnknownShapeError as error:
            raise UnknownShapeError(f"{call.name}: {error}{graph.hint}") from error
        if amount is not None:
            return amount
        return self._leave_out(call, self._refusal(call), unknown, left_out)

    def _amount_of_body(
        self, graph: CallGraph, call: OpCall, body: Body, unknown: Unknown, left_out: dict[str, None]
    ) -> Number:
        """Price a graph that is nested in a call."""
        once = sum(self._amount(graph, inner, unknown, left_out) for inner in body.calls)
        if not once:
            return 0
        if body.times is None:
            problem = f"{call.name}: the metric '{self.name}' cannot count it, {body.problem}, or leave it out"
            return self._leave_out(call, f"{problem} with --unknown free", unknown, left_out)
        return once * body.times

    def _leave_out(self, call: OpCall, refusal: str, unknown: Unknown, left_out: dict[str, None]) -> Number:
        if unknown == "error":
            raise UnknownOperatorError(refusal)
        left_out[f"{call.domain}::{call.op_type}" if call.domain else call.op_type] = None
        return 0

    def _refusal(self, call: OpCall) -> str:
        arguments = f"'{call.op_type}'" + (f", domain='{call.domain}'" if call.domain else "")
        return (
            f"{call.name}: the metric '{self.name}' cannot count this operator (opset {call.opset}); "
            f"register a handler for it, @{self.name}.counts({arguments}), or leave it out with --unknown free"
        )


def _packaged(name: str) -> Metric:
    """Return the metric of that name that comes with the package."""
    from supernet_onnx.cost.pricing import METRICS

    return METRICS[name]


def _standard(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _title(rule: _Rule) -> str:
    return f"'{getattr(rule.handler, '__qualname__', repr(rule.handler))}'"


def _versions(rule: _Rule) -> str:
    return f"from {rule.first} on" if rule.last == _NEWEST else f"{rule.first} to {rule.last}"
