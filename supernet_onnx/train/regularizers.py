"""What a cost adds to the loss: in proportion (``Strength``), or where it is over its target (``DUCCIO``).

Both are called on the net, and return a scalar that is differentiable in the logits:

    loss = task_loss + regularizer(net)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, TypedDict

import torch
from torch import Tensor

from supernet_onnx.train.curves import Linear, count, finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supernet_onnx.train.supernet import SuperNet

__all__ = ["DUCCIO", "DuccioState", "Regularizer", "Strength", "normalized"]

_FIRST: Final = 1 / 100  # of the final strength, at the start of the ramp (arXiv 2206.00302)
_LEAST_EXCESS: Final = 0.1  # of the distance between smallest and largest subnet


class Regularizer(ABC):
    """A term of the loss: ``strength`` times something of the net that is differentiable in its logits.

    Args:
        strength: At least 0; it may be set at any time, by a curve of ``supernet_onnx.train.curves`` for instance.

    Raises:
        ValueError: The strength is negative or not finite.
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength

    @property
    def strength(self) -> float:
        """What the term is multiplied by."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        finite(strength=value)
        if value < 0:
            raise ValueError(
                f"strength must be at least 0, not {value}; a negative one would reward what it is against"
            )
        self._strength = float(value)

    def __call__(self, net: SuperNet) -> Tensor:
        """Return the term of the loss, a scalar."""
        return self._strength * self._amount(net)

    @abstractmethod
    def _amount(self, net: SuperNet) -> Tensor:
        """Return what the strength multiplies, a scalar."""


class Strength(Regularizer):
    """``strength * cost``: every unit of cost weighs the same, whatever the budget.

    Args:
        cost: The cost's name; None if the net has a single one.
        strength: What a unit of the cost is worth in units of the loss; at least 0.
        normalize: Count the cost from 0 for the smallest subnet to 1 for the largest, so that one strength, such as
            1, suits any metric and network.

    Raises:
        ValueError: The strength is negative or not finite; when called: there is no such cost, or ``normalize`` where
            every selection costs the same.
    """

    def __init__(self, cost: str | None, strength: float, *, normalize: bool = False) -> None:
        super().__init__(strength)
        self.cost = cost
        self.normalize = normalize

    def _amount(self, net: SuperNet) -> Tensor:
        return normalized(net, self.cost) if self.normalize else net.get_cost(self.cost)


def normalized(net: SuperNet, cost: str | None = None) -> Tensor:
    """Return ``(cost - minimum) / (maximum - minimum)``, the extremes being exact over all selections.

    Args:
        net: Not changed.
        cost: The cost's name; None if the net has a single one.

    Raises:
        ValueError: There is no such cost, or every selection costs the same.
    """
    low, high = net.cost_range(cost)
    if high == low:
        raise ValueError(
            f"{_describe(cost)} is {low} under every selection, so nothing can be normalized; leave it out"
        )
    return (net.get_cost(cost) - low) / (high - low)


class DuccioState(TypedDict):
    """What ``DUCCIO`` remembers.

    Attributes:
        epoch: How many ``step()`` calls there were.
        final_strengths: By cost; empty before the first call, if they were to follow from the task loss.
    """

    epoch: int
    final_strengths: dict[str, float]


class DUCCIO:
    """Meets several constraints at once: ``sum_i strength_i * max(0, cost_i - target_i)``.

    The method, named so by its authors, is that of Burrello et al. (arXiv 2206.00302; several constraints: arXiv
    2310.07217). A cost that meets its target weighs nothing. Each strength rises from 1/100 of its final value to the
    whole over the first half of the epochs, linearly, so that the branches are compared before the constraints decide.

    The final value may be given, or follows from the task loss: ``task_loss / (cost_i - target_i)`` at the first
    call, so that an overshoot as large as that one costs as much as the task. Where the cost is near its target or
    below it, this would be unbounded or negative; so the overshoot is taken for a tenth of ``maximum - minimum`` over
    all selections, if it is smaller than that. A constraint is never without force, and never explodes.

    The costs are expected ones. Anneal the temperature, so that they end as those of the selection, but after the ramp:
    a mixture that is cold before the constraints have their strength hardly moves any more. It is
    ``supernet_onnx.search`` that chooses under a budget without fail.

        duccio = DUCCIO({"params": 20_000, "macs": 2_000_000}, task_loss=0.5, epochs=50)
        for epoch in range(50):
            for images, labels in loader:
                loss = cross_entropy(net(images), labels) + duccio(net)
                ...
            duccio.step()

    Args:
        targets: The largest allowed value of each cost, by the names that ``SuperNet(cost={...})`` gave them. As
            ``net.get_cost`` counts them: what no selection can remove belongs to them with ``full_cost=True`` only.
        task_loss: The task loss that is expected of a trained network, or is measured now; above 0.
        final_strengths: Instead, the final strength of each cost, above 0.
        epochs: The length of the search; half of it is the ramp.

    Raises:
        ValueError: An argument is out of range, both or none of ``task_loss`` and ``final_strengths`` are given, or
            their names differ from those of the targets; when called: there is no such cost, or no selection meets a
            target.
    """

    def __init__(
        self,
        targets: Mapping[str, float],
        *,
        task_loss: float | None = None,
        final_strengths: Mapping[str, float] | None = None,
        epochs: int,
    ) -> None:
        finite(**targets)
        if not targets:
            raise ValueError('DUCCIO needs at least one target: DUCCIO({"params": 20_000}, ...)')
        if (task_loss is None) == (final_strengths is None):
            raise ValueError("give either task_loss, from which the strengths follow, or final_strengths")
        if final_strengths is not None and set(final_strengths) != set(targets):
            raise ValueError(
                f"final_strengths are of {_listed(final_strengths)}, the targets of {_listed(targets)}; "
                "give one strength for each target"
            )
        _check_positive(**({"task_loss": task_loss} if task_loss is not None else final_strengths or {}))
        self.targets = {name: float(target) for name, target in targets.items()}
        self._task_loss = task_loss
        self._final = {name: float(value) for name, value in (final_strengths or {}).items()}
        self._ramp = Linear(_FIRST, 1.0, steps=max(count(epochs=epochs) // 2, 1))
        self._epoch = 0

    def __call__(self, net: SuperNet) -> Tensor:
        """Return the term of the loss, a scalar; 0 where every constraint is met."""
        terms = []
        for name, target in self.targets.items():
            cost = net.get_cost(name)
            low, high = net.cost_range(name)
            if target < low:
                raise ValueError(
                    f"no selection meets the target of {target:g} for {_describe(name)}: the smallest subnet has "
                    f"{low:g}; raise the target or add smaller branches"
                )
            strength = self._final_strength(name, float(cost.detach()), high - low) * self._ramp(self._epoch)
            terms.append(strength * torch.relu(cost - target))
        return torch.stack(terms).sum()

    @property
    def strengths(self) -> dict[str, float]:
        """The strength of each cost in this epoch; empty before the first call, if they follow from the task loss."""
        return {name: final * self._ramp(self._epoch) for name, final in self._final.items()}

    def step(self) -> None:
        """Go on to the next epoch's strengths."""
        self._epoch += 1

    def state_dict(self) -> DuccioState:
        """Return the epoch and the final strengths; the targets belong to the program."""
        return {"epoch": self._epoch, "final_strengths": dict(self._final)}

    def load_state_dict(self, state: DuccioState) -> None:
        """Continue with the strengths of a saved state."""
        self._epoch = count(epoch=state["epoch"], least=0)
        self._final = dict(state["final_strengths"])

    def _final_strength(self, name: str, cost: float, distance: float) -> float:
        """Return the final strength of a cost; it is worked out at the first call, and kept."""
        if name not in self._final:
            assert self._task_loss is not None
            overshoot = max(cost - self.targets[name], _LEAST_EXCESS * distance)
            self._final[name] = self._task_loss / overshoot if overshoot > 0 else 0.0  # 0: all selections cost the same
        return self._final[name]


def _check_positive(**values: float) -> None:
    finite(**values)
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{name} must be above 0, not {value}; a constraint would have no force")


def _describe(cost: str | None) -> str:
    return "the cost" if cost is None else f"the cost '{cost}'"


def _listed(names: Mapping[str, float]) -> str:
    return ", ".join(map(repr, names)) or "nothing"
