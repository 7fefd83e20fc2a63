"""What to say where no selection meets all budgets: what each metric costs at least, alone and together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet_onnx.search.program import Linear, add_up

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supernet_onnx.diagram import Number
    from supernet_onnx.search.space import Limits, Space

__all__ = ["explain"]


def explain(space: Space, limits: Limits, pinned: Mapping[int, int]) -> str:
    """Say in one line why limits and pins cannot be met together, what is reachable, and what to do.

    "Together" is the selection that exceeds its limits least: the largest excess, in units of the largest subnet's
    cost of that metric, is as small as it can be.

    Args:
        space: The selections.
        limits: The budgets.
        pinned: The branch of each level that has one.
    """
    wanted = " and ".join(f"{name} <= {_amount(space, name, limit)}" for name, limit in limits.items())
    pools = [f"{space.pools[level].name}={space.pools[level].branches[i].name}" for level, i in pinned.items()]
    with_pins = f" with {', '.join(pools)}" if pools else ""
    smallest = {name: _smallest(space, name, pinned) for name in limits}
    alone = ", ".join(f"{_amount(space, name, value)} of {name}" for name, value in smallest.items())
    told = f"no selection{with_pins} meets {wanted}; the least that is reachable is {alone}"
    if len(limits) > 1:
        spent = _together(space, limits, pinned)
        together = " and ".join(f"{_amount(space, name, value)} of {name}" for name, value in spent.items())
        told += f", each alone; together, {together} come closest"
    if pools and _is_feasible(space, limits):
        return f"{told}; without the choices {', '.join(pools)} the budgets can be met: select other branches"
    return f"{told}; raise {'a budget' if len(limits) > 1 else 'the budget'}"


def _smallest(space: Space, name: str, pinned: Mapping[int, int]) -> Number:
    amount = space.smallest(name, {}, pinned)
    assert amount is not None
    return amount


def _together(space: Space, limits: Limits, pinned: Mapping[int, int]) -> dict[str, Number]:
    program = space.pinned(pinned)
    excess = program.column(1.0)
    space.limit(program, limits, excess=excess)
    found = program.maximize(add_up((excess, -1.0)))
    assert found is not None
    return space.spent(found.choices, limits)


def _is_feasible(space: Space, limits: Limits) -> bool:
    program = space.program.fork()
    space.limit(program, limits)
    return space.best(program, Linear(), limits) is not None


def _amount(space: Space, name: str, value: Number) -> str:
    number = f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
    return f"{number} {space.tables[name].unit}"
