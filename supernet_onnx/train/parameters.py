"""The parameters of a supernet: the logits of its pools, all others, and which of them are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supernet_onnx.train.pool import SuperNetModule

__all__ = ["Trained"]


class Trained(nn.Module):
    """A model with pools, of which the logits, everything else, or both are trained."""

    _pools: dict[str, SuperNetModule]
    _frozen: set[str]

    def named_nas_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, nn.Parameter]]:
        """Iterate over the logits of all pools and their qualified names, each once."""
        logits = {id(pool.alpha) for pool in self._pools.values()}
        for name, parameter in self.named_parameters(prefix, recurse):
            if id(parameter) in logits:
                yield name, parameter

    def nas_parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Iterate over the logits of all pools, each once."""
        return (parameter for _, parameter in self.named_nas_parameters(recurse=recurse))

    def named_net_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, nn.Parameter]]:
        """Iterate over all parameters but the logits and their qualified names, each once."""
        logits = {id(pool.alpha) for pool in self._pools.values()}
        for name, parameter in self.named_parameters(prefix, recurse):
            if id(parameter) not in logits:
                yield name, parameter

    def net_parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Iterate over all parameters but the logits, each once."""
        return (parameter for _, parameter in self.named_net_parameters(recurse=recurse))

    @property
    def train_selection(self) -> bool:
        """Whether the logits of all pools are trained."""
        return all(parameter.requires_grad for parameter in self.nas_parameters())

    @train_selection.setter
    def train_selection(self, value: bool) -> None:
        for parameter in self.nas_parameters():
            parameter.requires_grad_(value)

    def train_nas_only(self) -> None:
        """Train the logits and nothing else, until another ``train_*`` call."""
        self.train_selection = True
        for name, parameter in self.named_net_parameters():
            if parameter.requires_grad:
                self._frozen.add(name)
                parameter.requires_grad_(False)

    def train_net_only(self) -> None:
        """Train everything but the logits; parameters that the user froze stay frozen."""
        self.train_selection = False
        self._thaw()

    def train_net_and_nas(self) -> None:
        """Train everything, all logits included; other parameters that the user froze stay frozen."""
        self.train_selection = True
        self._thaw()

    def _thaw(self) -> None:
        for name, parameter in self.named_net_parameters():
            if name in self._frozen:
                parameter.requires_grad_(True)
        self._frozen.clear()
