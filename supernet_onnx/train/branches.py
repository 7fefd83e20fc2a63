"""The branches that a pool is given, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import nn

from supernet_onnx.errors import PoolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["name_branches"]


def name_branches(branches: Mapping[str, nn.Module] | nn.ModuleDict | Iterable[nn.Module]) -> dict[str, nn.Module]:
    """Return branches by name: those of a mapping, else made from the classes.

    Raises:
        PoolError: There is no branch, or two have one name.
        TypeError: A branch is no ``nn.Module``.
    """
    if isinstance(branches, Mapping | nn.ModuleDict):
        names, modules = [str(name) for name in branches], list(branches.values())
    else:
        modules = list(branches)
        names = _class_names(modules)
    _check_branches(names, modules)
    return dict(zip(names, modules, strict=True))


def _class_names(modules: Iterable[nn.Module]) -> list[str]:
    """Name branches by their classes, numbering the second and later of a class."""
    names: list[str] = []
    counts: dict[str, int] = {}
    for module in modules:
        name = type(module).__name__
        count = counts.get(name, 0)
        counts[name] = count + 1
        names.append(f"{name}_{count}" if count else name)
    return names


def _check_branches(names: Sequence[str], modules: Sequence[object]) -> None:
    if not modules:
        raise PoolError("a pool needs at least one branch, none is given")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not all(names):
        raise PoolError(
            f"branch names must be unique and not empty; these are not: {', '.join(map(repr, twice or ['']))}"
        )
    for name, module in zip(names, modules, strict=True):
        if not isinstance(module, nn.Module):
            raise TypeError(f"branch '{name}' is a {type(module).__name__}, expected an nn.Module")
