from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from supernet_onnx import supergraph
from supernet_onnx.errors import ReportError
from supernet_onnx.page import Latency, Subnet, latency_from_json
from tests.page import specimens


def table(subnets: int) -> dict[str, object]:
    return specimens.latency(supergraph.read(specimens.chain(1)), subnets)


def test_errors_are_those_of_subnets_that_were_not_fitted() -> None:
    subnets = [Subnet(1.0, 5.0, True), Subnet(1.0, 1.1, False), Subnet(2.0, 1.5, False), Subnet(4.0, 4.0, False)]
    errors = Latency("ms", tuple(subnets), ()).record()["errors"]
    assert errors["subnets"] == 3
    assert errors["mean"] == pytest.approx((0.1 + 0.25 + 0) / 3)
    assert (errors["largest"], errors["spearman"]) == (0.25, 1.0)
    assert errors["near"] == pytest.approx(2 / 3)  # 10 % off is within 10 %


def test_where_all_were_fitted_or_all_are_alike_nothing_is_claimed() -> None:
    assert Latency("ms", (Subnet(1.0, 1.0, True),), ()).record()["errors"] is None
    alike = (Subnet(1.0, 1.0, False), Subnet(1.0, 2.0, False))
    assert Latency("ms", alike, ()).record()["errors"]["spearman"] is None


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=3, max_size=30))
def test_the_rank_correlation_is_spearmans_also_where_values_are_equal(pairs: list[tuple[int, int]]) -> None:
    measured, predicted = zip(*pairs, strict=True)
    subnets = tuple(Subnet(float(a), float(b), False) for a, b in pairs)
    found = Latency("ms", subnets, ()).record()["errors"]["spearman"]
    if len(set(measured)) == 1 or len(set(predicted)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(measured, predicted).statistic)


def test_where_it_was_measured_is_told_in_words() -> None:
    record = table(3)
    record["measured_on"] = {"cpu_model": "x", "threads": None, "providers": ["CPU", "XNN"], "versions": {"a": "1"}}
    told = latency_from_json(json.dumps(record)).record()["measured_on"]
    assert told == [["cpu model", "x"], ["threads", "not set"], ["providers", "CPU, XNN"], ["versions", "a 1"]]


def test_what_is_wrong_with_a_table_is_said() -> None:
    def broken(**changes: object) -> str:
        with pytest.raises(ReportError) as raised:
            latency_from_json(json.dumps(table(3) | changes))
        return str(raised.value)

    assert "is no cost table; expected a file of supernet-onnx profile" in broken(format="supernet-onnx front")
    assert latency_from_json(json.dumps(table(3) | {"subnets": []})) is None
    assert "subnet 0: 'measured' is 0.0, expected more than 0" in broken(subnets=[{"measured": 0}])
    assert "subnet 0: 'predicted' is missing" in broken(subnets=[{"measured": 1}])
    assert "subnet 0: 'fitted' is '1', expected true or false" in broken(
        subnets=[{"measured": 1, "predicted": 1, "fitted": 1}]
    )
