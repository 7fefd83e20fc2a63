"""Bilevel training, first order: branches on one loader, the logits that weigh them on another.

One problem is inside of the other: which logits are best depends on the branches that are best for them. As in DARTS
(Differentiable Architecture Search, Liu et al., arXiv 1806.09055, section 2.3, with xi = 0), each step moves the logits
by the gradient on a batch of held-out data, the branches as they are, and then the branches on a batch of training
data. The loop stays the user's:

    net_optimizer, nas_optimizer = optimizers(net, net_lr=1e-3, nas_lr=3e-3, weight_decay=1e-2)
    logits = LogitStep(net, nas_optimizer, held_out_loader)
    for images, labels in loader:
        logits.step(lambda batch: cross_entropy(net(batch[0]), batch[1]) + duccio(net))
        loss = cross_entropy(net(images), labels)
        net_optimizer.zero_grad()
        loss.backward()
        net_optimizer.step()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypedDict, TypeVar

import torch
from torch import Tensor

from supernet_onnx.train.curves import count, finite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from supernet_onnx.train.supernet import SuperNet

__all__ = ["Endless", "EndlessState", "LogitStep", "optimizers"]

Batch = TypeVar("Batch")

_BETAS: Final = (0.5, 0.999)  # of Adam on the logits, as in DARTS


def optimizers(
    net: SuperNet,
    *,
    net_lr: float,
    nas_lr: float,
    weight_decay: float = 0.0,
    make: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Return an optimizer for everything but the logits, and Adam for the logits.

    Weight decay is for the layers: it would pull logits towards each other and undo decisions, and the common mistake
    of giving an optimizer ``net.parameters()`` does just that. Parameters of one dim or none (biases, BatchNorm) are
    not decayed either.

    Args:
        net: Its parameters are divided, each in one group of one optimizer.
        net_lr: The learning rate of the layers.
        nas_lr: That of the logits.
        weight_decay: Of the layers' weights.
        make: Makes the layers' optimizer from groups: a class of ``torch.optim``, or
            ``functools.partial(torch.optim.SGD, momentum=0.9)``.

    Raises:
        ValueError: A rate or the weight decay is not a finite number of at least 0.
    """
    for name, value in (("net_lr", net_lr), ("nas_lr", nas_lr), ("weight_decay", weight_decay)):
        finite(**{name: value})
        if value < 0:
            raise ValueError(f"{name} must be at least 0, not {value}")
    parameters = list(net.net_parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    layers = make([group for group in groups if group["params"]], lr=net_lr)
    return layers, torch.optim.Adam(net.nas_parameters(), lr=nas_lr, betas=_BETAS, weight_decay=0.0)


class EndlessState(TypedDict):
    """Where ``Endless`` is.

    Attributes:
        taken: How many batches of this pass were taken.
        generator: The state of the loader's generator (torch's global one if it has none) when this pass began.
    """

    taken: int
    generator: Tensor


class Endless(Generic[Batch]):
    """The batches of a loader without end: a new pass begins when one is over, and shuffles anew if the loader does.

    Args:
        loader: A ``DataLoader``, or anything else that can be iterated over again and again. Give it a generator of
            its own, so that a resumed search sees the batches that it would have seen.

    Raises:
        ValueError: In ``next``: the loader gives no batch.
    """

    def __init__(self, loader: Iterable[Batch]) -> None:
        self._loader = loader
        self._batches: Iterator[Batch] | None = None
        self._taken = 0
        self._began = self._generator_state()

    def __iter__(self) -> Endless[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._batches is not None:
            for batch in self._batches:
                self._taken += 1
                return batch
        self._begin()
        assert self._batches is not None
        for batch in self._batches:
            self._taken = 1
            return batch
        raise ValueError("the loader gives no batch; it is empty, or an iterator that can be gone through only once")

    def state_dict(self) -> EndlessState:
        """Return where this pass is."""
        return {"taken": self._taken, "generator": self._began.clone()}

    def load_state_dict(self, state: EndlessState) -> None:
        """Go to that place: begin the pass anew from its generator state, and go through the batches already taken.

        A loader without a generator of its own draws from torch's global one, whose state is left as it is.
        """
        taken = count(taken=state["taken"], least=0)
        generator = getattr(self._loader, "generator", None)
        with torch.random.fork_rng(devices=[], enabled=generator is None):
            (torch.set_rng_state if generator is None else generator.set_state)(state["generator"])
            self._batches, self._taken = None, 0
            if not taken:
                self._began = state["generator"].clone()
            for _ in range(taken):
                next(self)

    def _begin(self) -> None:
        self._began = self._generator_state()
        self._batches = iter(self._loader)

    def _generator_state(self) -> Tensor:
        generator = getattr(self._loader, "generator", None)
        state: Tensor = torch.get_rng_state() if generator is None else generator.get_state()
        return state


class LogitStep(Generic[Batch]):
    """Moves the logits by the gradient on the next batch of a second loader, a fresh one for each step.

    While the logits are frozen (``WarmUp``, ``net.train_selection = False``) nothing is done and no batch is taken.
    During the step only logits are trained, so no gradients of layers are computed; then all is as it was before.
    Under DistributedDataParallel, which must not miss a gradient, wrap with ``find_unused_parameters=True``.

    Args:
        net: Its logits are moved.
        optimizer: That of the logits.
        loader: Held-out data, used without end.

    Attributes:
        batches: The loader without end; its ``state_dict`` belongs into a checkpoint.
    """

    def __init__(self, net: SuperNet, optimizer: torch.optim.Optimizer, loader: Iterable[Batch]) -> None:
        self._net = net
        self._optimizer = optimizer
        self.batches = Endless(loader)

    def step(self, loss: Callable[[Batch], Tensor]) -> Tensor | None:
        """Do one step.

        Args:
            loss: Returns the loss of a batch, with all regularizers that are to act on the logits.

        Returns:
            The loss, without gradient; None if the logits are frozen.

        Raises:
            ValueError: The loss depends on no logit.
        """
        if not self._net.train_selection:
            return None
        frozen = [parameter for parameter in self._net.net_parameters() if parameter.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(False)
        try:
            self._optimizer.zero_grad()
            value = loss(next(self.batches))
            if not (isinstance(value, Tensor) and value.requires_grad):
                raise ValueError(
                    f"the loss depends on no logit, so there is no step to take; the task gives them no gradient with "
                    f"the sampling {self._net.sampling}: add net.cost or a regularizer to it, or sample otherwise"
                )
            value.backward()
            self._optimizer.step()
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)
        self._optimizer.zero_grad()
        return value.detach()
