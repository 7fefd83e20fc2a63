"""What the reference supernets are built of: convolution with BatchNorm, its separable form, and pools of both.

Activations are ``(N, C, L)`` with ``dims=1`` and ``(N, C, H, W)`` with ``dims=2``. Padding keeps sizes, so that a
stride of s divides them by s, rounding up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from torch import nn

from supernet_onnx import SuperNetModule

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["conv", "pool", "separable"]

_CONV: Final[Mapping[int, type[nn.Conv1d | nn.Conv2d]]] = {1: nn.Conv1d, 2: nn.Conv2d}
_BATCHNORM: Final[Mapping[int, type[nn.BatchNorm1d | nn.BatchNorm2d]]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}


def conv(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    activation: type[nn.Module] | None = nn.ReLU,
    dims: int = 2,
) -> nn.Sequential:
    """Return convolution, BatchNorm and activation.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        kernel: Size in each dim, odd.
        stride: In each dim.
        groups: ``inputs`` for a depthwise convolution.
        bias: Of the convolution; BatchNorm makes it superfluous, but some networks are written with it.
        activation: None for none.
        dims: 1 or 2.
    """
    layers: list[nn.Module] = [
        _CONV[dims](inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=bias),
        _BATCHNORM[dims](outputs),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


def separable(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    bias: bool = False,
    activation: type[nn.Module] | None = nn.ReLU,
    dims: int = 2,
) -> nn.Sequential:
    """Return a depthwise and a pointwise convolution in the place of a full one (MobileNets, arXiv 1704.04861).

    Args:
        inputs: As for ``conv``.
        outputs: As for ``conv``.
        kernel: Of the depthwise convolution.
        stride: Of the depthwise convolution.
        bias: Of both.
        activation: Of the pointwise convolution; the depthwise one always has ReLU.
        dims: 1 or 2.
    """
    return nn.Sequential(
        conv(inputs, inputs, kernel, stride=stride, groups=inputs, bias=bias, dims=dims),
        conv(inputs, outputs, 1, bias=bias, activation=activation, dims=dims),
    )


def pool(
    inputs: int,
    outputs: int,
    *,
    stride: int = 1,
    bias: bool = False,
    activation: type[nn.Module] | None = nn.ReLU,
    skip: bool = False,
) -> SuperNetModule:
    """Return the pool of the MLPerf Tiny supernets: ``conv3``, ``conv5``, ``separable`` and perhaps ``identity``.

    These are the alternatives that PLiNIO's test networks offer (github.com/eml-eda/plinio), in its order: a full
    convolution 3x3 or 5x5, a separable one 3x3, or nothing.

    Args:
        inputs: As for ``conv``.
        outputs: As for ``conv``.
        stride: As for ``conv``.
        bias: Of all convolutions.
        activation: At the end of every branch but ``identity``.
        skip: Offer ``identity``; inputs and outputs must be the same, and stride 1.
    """
    branches: dict[str, nn.Module] = {
        "conv3": conv(inputs, outputs, 3, stride=stride, bias=bias, activation=activation),
        "conv5": conv(inputs, outputs, 5, stride=stride, bias=bias, activation=activation),
        "separable": separable(inputs, outputs, 3, stride=stride, bias=bias, activation=activation),
    }
    if skip:
        branches["identity"] = nn.Identity()
    return SuperNetModule(branches)
