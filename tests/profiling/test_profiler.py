"""Profiles of a machine on which latencies add up: tables are exact, budgets and expectations those of brute force."""

from __future__ import annotations

import itertools
import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet_onnx import search, supergraph
from supernet_onnx.cost import latency, measure
from supernet_onnx.errors import CostError, InfeasibleError, MarkError, RunError
from supernet_onnx.profiling import Settings, profile
from supernet_onnx.pruning import prune
from supernet_onnx.selection import count, every
from tests import graphs, marked
from tests.cost.supergraphs import graph, pool
from tests.profiling.additive import PRICES, RUN, Machine, price
from tests.profiling.test_cutting import is_constant

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

    from supernet_onnx.profiling import Profile

NESTED = f"""
g (float[batch, 4] x) => (float[batch, 4] y) {{
    n = Neg (x)
    a = Abs (n)
    s = Sub (n, x)
    inner = {pool("inner", "abs sub skip")} a, s, n)
    m = Mul (inner, inner)
    outer = {pool("outer", "deep neg skip")} m, n, x)
    t = Neg (outer)
    u = Abs (outer)
    tied = {pool("tied", "neg abs")} t, u)
    v = Neg (tied)
    w = Abs (tied)
    y = {pool("tied", "neg abs", call=1)} v, w)
}}"""
FEW = Settings(rounds=2, subnets=0)


def written(found: Profile, folder: Path) -> Path:
    path = folder / "latency.json"
    path.write_text(found.to_json(), encoding="utf-8")
    return path


@pytest.mark.parametrize("subnets", [0, 3, 18])
def test_nested_shared_and_tied_parts_are_priced_exactly(subnets: int, tmp_path: Path) -> None:
    supernet = graph(NESTED)
    found = profile(supernet, Settings(rounds=2, subnets=subnets), open_run=Machine().open)
    table = measure(supernet, [latency(written(found, tmp_path))])["latency"]
    assert table.unit == "milliseconds"
    for selection in every(supernet):
        assert table.total(selection) == pytest.approx(price(prune(supernet, selection)), rel=1e-4)
    assert table.maximum() == pytest.approx(RUN + 1.0 + 2.0 + 0.75 + 2 * 2.0, rel=1e-4)  # neg, abs, mul, abs twice


@settings(max_examples=20, deadline=None)
@given(graphs.supergraphs())
def test_pieces_less_their_neighbours_add_up_to_every_subnet(model: ModelProto) -> None:
    supernet = supergraph.read(model)
    if not supernet.pools:
        return
    folded = {node.name for i, node in enumerate(supernet.graph.node) if is_constant(supernet, i)}
    table = profile(supernet, FEW, open_run=Machine(free=folded).open).table()
    for selection in itertools.islice(every(supernet), 50):
        assert table.total(selection) == pytest.approx(price(prune(supernet, selection), free=folded))


def test_what_pieces_do_to_each_other_is_learned_from_subnets(tmp_path: Path) -> None:
    supernet = graph(NESTED)
    alone, together = Machine(), {**PRICES, "Abs": 5.0, "Sub": 0.25}
    beside = Machine(together, run=0.75)
    large = max(len(prune(supernet, selection).graph.input) for selection in every(supernet))
    assert large == 1

    def is_subnet(model: ModelProto) -> bool:
        return any(value.name == "y" for value in model.graph.output) and model.graph.input[0].name == "x"

    found = profile(
        supernet,
        Settings(rounds=1, subnets=18),
        open_run=lambda model: (beside if is_subnet(model) else alone).open(model),
    )
    table = found.table()
    errors = [abs(table.total(s) / price(prune(supernet, s), together, run=0.75) - 1) for s in every(supernet)]
    assert max(errors) < 0.02
    assert found.correction.errors["correction"] < found.correction.errors["line"] < found.correction.errors["pieces"]
    assert {subnet.fitted for subnet in found.subnets} == {True}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), min_size=3, max_size=3))
def test_the_expected_latency_is_the_mean_over_all_selections(weights: list[list[float]]) -> None:
    supernet = graph(NESTED)
    table = profile(supernet, FEW, open_run=Machine().open).table()
    theta = {}
    for pool_, raw in zip(supernet.pools, weights, strict=True):
        of_pool = raw[: len(pool_.branches)]
        theta[pool_.name] = [value / sum(of_pool) for value in of_pool]
    mean = sum(
        math.prod(theta[name][i] for name, i in zip(s.pools, s.indices, strict=True)) * table.total(s)
        for s in every(supernet)
    )
    assert table.expected(theta) == pytest.approx(mean)


