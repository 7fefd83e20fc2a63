"""``SuperNetModule``: a layer that is a pool of alternative branches."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from supernet_onnx.errors import PoolError, SelectionError
from supernet_onnx.train import compiling, drawing, marking, outputs, sampling
from supernet_onnx.train.branches import name_branches
from supernet_onnx.train.distributed import whole
from supernet_onnx.train.sampling import Draw, Gumbel, Hard, Sampling, Softmax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from supernet_onnx.train.compiling import CallBranch

__all__ = ["CHOICES", "SuperNetModule", "pools_of"]

CHOICES: Final = object()
"""Its ``id`` is the key in the memo of a ``deepcopy`` under which pools find which branch to leave in their place."""


class SuperNetModule(nn.Module):
    """A pool: a drop-in layer whose alternatives are mixed while training learns which is best.

    Every branch takes the same arguments, whatever they are, and gives a floating-point tensor, or a structure of
    them (tuple, list, dict; None may stand in it), of one shape and dtype for all branches. What a training forward
    runs and mixes is up to ``sampling``, which ``SuperNet(..., sampling=)`` sets for all pools at once; the draw is
    made once for each forward of the supernet, however often the pool is used in it, or by a pool called on its own
    from torch's global generator, as dropout does. In ``eval`` nothing is drawn: the output is the mixture ``sum_i
    theta[i] * branch_i(...)`` with ``theta = softmax(alpha / temperature)``, or, if the sampling is discrete, that of
    the branch of largest logit alone.

    Args:
        branches: The alternatives, at least one: a mapping that names them, or an iterable, whose names are made
            from the classes: ``Conv2d``, ``Conv2d_1``, ``Identity``.
        gumbel_softmax: Sample with ``Gumbel(hard=hard_softmax)``.
        hard_softmax: Sample with ``Hard()``, without ``gumbel_softmax``.

    Attributes:
        alpha: The logits, ``(n,)``, each ``1 / n`` at first.
        scores: How much each branch helps the task, higher is better, ``(n,)``; -inf until ``train.score`` knows.
        branches: The alternatives, a ``nn.ModuleList``.
        branch_names: Their names.
        name: The qualified name of this module in its supernet, once a ``SuperNet`` found it.
        sampling: How training samples; it can be set at any time. ``Softmax()`` if nothing else is said.
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
        named = name_branches(branches)
        self.branches = nn.ModuleList(named.values())
        self.branch_names = tuple(named)
        self.name: str | None = None
        self.alpha = nn.Parameter(torch.full((len(named),), 1 / len(named)))
        self.register_buffer("scores", torch.full((len(named),), -torch.inf))
        self.sampling = _sampling_of(gumbel_softmax, hard_softmax)
        self._temperature = 1.0
        self._draws: sampling.Draws | None = None
        self._draw: Draw | None = None
        self._drawn: deque[tuple[int, Draw]] = deque(maxlen=drawing.KEPT)
        self._fixed: int | None = None
        self._watch = sampling.Watch()

    @property
    def gumbel_softmax(self) -> bool:
        """Whether the sampling is ``Gumbel``; setting it keeps ``hard_softmax``."""
        return isinstance(self.sampling, Gumbel)

    @gumbel_softmax.setter
    def gumbel_softmax(self, value: bool) -> None:
        self.sampling = _sampling_of(value, self.hard_softmax)

    @property
    def hard_softmax(self) -> bool:
        """Whether the sampling is ``Hard`` or ``Gumbel(hard=True)``; setting it keeps ``gumbel_softmax``."""
        return self.sampling.prices_choice

    @hard_softmax.setter
    def hard_softmax(self, value: bool) -> None:
        self.sampling = _sampling_of(self.gumbel_softmax, value)

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

    @property
    def logits(self) -> Tensor:
        """``alpha`` as a plain tensor: where ``fully_shard`` left each process a part of it, gathered from all."""
        return whole(self.alpha)

    def theta(self) -> Tensor:
        """Return the weights without noise, ``softmax(alpha / temperature)``, ``(n,)``; differentiable."""
        return sampling.softmax(self.logits, self._temperature)

    def mixing_weights(self) -> Tensor:
        """Return the weights that ``eval`` mixes by, ``(n,)``, without gradient: one-hot if it takes one branch."""
        return sampling.one_hot(self.logits) if self.sampling.is_discrete else self.theta().detach()

    def selected(self) -> int:
        """Return the index of the largest logit, the first of equals."""
        return int(self.logits.detach().argmax())

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

    def forward(self, *args: object, **kwargs: object) -> object:
        """Run branches on the arguments, and mix what they give.

        Raises:
            PoolError: The outputs do not fit together, or a branch changes its input in place.
        """
        export = marking.current()
        if export is not None:
            return self._mark(export, args, kwargs)
        way = self.sampling
        if self._fixed is not None or (way.chooses if self.training else way.is_discrete):
            if torch.compiler.is_dynamo_compiling():
                return compiling.apart(functools.partial(self._run_path, args, kwargs))
            return self._run_path(args, kwargs)
        if not self.training:
            return self._mix(self.theta(), None, args, kwargs)
        draw = self._current_draw() if way.draws else None
        return self._mix(drawing.weigh(self, draw), draw, args, kwargs)

    def _run_path(
        self, args: tuple[object, ...], kwargs: dict[str, object], call: CallBranch = compiling.call
    ) -> object:
        """Run the branches that are chosen on the host."""
        if self._fixed is not None:
            return call(self.branches[self._fixed], args, kwargs)
        if not self.training:
            return call(self.branches[self.selected()], args, kwargs)
        draw = self._current_draw()
        return self._mix(drawing.weigh(self, draw), draw, args, kwargs, call=call)

    def _current_draw(self) -> Draw:
        """Return the draw of the supernet's forward, also where its backward recomputes activations; else an own."""
        if self._draw is not None and self._draws is not None:
            if self._draws.under_way:
                return self._draw
            if drawing.is_in_backward():
                return drawing.recall(self._drawn)
        return drawing.draw_alone(self)

    def _mix(
        self,
        theta: Tensor | None,
        draw: Draw | None,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        *,
        call: CallBranch = compiling.call,
    ) -> object:
        """Run the branches of a draw, all without one, and mix their outputs or take one of them."""
        branches = tuple(range(len(self.branches))) if draw is None else draw.branches
        taken = None if draw is None else draw.taken
        if theta is None or (taken is not None and not theta.requires_grad):
            return call(self.branches[branches[taken or 0]], args, kwargs)
        leaves, structure = self._run(args, kwargs, branches, taken, call)
        if taken is not None:
            mixed = [sampling.choose(theta, taken, tensors, self._watch) for tensors in zip(*leaves, strict=True)]
        elif self.training:
            mixed = [sampling.mix(theta, tensors) for tensors in zip(*leaves, strict=True)]
        else:
            mixed = [sampling.mix(theta, sampling.drop(theta, tensors)) for tensors in zip(*leaves, strict=True)]
        return structure.rebuild(mixed)

    def get_extra_state(self) -> Tensor:
        """Return temperature and sampling as a tensor, for ``state_dict``."""
        return sampling.to_state(self.sampling, self._temperature)

    def set_extra_state(self, state: Tensor) -> None:
        """Take temperature and sampling from a ``state_dict``."""
        self.sampling, self.temperature = sampling.from_state(state, self.sampling)

    def extra_repr(self) -> str:
        """Describe the pool's mode for ``print(model)``."""
        return f"temperature={self._temperature}, sampling={self.sampling}"

    def _where(self, index: int) -> str:
        """Name the pool and one of its branches for a message."""
        pool = f"pool '{self.name}'" if self.name else f"pool of {', '.join(self.branch_names)}"
        return f"{pool}, branch '{self.branch_names[index]}'"

    def _mark(self, export: marking.Marking, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """Run the branches and write a mark where their outputs meet, one for each tensor of a structure."""
        call = export.begin_call(self.name)
        leaves, structure = self._run(args, kwargs, range(len(self.branches)))
        assert self.name is not None
        marked = [export.emit(self.name, call, self.branch_names, tensors) for tensors in zip(*leaves, strict=True)]
        return structure.rebuild(marked)

    def _run(
        self,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        branches: Sequence[int],
        taken: int | None = None,
        call: CallBranch = compiling.call,
    ) -> tuple[list[list[Tensor]], outputs.Structure]:
        """Run branches; return the tensors that each gives, and how they are structured.

        Where one of them is taken, the others run for their outputs alone, and keep their running statistics.
        """
        inputs = outputs.versioned((args, kwargs)) if len(branches) > 1 else []
        versions = [leaf._version for leaf in inputs]
        flat: list[list[Tensor]] = []
        first: outputs.Structure | None = None
        for place, index in enumerate(branches):
            branch = self.branches[index]
            with contextlib.nullcontext() if taken is None or place == taken else outputs.undisturbed(branch):
                leaves, structure = outputs.flatten(call(branch, args, kwargs))
            if [leaf._version for leaf in inputs] != versions:
                raise PoolError(
                    f"{self._where(index)}: changes its input in place, so the other branches would see the change; "
                    "use an operation that returns a new tensor (inplace=False)"
                )
            first = structure if first is None else first
            outputs.check(
                leaves,
                flat[0] if flat else leaves,
                same=structure is first or structure == first,
                where=functools.partial(self._where, index),
                first_name=functools.partial(self.branch_names.__getitem__, branches[0]),
            )
            flat.append(leaves)
        assert first is not None
        return flat, first


def _sampling_of(gumbel: bool, hard: bool) -> Sampling:
    """Return the sampling that the two options of ``SuperNetModule`` stand for."""
    if gumbel:
        return Gumbel(hard=hard)
    return Hard() if hard else Softmax()


def pools_of(model: nn.Module) -> Iterator[tuple[str, SuperNetModule]]:
    """Iterate over the pools of a model and their qualified names, each once; a pool inside comes after its outer."""
    for name, module in model.named_modules():
        if isinstance(module, SuperNetModule):
            yield name or "model", module
