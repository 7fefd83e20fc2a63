"""The correction, on latencies that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from supernet_onnx.profiling.fitting import fit

GENERATOR = np.random.default_rng(0)
COUNTS = GENERATOR.integers(0, 3, (40, 6)).astype(float)
ALONE = np.array([1.0, 2.0, 0.5, 0.1, 4.0, 0.0])


def test_a_line_through_the_pieces_is_found_and_nothing_else() -> None:
    found = fit(COUNTS, {"cold": ALONE}, 0.7 + COUNTS @ (1.3 * ALONE + 0.02), overhead=0.2)
    assert found.strength == math.inf
    assert (found.intercept_ms, found.slope, found.beside_ms) == pytest.approx((0.7, 1.3, 0.02))
    assert found.errors["correction"] == pytest.approx(0, abs=1e-7)
    assert found.amounts_ms == pytest.approx(1.3 * ALONE + 0.02)


def test_pieces_that_would_take_less_than_nothing_take_nothing() -> None:
    found = fit(COUNTS, {"cold": ALONE}, 0.7 + COUNTS @ np.maximum(ALONE - 0.2, 0), overhead=0.2)
    assert min(found.amounts_ms) == found.amounts_ms[5] == 0.0
    np.testing.assert_allclose(found.amounts_ms, np.maximum(ALONE - 0.2, 0), atol=0.02)


def test_what_pieces_take_beside_others_is_found_to_four_digits_where_latencies_add_up() -> None:
    true = np.array([1.5, 1.0, 0.75, 0.3, 3.0, 0.2])
    found = fit(COUNTS, {"cold": ALONE}, 0.7 + COUNTS @ true, overhead=0.2)
    predicted = found.intercept_ms + COUNTS @ found.amounts_ms
    np.testing.assert_allclose(predicted, 0.7 + COUNTS @ true, rtol=1e-4)
    np.testing.assert_allclose(found.amounts_ms, true, atol=2e-3)
    assert found.errors["correction"] < 1e-3 < found.errors["line"] < found.errors["pieces"]


def test_few_subnets_move_pieces_less_than_many() -> None:
    true = ALONE.copy()
    true[1] += 1.0
    noisy = (0.7 + COUNTS @ true) * GENERATOR.normal(1, 0.02, 40)
    errors = []
    for number in (8, 40):
        found = fit(COUNTS[:number], {"cold": ALONE}, noisy[:number], overhead=0.2)
        errors.append(abs(found.amounts_ms[1] - 3.0))
    assert errors[1] < errors[0]


def test_the_times_of_pieces_that_predict_better_are_used() -> None:
    wrong = ALONE[::-1].copy()
    y = 0.7 + COUNTS @ ALONE * GENERATOR.normal(1, 0.01, 40)
    assert fit(COUNTS, {"cold": wrong, "warm": ALONE}, y, overhead=0.2).source == "warm"
    assert fit(COUNTS, {"cold": ALONE, "warm": wrong}, y, overhead=0.2).source == "cold"


def test_errors_are_those_of_fits_that_leave_a_subnet_out() -> None:
    y = 0.7 + COUNTS @ (ALONE + 0.5) * GENERATOR.normal(1, 0.05, 40)  # no piece comes out below 0
    x = np.stack([np.ones(40), COUNTS @ ALONE, COUNTS.sum(axis=1)], axis=1)
    errors = []
    for i in range(40):
        rest = np.arange(40) != i
        weighted = x[rest] / y[rest][:, None]  # for relative errors
        line = np.linalg.lstsq(weighted, np.ones(39))[0]
        errors.append(abs(x[i] @ line / y[i] - 1))
    assert fit(COUNTS, {"cold": ALONE}, y, overhead=0.2).errors["line"] == pytest.approx(np.mean(errors), rel=1e-6)


@pytest.mark.parametrize("number", [1, 4])
def test_a_few_subnets_give_a_factor(number: int) -> None:
    found = fit(COUNTS[:number], {"cold": ALONE}, 0.2 + 2 * COUNTS[:number] @ ALONE, overhead=0.2)
    assert (found.intercept_ms, found.slope, found.errors) == (0.2, pytest.approx(2.0), {})


def test_no_subnet_leaves_the_pieces_as_they_are() -> None:
    found = fit(np.zeros((0, 6)), {"cold": ALONE}, [], overhead=0.2)
    assert (found.intercept_ms, found.slope, found.amounts_ms) == (0.2, 1.0, tuple(ALONE))


def test_subnets_that_all_have_the_same_pieces_are_no_reason_to_fail() -> None:
    found = fit(np.ones((8, 6)), {"cold": ALONE}, [9.0] * 8, overhead=0.2)
    assert found.intercept_ms + sum(found.amounts_ms) == pytest.approx(9.0, rel=1e-4)
