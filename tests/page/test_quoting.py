from __future__ import annotations

import os
import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from supernet_onnx import supergraph
from supernet_onnx.page.quoting import quote, select
from tests import marked

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.lists(NAMES, min_size=1))
@settings(max_examples=60, deadline=None)
def test_bash_reads_a_quoted_word_as_the_word(words: list[str]) -> None:
    command = "printf '%s\\0' " + " ".join(map(quote, words))
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True, env=environment)
    assert done.stdout.decode().split("\0")[:-1] == words


@given(NAMES)
def test_nothing_is_left_in_a_quoted_word_that_a_terminal_obeys(word: str) -> None:
    assert quote(word).isprintable()


AMBIGUOUS = """
<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
g (float[4] x) => (float[4] y) <float[2] "a.weights" = {0.5, 0.5}, float[2] "a=b.weights" = {0.5, 0.5}> {
    n = Neg (x)
    p = supernet_onnx.Pool2 <pool = "a", branches = ["b=c", "d"]> ("a.weights", x, n)
    y = supernet_onnx.Pool2 <pool = "a=b", branches = ["c", "e"]> ("a=b.weights", p, n)
}
"""


def test_a_branch_is_given_by_its_index_where_its_name_would_mean_another_pool() -> None:
    graph = supergraph.read(marked.build(AMBIGUOUS))
    options = [[select(graph, pool, i) for i in range(2)] for pool in graph.pools]
    assert options == [["--select a=0", "--select a=d"], ["--select a=b=c", "--select a=b=e"]]
