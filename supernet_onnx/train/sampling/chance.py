"""Chance without global state: what forward k of a supernet draws is a function of the seed and of k alone.

So a resumed search draws on as if it had not stopped, all processes of a distributed one draw the same, and nothing
else that uses random numbers is disturbed. The numbers come from Python's Mersenne Twister, seeded anew for each
forward (Python promises that its ``random()`` stays the same), and stay on the host: a path is chosen by the host.
"""

from __future__ import annotations

import functools
import math
import random
from dataclasses import dataclass
from typing import Final

import torch

__all__ = ["Chance", "Draws"]

_WORD: Final = 64  # bits for each part of a seed


@dataclass(frozen=True, slots=True)
class Chance:
    """The random numbers of one pool in one forward.

    Attributes:
        random: A generator; all pools of a forward take from it in turn.
        seed: Of the supernet.
        step: How many forwards drew before this one.
        pool: The number of the pool in its supernet.
    """

    random: random.Random
    seed: int
    step: int
    pool: int

    @classmethod
    def from_torch(cls) -> Chance:
        """Return the chance of a pool that is called outside of its supernet, from torch's global generator."""
        seed = int(torch.randint(2**62, ()))
        return cls(random.Random(seed), seed, 0, 0)

    def gumbel(self, count: int) -> list[float]:
        """Draw standard Gumbel noise: minus the log of an exponential variable."""
        return [-math.log(self.random.expovariate(1.0) or 5e-324) for _ in range(count)]

    def turn(self, count: int) -> int:
        """Return a number below ``count``, each once in every ``count`` forwards, in an order that is drawn anew."""
        return _order(self.seed, self.pool, self.step // count, count)[self.step % count]


@functools.lru_cache(maxsize=1024)
def _order(seed: int, pool: int, lap: int, count: int) -> tuple[int, ...]:
    """Return the order of the branches of a pool in one lap through all of them."""
    order = list(range(count))
    random.Random(_key(seed, lap, pool + 1)).shuffle(order)
    return tuple(order)


def _key(seed: int, step: int, pool: int = 0) -> int:
    """Return one seed for a generator, which takes integers of any size whole; pool 0 is that of all pools."""
    return seed | step << _WORD | pool << 2 * _WORD


class Draws:
    """The seed of a supernet, and how often it drew.

    Args:
        seed: 0 or more; None takes torch's, without drawing from it.

    Attributes:
        seed: The seed, below 2^63.
        step: How many forwards drew so far.
        under_way: Whether a forward of the supernet is running.
    """

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None and not 0 <= seed < 2**63:
            raise ValueError(f"seed must be from 0 to 2^63 - 1, not {seed}")
        self.seed = torch.initial_seed() % 2**63 if seed is None else seed
        self.step = 0
        self.under_way = False
        self._is_common = False

    def begin(self) -> random.Random:
        """Return the generator of the coming forward; the first time, agree with the other processes on the seed."""
        if not self._is_common and torch.distributed.is_available() and torch.distributed.is_initialized():
            shared = [self.seed, self.step]
            torch.distributed.broadcast_object_list(shared, src=0)
            self.seed, self.step = shared
            self._is_common = True
        return random.Random(_key(self.seed, self.step))
