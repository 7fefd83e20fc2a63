"""A selection: one branch for each pool. How to make one, check it, write it down, and go through them all."""

from __future__ import annotations

import itertools
import json
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, SupportsIndex

from supernet_onnx.errors import SelectionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from supernet_onnx.supergraph import Pool, SuperGraph

__all__ = ["Selection", "argmax", "check", "choices", "count", "every", "find", "from_json", "resolve", "sample"]


@dataclass(frozen=True, slots=True)
class Selection:
    """One branch for each pool of a supergraph, checked: made by the functions of this module.

    Attributes:
        pools: The pool names, in the supergraph's order.
        indices: The chosen branch of each.
        branches: Its name.
    """

    pools: tuple[str, ...]
    indices: tuple[int, ...]
    branches: tuple[str, ...]

    def __getitem__(self, pool: str) -> str:
        """Return the name of the branch chosen for a pool."""
        return self.branches[self.pools.index(pool)]

    def as_dict(self) -> dict[str, str]:
        """Return ``{pool: branch name}``, in the supergraph's order."""
        return dict(zip(self.pools, self.branches, strict=True))

    def to_json(self) -> str:
        """Return the selection as JSON, ``{"pool": "branch", ...}``; ``from_json`` reads it."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n"


def resolve(supergraph: SuperGraph, choices: Mapping[str, int | str]) -> Selection:
    """Complete ``choices`` to a selection: pools that it does not name take their branch of largest weight.

    Args:
        supergraph: Whose pools are meant.
        choices: A branch for some pools or all, by name or by index. A branch whose *name* is a number is found
            by name first.

    Raises:
        SelectionError: A pool or branch is not there, or a pool that is not named has no stored weights.
    """
    _check_pools(supergraph, choices)
    indices = [
        _index(pool, choices[pool.name]) if pool.name in choices else _heaviest(pool) for pool in supergraph.pools
    ]
    return _selection(supergraph, indices)


def find(supergraph: SuperGraph, choices: Mapping[str, int | str]) -> dict[int, int]:
    """Return the branches that are chosen for some pools, ``{level: index}``; weights do not matter.

    Raises:
        SelectionError: A pool or branch is not there.
    """
    _check_pools(supergraph, choices)
    return {
        level: _index(pool, choices[pool.name]) for level, pool in enumerate(supergraph.pools) if pool.name in choices
    }


def _check_pools(supergraph: SuperGraph, choices: Iterable[str]) -> None:
    there = {pool.name for pool in supergraph.pools}
    for name in choices:
        if name not in there:
            known = ", ".join(f"'{pool.name}'" for pool in supergraph.pools) or "none"
            raise SelectionError(f"pool '{name}' is not in the model; its pools are: {known}")


def argmax(supergraph: SuperGraph) -> Selection:
    """Select the branch of largest weight in every pool; the first of equals.

    Raises:
        SelectionError: A pool's weights are computed in the graph instead of stored.
    """
    return resolve(supergraph, {})


def check(supergraph: SuperGraph, selection: Selection) -> None:
    """Check that a selection fits a supergraph.

    Raises:
        ValueError: It was made for another one: its pools or branches are not this one's.
    """
    fits = selection.pools == tuple(pool.name for pool in supergraph.pools) and all(
        0 <= i < len(pool.branches) and pool.branches[i].name == name
        for pool, i, name in zip(supergraph.pools, selection.indices, selection.branches, strict=True)
    )
    if not fits:
        raise ValueError("the selection was made for another supergraph; make it with resolve() for this one")


def choices(supergraph: SuperGraph, pairs: Iterable[str]) -> dict[str, int | str]:
    """Read choices from texts ``POOL=BRANCH``, as the command line takes them, for ``resolve`` to complete.

    Args:
        supergraph: Whose pools are meant.
        pairs: ``POOL=BRANCH``, the branch by name or index. Both names may contain ``=``.

    Raises:
        SelectionError: A text has no ``=``, or a pool is named twice differently.
    """
    found: dict[str, int | str] = {}
    for pair in pairs:
        pool, branch = _cut(supergraph, pair)
        if not pool:
            raise SelectionError(f"'{pair}' is no selection; expected POOL=BRANCH, for example conv1=Identity")
        if found.get(pool, branch) != branch:
            raise SelectionError(f"pool '{pool}' is selected twice: '{found[pool]}' and '{branch}'")
        found[pool] = branch
    return found


def from_json(text: str) -> dict[str, int | str]:
    """Read the choices that ``Selection.to_json`` wrote; ``resolve`` checks them against a supergraph.

    Raises:
        SelectionError: The text is not a JSON object of branch names or indices.
    """
    try:
        choices = json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:  # of a number of thousands of digits: a bare ValueError
        raise SelectionError(f"a selection must be JSON, this is not: {error}") from error
    if not isinstance(choices, dict):
        raise SelectionError('a selection must be a JSON object {"POOL": "BRANCH", ...}')
    for pool, branch in choices.items():
        if isinstance(branch, bool) or not isinstance(branch, int | str):
            raise SelectionError(f"pool '{pool}': {json.dumps(branch)} is no branch; expected a name or an index")
    return choices


def count(supergraph: SuperGraph) -> int:
    """Return how many selections there are."""
    return math.prod(len(pool.branches) for pool in supergraph.pools)


def every(supergraph: SuperGraph) -> Iterator[Selection]:
    """Iterate over all selections, the last pool varying fastest."""
    for indices in itertools.product(*(range(len(pool.branches)) for pool in supergraph.pools)):
        yield _selection(supergraph, indices)


def sample(supergraph: SuperGraph, *, seed: int) -> Iterator[Selection]:
    """Iterate without end over selections drawn uniformly and independently."""
    generator = random.Random(seed)
    while True:
        yield _selection(supergraph, [generator.randrange(len(pool.branches)) for pool in supergraph.pools])


def _selection(supergraph: SuperGraph, indices: Iterable[int]) -> Selection:
    chosen = tuple(indices)
    pools = supergraph.pools
    names = tuple(pool.branches[i].name for pool, i in zip(pools, chosen, strict=True))
    return Selection(tuple(pool.name for pool in pools), chosen, names)


def _cut(supergraph: SuperGraph, pair: str) -> tuple[str, str]:
    """Cut a text at the ``=`` that leaves a pool and one of its branches; failing that, a pool; or at the last."""
    places = [place for place, character in enumerate(pair) if character == "="]
    cuts = [(pair[:place], pair[place + 1 :]) for place in reversed(places)]
    known = [(pool, branch) for name, branch in cuts if (pool := supergraph.pool(name)) is not None]
    fitting = [(pool, branch) for pool, branch in known if _find(pool, branch) is not None]
    for pool, branch in (*fitting, *known):
        return pool.name, branch
    return cuts[0] if cuts else ("", pair)


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    choices: dict[str, object] = {}
    for pool, branch in pairs:
        if choices.setdefault(pool, branch) != branch:
            raise SelectionError(f"pool '{pool}' is selected twice: '{choices[pool]}' and '{branch}'")
    return choices


def _find(pool: Pool, branch: int | str) -> int | None:
    """Return the index of a branch that is given by its name or index, or None."""
    index = pool.index(branch) if isinstance(branch, str) else branch
    if index is None and isinstance(branch, str) and branch.isascii() and branch.isdigit() and len(branch) < 10:
        index = int(branch)
    return index if isinstance(index, SupportsIndex) and 0 <= index < len(pool.branches) else None


def _index(pool: Pool, branch: int | str) -> int:
    index = _find(pool, branch)
    if index is None:
        known = ", ".join(f"{i} '{own.name}'" for i, own in enumerate(pool.branches))
        raise SelectionError(f"pool '{pool.name}' has no branch '{branch}'; its branches are: {known}")
    return index


def _heaviest(pool: Pool) -> int:
    weights = [branch.weight for branch in pool.branches]
    stored = [weight for weight in weights if weight is not None]
    if len(stored) < len(weights):
        raise SelectionError(
            f"pool '{pool.name}': its weights are computed in the graph, not stored, so there is no default; "
            f"choose a branch: --select {pool.name}={pool.branches[0].name}"
        )
    return stored.index(max(stored))
