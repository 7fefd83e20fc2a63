"""Dims that are named by a formula of others, as exporters write them: ``2*n``, ``(s+1)//2``, ``floor(t/4) - 1``."""

from __future__ import annotations

import ast
import operator
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["evaluate", "names_in"]

_OPERATORS: Final[dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction | int]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: Final[dict[str, Callable[..., Fraction | int]]] = {
    "floor": floor, "ceil": ceil, "ceiling": ceil, "min": min, "max": max, "Min": min, "Max": max
}  # fmt: skip


def evaluate(text: str, bound: Mapping[str, int]) -> int | None:
    """Return the size of a dim.

    Args:
        text: Its name, or a formula of names.
        bound: The sizes of names.

    Returns:
        None where a name is not bound, the text is no formula, or the result is no size.
    """
    if text in bound:
        return bound[text]
    if not bound:
        return None
    try:
        size = _value(ast.parse(text, mode="eval").body, bound)
    except (ArithmeticError, KeyError, SyntaxError, TypeError, ValueError):
        return None
    return int(size) if size == int(size) and size >= 0 else None


def names_in(text: str) -> set[str]:
    """Return the names in a formula; nothing for a plain name, or what is no formula."""
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        return set()
    if isinstance(tree, ast.Name):
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id not in _FUNCTIONS}


def _value(node: ast.expr, bound: Mapping[str, int]) -> Fraction:
    match node:
        case ast.Constant(value=int() as value):
            return Fraction(value)
        case ast.Name(id=name):
            return Fraction(bound[name])
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, bound)
        case ast.BinOp(left=left, op=op, right=right):
            return Fraction(_OPERATORS[type(op)](_value(left, bound), _value(right, bound)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return Fraction(_FUNCTIONS[name](*(_value(argument, bound) for argument in arguments)))
    raise ValueError("no formula")
