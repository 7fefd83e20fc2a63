from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from supernet_onnx import page, report, selection, supergraph
from supernet_onnx.cost import METRICS, by_operators, measure
from supernet_onnx.errors import MissingPackageError
from supernet_onnx.page import Space, View, document
from tests import marked

NESTED = """
<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
nested (float[1, 4] x) => (float[1, 4] y)
<float[2] "outer.weights" = {0.9, 0.1}, float[2] "inner.weights" = {0.4, 0.6}> {
    root = Abs (x)
    shared = Exp (root)
    a = Neg (shared)
    b0 = Sqrt (shared)
    b = Neg (b0)
    inner = supernet_onnx.Pool2 <pool = "inner", branches = ["neg", "root"]> ("inner.weights", a, b)
    deep = Tanh (inner)
    y = supernet_onnx.Pool2 <pool = "outer", branches = ["deep", "flat"]> ("outer.weights", deep, root)
}
"""
NODE = 2 * 4 * 4  # the traffic of a node: it reads four floats and writes four


def nested(*chosen: dict[str, str], file: str = "nested.onnx") -> Space:
    """A space whose views are selections of ``NESTED``."""
    graph = supergraph.read(marked.build(NESTED))
    metrics = [METRICS["traffic"], METRICS["macs"]]
    selections = [selection.resolve(graph, choices) for choices in chosen]
    priced = zip(selections, by_operators(graph, metrics, selections), strict=True)
    views = [View("a view", one, costs) for one, costs in priced]
    inspection = report.Inspection(Path(file), graph, None, selection.count(graph))
    return Space(inspection, measure(graph, metrics), views)


def test_a_pool_inside_of_a_branch_says_when_it_is_reached() -> None:
    record = nested({}, {"outer": "flat"}).record()
    assert [pool["when"] for pool in record["pools"]] == ["outer=deep", ""]
    assert [view["unreached"] for view in record["views"]] == [[], [0]]


def test_each_view_has_totals_and_operators_of_its_own() -> None:
    record = nested({"inner": "root"}, {"outer": "flat"}).record()
    deep, flat = record["views"]
    assert (deep["totals"], flat["totals"]) == ([5 * NODE, 0], [NODE, 0])
    named = [[record["operators"][index] for index, _, _ in view["operators"]] for view in (deep, flat)]
    assert [sorted(names) for names in named] == [["Abs", "Exp", "Neg", "Sqrt", "Tanh"], ["Abs"]]


def test_amounts_are_told_once_but_where_another_selection_makes_other_ones() -> None:
    record = nested({"inner": "neg"}, {"inner": "root"}).record()
    assert record["amounts"] == [[[NODE, 2 * NODE], [3 * NODE, 0]], [[0, 0], [0, 0]]]
    assert [view["amounts"] for view in record["views"]] == [[], [[0, 1, [4 * NODE, 0]]]]


LARGE = [(1, "1"), (999_999_999, "999,999,999"), (10**9, "1.0·10⁹"), (4**60, "1.3·10³⁶"), (10**5000 - 1, "1.0·10⁵⁰⁰⁰")]


@pytest.mark.parametrize("index", range(len(LARGE)))
def test_large_numbers_of_selections_are_powers_of_ten(index: int) -> None:
    number, words = LARGE[index]
    assert page.space.count_in_words(number) == words


def test_a_file_that_begins_like_an_option_is_told_from_one() -> None:
    assert nested({}, file="-o.onnx").record()["command"] == "supernet-onnx prune ./-o.onnx"
    assert nested({}, file="my net.onnx").record()["command"] == "supernet-onnx prune 'my net.onnx'"


def test_equal_content_gives_equal_bytes_and_the_data_are_in_it_as_they_are() -> None:
    html = page.render(nested({}))
    assert html == page.render(nested({}))
    text = html.decode()
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert "<" not in block
    parts = {"version": "0.1.0", "front": None, "latency": None, "history": None}
    assert json.loads(block) == json.loads(json.dumps(nested({}).record())) | parts


def test_the_page_names_no_address_that_it_could_load_from() -> None:
    ours = re.sub(r'(?s)<script type="text/plain" id="plotly">.*?</script>', "", page.render(nested({})).decode())
    assert re.findall(r"(?:https?:)?//[a-z]+\.|\bsrc=|url\(|@import|<link", ours) == []


def test_the_charts_are_plotlys_but_for_one_pair_of_parentheses() -> None:
    bundle = get_plotlyjs()
    changed = page.document.eager(bundle)
    assert len(changed) == len(bundle) + 2
    assert changed.replace("(() => {\n", "() => {\n", 1).removesuffix(")));") + "));" == bundle
    assert page.document.eager("window.Plotly = 1;") == "window.Plotly = 1;"


def test_without_plotly_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    document._plotly.cache_clear()
    with pytest.raises(MissingPackageError, match=r"supernet-onnx\[report\]"):
        page.render(nested({}))
