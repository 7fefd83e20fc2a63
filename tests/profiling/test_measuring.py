"""Rounds, orders and resumption, by a clock that only models move."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import ModelProto

from supernet_onnx.errors import RunError
from supernet_onnx.profiling import measuring
from supernet_onnx.profiling.measuring import Task, latency_of, take

if TYPE_CHECKING:
    from collections.abc import Callable


def numbers(samples: dict[str, list[list[float]]]) -> list[int]:
    return [sum(map(len, sessions)) for sessions in samples.values()]


class Log:
    """Opens models that take as many milliseconds as their name says; writes down who ran."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.ran: list[str] = []

    def open(self, model: ModelProto) -> Callable[[], float]:
        name = model.producer_name
        if name == "broken":
            raise RunError("onnxruntime refuses it")
        self.opened.append(name)

        def run() -> float:
            self.ran.append(name)
            return float(len(name))

        return run


def task(name: str, *, size_bytes: int = 0, warm: bool = False, may_fail: bool = False) -> Task:
    return Task(name, size_bytes, lambda: ModelProto(producer_name=name), f"{name} warm" if warm else None, may_fail)


def test_each_round_runs_every_model_once_in_orders_that_differ_after_two_runs_to_warm_up() -> None:
    log, samples = Log(), {}
    take([task("a"), task("bb"), task("ccc")], samples, rounds=20, open_run=log.open)
    assert {key: {*of[0]} for key, of in samples.items()} == {"a": {1.0}, "bb": {2.0}, "ccc": {3.0}}
    assert numbers(samples) == [20] * 3
    assert log.opened == ["a", "bb", "ccc"] * 6 or sorted(log.opened) == ["a"] * 6 + ["bb"] * 6 + ["ccc"] * 6
    first = log.ran[: 6 + 3 * 4]  # a session of two runs to warm up and of 20 / 6 rounds, rounded up
    rounds = [tuple(first[i : i + 3]) for i in range(6, len(first), 3)]
    assert all(sorted(order) == ["a", "bb", "ccc"] for order in rounds)
    assert len(set(rounds)) > 1


def test_what_has_its_samples_is_not_run_again_and_a_larger_number_of_rounds_adds_the_rest() -> None:
    log, samples = Log(), {"a": [[9.0] * 5]}
    take([task("a"), task("bb")], samples, rounds=5, open_run=log.open)
    assert set(log.opened) == {"bb"}
    assert samples["a"] == [[9.0] * 5]
    take([task("a"), task("bb")], samples, rounds=7, open_run=log.open)
    assert numbers(samples) == [7, 7]
    assert samples["a"] == [[9.0] * 5, [1.0], [1.0]]


def test_models_of_too_many_weights_are_loaded_in_groups_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_GROUP_BYTES", 20)
    log, samples = Log(), {}
    take([task(name, size_bytes=10) for name in "abcdef"], samples, rounds=9, open_run=log.open)
    assert numbers(samples) == [9] * 6
    assert len(log.opened) == 36
    groups = [frozenset(log.opened[i : i + 2]) for i in range(0, 36, 2)]
    assert len(set(groups)) > 3
    switches = sum(a != b for a, b in pairwise(log.ran))
    assert switches > len(log.ran) / 4  # they take turns


def test_a_model_that_is_larger_than_a_group_has_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_GROUP_BYTES", 5)
    samples: dict[str, list[list[float]]] = {}
    take([task("a", size_bytes=10)], samples, rounds=2, open_run=Log().open)
    assert samples == {"a": [[1.0], [1.0]]}


def test_a_warm_run_follows_right_behind_a_cold_one() -> None:
    log, samples = Log(), {}
    take([task("a", warm=True), task("bb")], samples, rounds=3, open_run=log.open)
    assert dict(zip(samples, numbers(samples), strict=True)) == {"a": 3, "a warm": 3, "bb": 3}
    assert log.ran.count("a") == 3 * 2 + 2 * 3  # warmed up in each of three sessions


def test_a_model_that_may_fail_is_left_without_samples_another_ends_the_work() -> None:
    samples: dict[str, list[list[float]]] = {}
    take([task("broken", may_fail=True), task("a")], samples, rounds=2, open_run=Log().open)
    assert samples == {"broken": [], "a": [[1.0], [1.0]]}
    with pytest.raises(RunError, match="refuses"):
        take([task("broken")], samples, rounds=2, open_run=Log().open)


def test_progress_goes_up_to_one() -> None:
    told: list[float] = []
    take([task("a"), task("bb")], {}, rounds=4, open_run=Log().open, progress=told.append)
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_the_latency_is_the_mean_of_the_lower_quartiles_of_the_sessions() -> None:
    assert latency_of([[5.0, 1.0, 2.0, 3.0, 4.0]]) == np.quantile([1, 2, 3, 4, 5], 0.25) == 2.0
    assert latency_of([[5.0, 1.0, 2.0, 3.0, 4.0], [], [6.0]]) == pytest.approx((5 * 2 + 1 * 6) / 6)
