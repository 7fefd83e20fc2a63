"""``SearchCallback``: the search's schedules, early stop and log in a Lightning ``Trainer``.

The one module that imports Lightning; nothing else imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from supernet_onnx.errors import MissingPackageError
from supernet_onnx.train.schedule import StableSelection
from supernet_onnx.train.watching import scalars, take

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError as error:
    raise MissingPackageError(
        "supernet_onnx.train.lightning needs Lightning, which is not installed; pip install 'supernet-onnx[lightning]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from lightning.pytorch import LightningModule, Trainer

    from supernet_onnx.train.supernet import SuperNet

__all__ = ["SearchCallback", "Stepping"]


class Stepping(Protocol):
    """What goes on epoch by epoch: the schedules, ``DUCCIO``, ``AuxiliarySkip``, ``StableSelection``."""

    def step(self) -> object:
        """Go on to the next epoch."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return what it remembers."""

    def load_state_dict(self, state: Any, /) -> None:  # noqa: ANN401 - each knows its own state
        """Continue from there."""


class SearchCallback(Callback):
    """Logs a supernet and steps what changes it, at the end of every training epoch.

    - ``weights/POOL/BRANCH``, ``entropy``, ``expected/COST``, ``selected/COST`` and so on (``watching.scalars``) go to
      the module's log, and so to every logger of the trainer.
    - ``step()`` is called on the parts; the trainer stops once a ``StableSelection`` among them says so.
    - Their states are in the trainer's checkpoints, and are restored from there.

        search = SearchCallback(net, temperature=TemperatureSchedule(net, curve), duccio=duccio)
        Trainer(callbacks=[search]).fit(module, loader)

    Args:
        net: The supernet, which the Lightning module trains.
        parts: What to step, by names of the user's own, which are those in the checkpoint.
    """

    def __init__(self, net: SuperNet, **parts: Stepping) -> None:
        self._net = net
        self._parts = parts

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch, then step the parts."""
        pl_module.log_dict(scalars(take(self._net)), on_step=False, on_epoch=True)
        for part in self._parts.values():
            part.step()
        if any(isinstance(part, StableSelection) and part.is_stable for part in self._parts.values()):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the parts."""
        return {name: dict(part.state_dict()) for name, part in self._parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the parts' states.

        Raises:
            ValueError: The checkpoint is of a search with other parts.
        """
        if set(state_dict) != set(self._parts):
            raise ValueError(
                f"the checkpoint has the states of {_listed(state_dict)}, the callback has {_listed(self._parts)}; "
                "make it with the same parts"
            )
        for name, part in self._parts.items():
            part.load_state_dict(state_dict[name])


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "nothing"
