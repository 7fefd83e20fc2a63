"""``SuperNetModule``: a layer that is a pool of alternative branches."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from supernet_onnx.errors import PoolError, SelectionError
from supernet_onnx.train import marking, sampling

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CHOICES", "SuperNetModule", "pools_of"]

CHOICES: Final = object()
"""Its ``id`` is the key in the memo of a ``deepcopy`` under which pools find which branch to leave in their place."""


class SuperNetModule(nn.Module):
    """A pool: a drop-in layer whose alternatives are mixed while training learns which is best.

    Every branch takes the same arguments, whatever they are, and gives a floating-point tensor, or a structure of
    them (tuple, list, dict; None may stand in it), of one shape and dtype for all branches. While training the
    output is

    - ``sum_i theta[i] * branch_i(...)`` with ``theta = softmax(alpha / temperature)`` (DARTS);
    - the same with Gumbel noise on ``alpha``, drawn anew for each forward of the supernet (``gumbel_softmax``);
    - the branch of largest weight alone, with a straight-through gradient to every logit (``hard_softmax``).

    In ``eval`` the noise is off, and a hard pool runs its chosen branch only.

    Args:
        branches: The alternatives, at least one: a mapping that names them, or an iterable, whose names are made
            from the classes: ``Conv2d``, ``Conv2d_1``, ``Identity``.
        gumbel_softmax: Sample the weights while training.
        hard_softmax: Use the largest weight's branch alone.

    Attributes:
        alpha: The logits, ``(n,)``, each ``1 / n`` at first.
        scores: How much each branch helps the task, higher is better, ``(n,)``; -inf until ``train.score`` knows.
        branches: The alternatives, a ``nn.ModuleList``.
        branch_names: Their names.
        name: The qualified name of this module in its supernet, once a ``SuperNet`` found it.
        temperature: Divides the logits; larger is flatter.

    Raises:
        PoolError: There is no branch, or two have one name.
        TypeError: A branch is no ``nn.Module``.
    """

    scores: Tensor

    def __init__(
        self,
        branches: Mapping[str, nn.Module] | nn.ModuleDict | Iterable[nn.Module],
        gumbel_softmax: bool = False,
        hard_softmax: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(branches, Mapping | nn.ModuleDict):
            names, modules = [str(name) for name in branches], list(branches.values())
        else:
            modules = list(branches)
            names = _class_names(modules)
        _check_branches(names, modules)
        self.branches = nn.ModuleList(modules)
        self.branch_names = tuple(names)
        self.name: str | None = None
        self.alpha = nn.Parameter(torch.full((len(modules),), 1 / len(modules)))
        self.register_buffer("scores", torch.full((len(modules),), -torch.inf))
        self.gumbel_softmax = gumbel_softmax
        self.hard_softmax = hard_softmax
        self._temperature = 1.0
        self._noise: Tensor | None = None

    @property
    def temperature(self) -> float:
        """What divides the logits; above 0."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        if not 0 < value < float("inf"):
            raise ValueError(f"temperature must be a positive number, not {value}")
        self._temperature = float(value)

    def __len__(self) -> int:
        """Return the number of branches."""
        return len(self.branches)

    def __getitem__(self, index: int) -> nn.Module:
        """Return the branch at an index."""
        return self.branches[index]

    def __deepcopy__(self, memo: dict[int, object]) -> nn.Module:
        """Copy the pool, or its chosen branch where the copy is to be of the chosen network."""
        choices = memo.get(id(CHOICES))
        if isinstance(choices, Mapping) and self in choices:
            return copy.deepcopy(self.branches[choices[self]], memo)
        copied = memo[id(self)] = type(self).__new__(type(self))
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def theta(self) -> Tensor:
        """Return the weights without noise, ``softmax(alpha / temperature)``, ``(n,)``; differentiable."""
        return sampling.softmax(self.alpha, self._temperature)

    def mixing_weights(self) -> Tensor:
        """Return the weights that ``eval`` mixes by, ``(n,)``, without gradient: one-hot if the pool is hard."""
        return sampling.one_hot(self.alpha) if self.hard_softmax else self.theta().detach()

    def selected(self) -> int:
        """Return the index of the largest logit, the first of equals."""
        return int(self.alpha.detach().argmax())

    def find(self, branch: str | int) -> int:
        """Return the index of a branch given by name or index.

        Raises:
            SelectionError: There is no such branch.
        """
        if isinstance(branch, str) and branch in self.branch_names:
            return self.branch_names.index(branch)
        if isinstance(branch, int) and not isinstance(branch, bool) and 0 <= branch < len(self):
            return branch
        raise SelectionError(
            f"pool '{self.name}' has no branch {branch!r}; its branches are: {', '.join(self.branch_names)}"
        )

    def draw(self) -> None:
        """Draw the Gumbel noise of the coming forward, once for all calls of this pool; none if it needs none."""
        self._noise = sampling.gumbel_noise(self.alpha) if self.gumbel_softmax and self.training else None

    def forward(self, *args: object, **kwargs: object) -> object:
        """Run the branches on the arguments and mix what they give.

        Raises:
            PoolError: The outputs do not fit together, or a branch changes its input in place.
        """
        export = marking.current()
        if export is not None:
            return self._mark(export, args, kwargs)
        if self.hard_softmax and not self.training:
            return self.branches[self.selected()](*args, **kwargs)
        noise = self._noise if self.training else None
        if noise is None and self.gumbel_softmax and self.training:
            noise = sampling.gumbel_noise(self.alpha)
        theta = sampling.softmax(self.alpha, self._temperature, noise)
        leaves, structure = self._run(args, kwargs)
        if self.hard_softmax:
            index = self.selected() if noise is None else int((self.alpha + noise).argmax())
            mixed = [sampling.choose(theta, index, outputs) for outputs in zip(*leaves, strict=True)]
        elif not self.training:
            mixed = [sampling.mix(theta, sampling.drop(theta, outputs)) for outputs in zip(*leaves, strict=True)]
        else:
            mixed = [sampling.mix(theta, outputs) for outputs in zip(*leaves, strict=True)]
        return structure.rebuild(mixed)

    def get_extra_state(self) -> Tensor:
        """Return temperature and mode as a tensor, for ``state_dict``."""
        return torch.tensor([self._temperature, self.gumbel_softmax, self.hard_softmax], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take temperature and mode from a ``state_dict``."""
        temperature, gumbel, hard = state.tolist()
        self.temperature, self.gumbel_softmax, self.hard_softmax = temperature, bool(gumbel), bool(hard)

    def extra_repr(self) -> str:
        """Describe the pool's mode for ``print(model)``."""
        return (
            f"temperature={self._temperature}, gumbel_softmax={self.gumbel_softmax}, hard_softmax={self.hard_softmax}"
        )

    def _where(self, index: int) -> str:
        """Name the pool and one of its branches for a message."""
        pool = f"pool '{self.name}'" if self.name else f"pool of {', '.join(self.branch_names)}"
        return f"{pool}, branch '{self.branch_names[index]}'"

    def _mark(self, export: marking.Marking, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """Run the branches and write a mark where their outputs meet, one for each tensor of a structure."""
        call = export.begin_call(self.name)
        leaves, structure = self._run(args, kwargs)
        assert self.name is not None
        marked = [export.emit(self.name, call, self.branch_names, outputs) for outputs in zip(*leaves, strict=True)]
        return structure.rebuild(marked)

    def _run(self, args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[list[list[Tensor]], _Structure]:
        """Run every branch; return the tensors that each gives, and how they are structured."""
        inputs = _versioned((args, kwargs))
        versions = [leaf._version for leaf in inputs]
        flat: list[list[Tensor]] = []
        first: _Structure | None = None
        for index, branch in enumerate(self.branches):
            leaves, structure = _flatten(branch(*args, **kwargs))
            if [leaf._version for leaf in inputs] != versions:
                raise PoolError(
                    f"{self._where(index)}: changes its input in place, so the other branches would see the change; "
                    "use an operation that returns a new tensor (inplace=False)"
                )
            first = structure if first is None else first
            self._check_outputs(index, leaves, flat[0] if flat else leaves, structure == first)
            flat.append(leaves)
        assert first is not None
        return flat, first

    def _check_outputs(self, index: int, leaves: Sequence[object], first: Sequence[Tensor], same: bool) -> None:
        """Check one branch's outputs against those of the first branch."""
        if not same:
            raise PoolError(
                f"{self._where(index)}: its output is structured differently ({len(leaves)} tensors) from that of "
                f"branch '{self.branch_names[0]}' ({len(first)}); all branches must return the same structure"
            )
        if not leaves:
            raise PoolError(f"{self._where(index)}: its output holds no tensor; return what the pool is to mix")
        for leaf, expected in zip(leaves, first, strict=True):
            if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
                got = _describe(leaf) if isinstance(leaf, Tensor) else type(leaf).__name__
                raise PoolError(f"{self._where(index)}: output is {got}; only floating-point tensors can be mixed")
            if leaf.shape != expected.shape or (leaf.dtype != expected.dtype and not _is_autocast(leaf)):
                raise PoolError(
                    f"{self._where(index)}: output is {_describe(leaf)}, the pool expects {_describe(expected)} as "
                    f"branch '{self.branch_names[0]}' gives; make stride, padding and width of the branches agree"
                )


@dataclass(frozen=True, slots=True)
class _Structure:
    """How the tensors that a branch gives are structured.

    Attributes:
        spec: The structure of all leaves.
        is_none: Which leaves are None, such as the weights that attention does not give.
    """

    spec: pytree.TreeSpec
    is_none: tuple[bool, ...]

    def rebuild(self, tensors: Iterable[Tensor]) -> object:
        """Return tensors in this structure."""
        rest = iter(tensors)
        return pytree.tree_unflatten([None if none else next(rest) for none in self.is_none], self.spec)


def _flatten(output: object) -> tuple[list[Tensor], _Structure]:
    """Return what is to be mixed of a branch's output, and its structure."""
    leaves, spec = pytree.tree_flatten(output)
    return [leaf for leaf in leaves if leaf is not None], _Structure(spec, tuple(leaf is None for leaf in leaves))


def _describe(tensor: Tensor) -> str:
    """Write a tensor's dtype and shape as messages do: ``float32[2,8,4,4]``."""
    return f"{str(tensor.dtype).removeprefix('torch.')}[{','.join(str(size) for size in tensor.shape)}]"


def _versioned(arguments: object) -> list[Tensor]:
    """Return the tensors whose in-place changes torch counts: none of inference mode, none under torch.compile."""
    if torch.compiler.is_dynamo_compiling():
        return []
    return [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Tensor) and not leaf.is_inference()]


def _is_autocast(leaf: Tensor) -> bool:
    """Whether autocast gives each layer its dtype here, so that those of branches may differ; not so in a file."""
    device = leaf.device.type
    return marking.current() is None and torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


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


def pools_of(model: nn.Module) -> Iterator[tuple[str, SuperNetModule]]:
    """Iterate over the pools of a model and their qualified names, each once; a pool inside comes after its outer."""
    for name, module in model.named_modules():
        if isinstance(module, SuperNetModule):
            yield name or "model", module