def test_budgets_are_met_as_going_through_all_selections_does(tmp_path: Path) -> None:
    supernet = graph(NESTED)
    metric = latency(written(profile(supernet, FEW, open_run=Machine().open), tmp_path))
    table = measure(supernet, [metric])["latency"]
    scores = {"inner": [0.5, 0.2, 0.1], "outer": [1.0, 0.4, 0.0], "tied": [0.1, 0.6]}
    totals = {s: table.total(s) for s in every(supernet)}
    for limit in np.linspace(2.0, 9.0, 15):
        values = [
            sum(scores[p][i] for p, i in zip(s.pools, s.indices, strict=True) if p != "inner" or s["outer"] == "deep")
            for s, total in totals.items()
            if total <= limit
        ]
        budget = f"{1000 * limit}us"
        if not values:
            with pytest.raises(InfeasibleError):
                search.choose(supernet, budgets={"latency": budget}, scores=scores, metrics=[metric])
            continue
        choice = search.choose(supernet, budgets={"latency": budget}, scores=scores, metrics=[metric])
        assert choice.objective == pytest.approx(max(values))
        assert choice.budgets[0].cost <= limit


def test_equal_pieces_are_loaded_and_run_once_for_all() -> None:
    body = "".join(f"a{i} = Abs (p{i - 1}) p{i} = {pool(f'p{i}', 'abs skip')} a{i}, p{i - 1}) " for i in range(1, 6))
    supernet = graph(f"g (float[1, 4] x) => (float[1, 4] y) {{ p0 = Neg (x) {body} y = Neg (p5) }}")
    machine = Machine()
    found = profile(supernet, Settings(rounds=3, subnets=0), open_run=machine.open)
    assert [(piece.operators, piece.places) for piece in found.pieces] == [(("Neg",), 2), (("Abs",), 5)]
    assert len(machine.opened) == 3  # and the model of nothing
    assert found.table().maximum() == pytest.approx(RUN + 2 * 1.0 + 5 * 2.0)


