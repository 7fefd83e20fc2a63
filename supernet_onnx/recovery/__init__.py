"""Pools whose functions another tool has inlined, found again by what is left of them in the graph.

onnx's inliner puts the body of a pool's function where the mark was, and onnxruntime does so in every model that it
writes; its optimizer then computes the weights. What stays is ``Sum(Mul(Where(w_i == 0, 0, branch_i), w_i), ...)``,
the name of the sum, and the model's metadata, where the export keeps what the marks said. A pool that another tool
wrote differently is not guessed at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet_onnx import marks
from supernet_onnx.recovery import record
from supernet_onnx.recovery.mixtures import Search
from supernet_onnx.recovery.restoring import Restoring

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import ModelProto

    from supernet_onnx.graph import Wiring

__all__ = ["Recovery", "record", "recover"]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What became of the pools whose marks a tool removed.

    Attributes:
        model: A copy with a mark in place of each function that was inlined; the model itself if there is none.
        pools: The names of the pools that were recovered.
        unnamed: Those of them whose branches have no names left; they are called ``branch_0``, ``branch_1``, ...
        lost: The names of the pools that the metadata tell of, but that are not found any more; without metadata the
            outputs of what can be nothing but a pool of unknown name.
    """

    model: ModelProto
    pools: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of it, a sentence each."""
        notes = []
        if self.pools:
            notes.append(f"a tool had inlined the pool functions; recovered: {_listed(self.pools)}")
        if self.unnamed:
            notes.append(f"the branches have no names any more and are called branch_0, ...: {_listed(self.unnamed)}")
        if self.lost:
            notes.append(f"a tool has rewritten pools, which cannot be selected any more: {_listed(self.lost)}")
        return tuple(notes)


def recover(model: ModelProto, wiring: Wiring) -> Recovery:
    """Recover the pools that were inlined in the main graph.

    Args:
        model: Not changed.
        wiring: Of its main graph, which holds together.
    """
    known = record.kept(model)
    missing = known.keys() - {wiring.makes[index][0] for index in wiring.pools}
    if not missing and (known or wiring.pools or not _was_marked(model)):
        return Recovery(model)
    made = {name: index for index, makes in enumerate(wiring.makes) for name in makes if name}
    places = sorted(made[name] for name in missing if name in made) if known else range(len(wiring.nodes))
    search = Search(model, wiring, made)
    found = {index: mixture for index in places if (mixture := search.mixture(index)) is not None}
    restoring = Restoring(model, wiring, known)
    restored = restoring.of(found)
    names = tuple(dict.fromkeys(mark.pool for mark in restoring.written.values()))
    left = missing - {wiring.makes[index][0] for index in restoring.written}
    there = {mark.pool for output, mark in known.items() if output not in left}
    lost = dict.fromkeys(known[output].pool for output in known if output in left)
    rewritten = {known[output].pool for output in left & made.keys()}
    gone = [pool for pool in lost if pool not in there or pool in rewritten]
    unknown = [wiring.makes[index][0] for index in found if index not in restoring.written and not known]
    return Recovery(restored, names, tuple(restoring.unnamed), (*gone, *unknown))


def _was_marked(model: ModelProto) -> bool:
    return any(entry.key == marks.FORMAT_KEY for entry in model.metadata_props) or any(
        entry.domain == marks.DOMAIN for entry in model.opset_import
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(f"'{name}'" for name in names[:8]) + more
