"""Ways to sample by their names, and as the tensors that a ``state_dict`` holds."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from supernet_onnx.train.sampling.paths import SinglePath, TwoPath, Uniform
from supernet_onnx.train.sampling.weighted import Gumbel, Hard, Softmax

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supernet_onnx.train.sampling.mode import Sampling

__all__ = ["from_name", "from_state", "to_state"]

_NAMED: Final[Mapping[str, Sampling]] = {
    "softmax": Softmax(),
    "gumbel": Gumbel(),
    "gumbel_hard": Gumbel(hard=True),
    "hard": Hard(),
    "single_path": SinglePath(),
    "two_path": TwoPath(),
    "uniform": Uniform(),
}
_CLASSES: Final[Mapping[str, type[Sampling]]] = {type(mode).__name__: type(mode) for mode in _NAMED.values()}
_STATE_BYTES: Final = 512  # the same for every mode, for checkpoints that are loaded into tensors of their size


def from_name(name: str) -> Sampling:
    """Return the way to sample of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in _NAMED:
        raise ValueError(f"there is no sampling {name!r}; give an object of Sampling or one of {', '.join(_NAMED)}")
    return _NAMED[name]


def to_state(sampling: Sampling, temperature: float) -> Tensor:
    """Write a way to sample and a temperature as a tensor of bytes, JSON filled up with blanks.

    Raises:
        TypeError: A field of the user's class is nothing that JSON holds.
    """
    options: dict[str, object] = dataclasses.asdict(sampling) if dataclasses.is_dataclass(sampling) else {}
    state = {"temperature": temperature, "sampling": type(sampling).__name__, "options": options}
    return torch.tensor(list(json.dumps(state).encode().ljust(_STATE_BYTES)), dtype=torch.uint8)


def from_state(state: Tensor, present: Sampling) -> tuple[Sampling, float]:
    """Read what ``to_state`` wrote.

    Args:
        state: The tensor.
        present: What the pool has now; a class of the user's own is known from there.

    Raises:
        ValueError: The class is not known.
    """
    read = json.loads(bytes(state.tolist()))
    name = read["sampling"]
    known = {**_CLASSES, type(present).__name__: type(present)}
    if name not in known:
        raise ValueError(
            f"the state was saved with the sampling {name}, which is none of this package; "
            f"set net.sampling to an object of it before load_state_dict"
        )
    return known[name](**read["options"]), float(read["temperature"])
