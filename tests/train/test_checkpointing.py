"""Activation checkpointing runs parts of a forward again in its backward, with what that forward drew."""

from collections.abc import Callable

import pytest
import torch
from modes import MODES, Linears, fresh
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from supernet_onnx import SuperNet
from supernet_onnx.train import drawing

Loss = Callable[[Callable[[Tensor], Tensor]], Tensor]


@pytest.fixture(scope="module")
def linears() -> SuperNet:
    torch.manual_seed(0)
    return SuperNet(Linears(), input_shape=(4,))


class Checkpointed(nn.Module):
    def __init__(self, inner: nn.Module, reentrant: bool) -> None:
        super().__init__()
        self.inner = inner
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> object:
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


def inputs(seed: int) -> Tensor:
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def one_forward(call: Callable[[Tensor], Tensor]) -> Tensor:
    return call(inputs(2)).pow(2).sum()


def two_forwards(call: Callable[[Tensor], Tensor]) -> Tensor:
    return call(inputs(2)).pow(2).sum() + call(inputs(3)).pow(3).sum()


def check(plain: SuperNet, recomputing: SuperNet, call: Callable[[Tensor], Tensor], loss: Loss) -> None:
    """Check that both have the same gradients, step for step; no gradient may be zeros."""
    for _ in range(6):
        for net, called in ((plain, plain), (recomputing, call)):
            net.zero_grad()
            loss(called).backward()
        for one, other in zip(plain.parameters(), recomputing.parameters(), strict=True):
            gradients = [torch.zeros_like(either) if either.grad is None else either.grad for either in (one, other)]
            assert torch.equal(*gradients)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("loss", [one_forward, two_forwards])
@pytest.mark.parametrize("name", MODES)
def test_parts_are_recomputed_with_the_draw_of_their_forward(
    linears: SuperNet, name: str, loss: Loss, reentrant: bool
) -> None:
    plain, recomputing = fresh(linears, name), fresh(linears, name)
    recomputing.model.outer.branches[1] = Checkpointed(recomputing.model.outer.branches[1], reentrant)
    recomputing.model.last = Checkpointed(recomputing.model.last, reentrant)
    check(plain, recomputing, recomputing, loss)


@pytest.mark.parametrize("loss", [one_forward, two_forwards])
@pytest.mark.parametrize("name", MODES)
def test_a_whole_supernet_is_recomputed_without_drawing_anew(linears: SuperNet, name: str, loss: Loss) -> None:
    plain, recomputing = fresh(linears, name), fresh(linears, name)
    check(plain, recomputing, lambda x: checkpoint(recomputing, x, use_reentrant=False), loss)
    assert torch.equal(plain.state_dict()["_extra_state"], recomputing.state_dict()["_extra_state"])


def test_what_cannot_be_recomputed_with_its_draw_is_an_error(linears: SuperNet) -> None:
    net = fresh(linears, "single_path")
    loss = checkpoint(net, inputs(2), use_reentrant=True).sum()
    with pytest.raises(RuntimeError, match=r"pass use_reentrant=False, or checkpoint parts of the model"):
        loss.backward()
    loss = checkpoint(net, inputs(2), use_reentrant=False).sum()
    for _ in range(drawing.KEPT):
        net(inputs(2))
    with pytest.raises(RuntimeError, match=f"after {drawing.KEPT} others drew branches; call backward after fewer"):
        loss.backward()