def test_a_stopped_profile_goes_on_where_it_was(tmp_path: Path) -> None:
    supernet, file = graph(NESTED), tmp_path / "unfinished"
    settings_ = Settings(rounds=12, subnets=18)
    whole = Machine()
    expected = profile(supernet, settings_, open_run=whole.open)
    stopped = Machine(stops_after=whole.runs // 2)
    with pytest.raises(KeyboardInterrupt):
        profile(supernet, settings_, open_run=stopped.open, unfinished=file)
    rest = Machine()
    found = profile(supernet, settings_, open_run=rest.open, unfinished=file)
    assert not file.exists()
    assert found.to_json() == expected.to_json()
    assert rest.runs < 0.75 * whole.runs


@pytest.mark.parametrize(
    "other",
    [Settings(rounds=12, subnets=18, threads=2), Settings(rounds=12, subnets=18, batch=2)],
    ids=["threads", "batch"],
)
def test_samples_of_other_settings_or_another_model_are_not_taken(other: Settings, tmp_path: Path) -> None:
    supernet, file = graph(NESTED), tmp_path / "unfinished"
    for content in ("", "[]", '{"format": "supernet-onnx unfinished profile"}'):
        file.write_text(content)
        profile(supernet, FEW, open_run=Machine().open, unfinished=file)
    stopped = Machine(stops_after=400)
    with pytest.raises(KeyboardInterrupt):
        profile(supernet, Settings(rounds=12, subnets=18), open_run=stopped.open, unfinished=file)
    whole, again = Machine(), Machine()
    profile(supernet, other, open_run=whole.open)
    profile(supernet, other, open_run=again.open, unfinished=file)
    assert again.runs == whole.runs


def test_subnets_that_the_fit_does_not_see_tell_its_error() -> None:
    pools = "".join(f"a{i} = Abs (p{i - 1}) p{i} = {pool(f'p{i}', 'abs skip')} a{i}, p{i - 1}) " for i in range(1, 8))
    supernet = graph(f"g (float[1, 4] x) => (float[1, 4] y) {{ p0 = Neg (x) {pools} y = Neg (p7) }}")
    assert count(supernet) == 128
    found = profile(supernet, Settings(rounds=1, subnets=16), open_run=Machine().open)
    assert [sum(s.fitted for s in found.subnets), sum(not s.fitted for s in found.subnets)] == [16, 4]
    assert len({subnet.selection for subnet in found.subnets}) == 20
    assert max(subnet.error for subnet in found.subnets) < 1e-6


def test_a_piece_that_cannot_run_alone_is_learned_from_subnets(tmp_path: Path) -> None:
    supernet, machine = graph(NESTED), Machine()

    def open_run(model: ModelProto) -> object:
        if [node.op_type for node in model.graph.node] == ["Mul"]:
            raise RunError("onnxruntime refuses it")
        return machine.open(model)

    found = profile(supernet, Settings(rounds=1, subnets=18), open_run=open_run)
    assert [piece.operators for piece in found.pieces if piece.isolated_ms is None] == [("Mul",)]
    for subnet in found.subnets:
        assert subnet.predicted_ms == pytest.approx(subnet.measured_ms, rel=0.02)


def test_a_table_does_not_fit_a_model_of_another_structure_and_says_where(tmp_path: Path) -> None:
    metric = latency(written(profile(graph(NESTED), FEW, open_run=Machine().open), tmp_path))
    measure(graph(NESTED.replace("Neg", "Neg")), [metric])
    for old, new, told in (
        ("s = Sub (n, x)", "s = Mul (n, x)", "pool 'inner', branch 'sub' is another one"),
        ('"inner", branches = ["abs", "sub"', '"inner", branches = ["abs", "minus"', "the branches abs, minus, skip"),
        ('pool = "inner"', 'pool = "within"', "pool 'inner' is not in the model"),
        ("[batch, 4]", "[batch, 5]", "is another one"),
        ("n = Neg (x)", "n = Exp (x)", "branch 'skip' is another one"),
    ):
        text = NESTED.replace(old, new).replace("inner_theta", "w_theta") if old in NESTED else ""
        with pytest.raises(CostError, match=told):
            measure(graph(text, {"w_theta": np.full(3, 1 / 3, np.float32)} if "w_theta" in text else {}), [metric])


def test_names_of_tensors_and_values_of_weights_do_not_matter_for_the_fit(tmp_path: Path) -> None:
    supernet = supergraph.read(marked.flat())
    metric = latency(written(profile(supernet, FEW, open_run=Machine().open), tmp_path))
    other = marked.flat()
    for tensor in other.graph.initializer:
        if tensor.name.endswith("_w"):
            tensor.raw_data = bytes(len(tensor.raw_data))
    for node in other.graph.node:
        node.output[:] = [name if name == "y" else f"{name}_" for name in node.output]
        node.input[:] = [f"{name}_" if name in {"stem", "a", "b0", "b1", "b", "met", "mean", "flattened"} else name
                         for name in node.input]  # fmt: skip
    table = measure(supergraph.read(other), [metric])["latency"]
    assert table.branch_amounts(table.argminimum())["pool"] == pytest.approx(
        {"conv3": 3.0, "separable": 6.125, "skip": 0.0}
    )


def test_a_table_is_that_of_its_batch(tmp_path: Path) -> None:
    supernet = graph(NESTED)
    found = profile(supernet, Settings(rounds=1, subnets=0, batch=8), open_run=Machine().open)
    metric = latency(written(found, tmp_path))
    assert metric.batch == 8
    measure(supernet, [metric], dims={"batch": 8})
    measure(supernet, [metric])
    with pytest.raises(CostError, match=r"was measured with batch=8, not 2; profile the model with that size"):
        measure(supernet, [metric], dims={"batch": 2})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: r.pop("trunk"), r"is a damaged cost table \(KeyError"),
        (lambda r: r.update(trunk="much"), "'much' is no amount"),
        (lambda r: r.update(format="another"), "is no cost table; expected a file that supernet-onnx profile wrote"),
        (lambda r: r.update(version=2), "version 2 are unknown, this release reads version 1"),
        (lambda r: r["branches"].pop("inner"), "its branches are not those of its structure"),
        (lambda r: r["joint"][0]["when"][0].update(inner=["none"]), "pool 'inner' has no branches none"),
    ],
)
def test_a_damaged_table_is_an_error(change: object, told: str, tmp_path: Path) -> None:
    path = written(profile(graph(NESTED), FEW, open_run=Machine().open), tmp_path)
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(CostError, match=told):
        latency(path)


def test_what_is_no_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CostError, match=r"none\.json' cannot be read: No such file"):
        latency(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("text")
    with pytest.raises(CostError, match=r"text\.json' is no JSON"):
        latency(tmp_path / "text.json")


def test_a_model_without_pools_has_nothing_to_profile() -> None:
    with pytest.raises(MarkError, match="has no pool, so there is nothing to select"):
        profile(supergraph.read(marked.build(marked.PLAIN)))


def test_a_batch_for_a_model_whose_batch_is_fixed_is_an_error() -> None:
    with pytest.raises(RunError, match="batch is fixed"):
        profile(graph(NESTED.replace("batch", "1")), Settings(batch=4))
