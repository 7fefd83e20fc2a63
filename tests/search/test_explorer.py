"""A search over selections: what it measures, what it does not, and how it goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import optuna
import pytest
from optuna.trial import TrialState

from supernet_onnx import supergraph
from supernet_onnx.cost import METRICS, measure
from supernet_onnx.errors import BudgetError, InfeasibleError, RunError
from supernet_onnx.search import Evaluation, Exploration, explore, selection_of, studies
from supernet_onnx.search.evaluator import Evaluator
from supernet_onnx.selection import every
from tests import marked
from tests.cost.supergraphs import pool

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = """
<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
chain (float[batch, 4] x) => (float[batch, 4] p3)
<float[3] p0_theta = {0.2, 0.5, 0.3}, float[3] p1_theta = {0.2, 0.5, 0.3}, float[2] inner_theta = {0.5, 0.5},
 float[3] p2_theta = {0.2, 0.5, 0.3}, float[3] p3_theta = {0.2, 0.5, 0.3}> {
    a0 = MatMul (x, w0)  b0 = Relu (a0)  p0 = POOL0 a0, b0, x)
    i0 = MatMul (p0, w1)  inner = INNER i0, p0)  a1 = MatMul (inner, w2)  b1 = Neg (p0)  p1 = POOL1 a1, b1, p0)
    a2 = MatMul (p1, w3)  b2 = Relu (a2)  p2 = POOL2 a2, b2, p1)
    a3 = MatMul (p2, w4)  b3 = Relu (a3)  p3 = POOL3 a3, b3, p2)
}
"""
"""Five pools of 162 selections: 3 * (2 * 1 + 2) * 3 * 3 = 108 that compute something of their own."""

LOSS = """
import time
import numpy as np
def distance(outputs, targets):
    with open(__file__ + ".calls", "a") as file:
        file.write("1")
    time.sleep({pause})
    return float(np.abs(next(iter(outputs.values())) - targets).mean())
"""


def write_model(path: Path) -> Path:
    text = TEXT.replace("INNER", pool("inner", "matrix skip"))
    for p in range(4):
        text = text.replace(f"POOL{p}", pool(f"p{p}", "a b skip"))
    return marked.write(marked.build(text, {f"w{i}": (4, 4) for i in range(5)}), path)


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    generator = np.random.default_rng(3)
    arrays = {name: generator.standard_normal((32, 4)).astype(np.float32) for name in ("x", "targets")}
    np.savez(tmp_path / "data.npz", **arrays)
    (tmp_path / "loss.py").write_text(LOSS.format(pause=0))
    return Evaluation(write_model(tmp_path / "chain.onnx"), tmp_path / "data.npz", f"{tmp_path / 'loss.py'}:distance")


def calls(evaluation: Evaluation) -> int:
    file = Path(f"{evaluation.measure.rpartition(':')[0]}.calls")
    return len(file.read_text()) if file.exists() else 0


def test_what_is_measured_is_on_the_front_unless_it_is_beaten(evaluation: Evaluation) -> None:
    found = explore(Exploration(evaluation, budgets={"params": 48}), trials=30)
    graph = supergraph.read(evaluation.model)
    table = measure(graph, [METRICS["params"]])["params"]
    evaluator = Evaluator(evaluation)
    assert [(by.name, by.goal) for by in found.front.metrics] == [("params", "minimize"), ("distance", "minimize")]
    for point in found.front.points:
        selection = selection_of(graph, point)
        assert table.total(selection) == point.values["params"] <= 48
        assert evaluator.value(selection) == pytest.approx(point.values["distance"])
    losses = [point.values["distance"] for point in found.front.points]
    assert losses == sorted(losses, reverse=True)
    assert found.measured == 30
    assert found.front.note == "distance: measured on data.npz, 32 samples; 30 selections"


def test_no_selection_is_measured_twice_and_none_over_its_budget(evaluation: Evaluation, tmp_path: Path) -> None:
    place = str(tmp_path / "study.log")
    found = explore(Exploration(evaluation, budgets={"params": 32}, storage=place), trials=10_000)
    graph = supergraph.read(evaluation.model)
    table = measure(graph, [METRICS["params"]])["params"]
    within = {s.indices for s in every(graph) if table.total(s) <= 32}
    assert calls(evaluation) == found.measured <= len(within)
    trials = trials_of(place)
    measured = [trial.user_attrs["selection"] for trial in trials if trial.user_attrs.get("measured")]
    assert Counter(measured).most_common(1)[0][1] == 1
    assert found.trials == len(trials) > found.measured
    again = explore(Exploration(evaluation, budgets={"params": 32}, storage=place), trials=found.measured)
    assert (calls(evaluation), again.front) == (found.measured, found.front)


def test_a_study_goes_on_where_it_was_and_refuses_to_be_about_something_else(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    exploration = Exploration(evaluation, storage=str(tmp_path / "study.log"))
    first = explore(exploration, trials=5)
    assert (first.measured, calls(evaluation)) == (5, 5)
    second = explore(exploration, trials=12)
    assert (second.measured, calls(evaluation)) == (12, 12)
    with pytest.raises(RunError, match="study 'search' is about something else: it differs in budgets; give another"):
        explore(replace(exploration, budgets={"params": 32}), trials=15)
    with pytest.raises(RunError, match="it differs in metrics"):
        explore(replace(exploration, metrics=("macs",)), trials=15)
    other = explore(replace(exploration, metrics=("macs",), study="other"), trials=3)
    assert other.measured == 3


def test_a_new_study_begins_with_the_exact_front_of_scores(evaluation: Evaluation, tmp_path: Path) -> None:
    place = str(tmp_path / "study.log")
    scores = {"p0": [3, 0, 0], "p1": [0, 3, 0], "p2": [0, 0, 3], "p3": [3, 0, 0], "inner": [0, 1]}
    explore(Exploration(evaluation, storage=place, scores=scores), trials=1)
    trials = trials_of(place)
    assert trials[0].params == {"p0": "skip", "p1": "b", "p2": "skip", "p3": "skip", "inner": "skip"}
    assert trials[1].state == TrialState.WAITING


def test_pins_hold_and_budgets_that_nothing_meets_are_an_error(evaluation: Evaluation) -> None:
    found = explore(Exploration(evaluation, pins={"p0": "b", "p2": 2}), trials=8)
    assert {(p.selection["p0"], p.selection["p2"]) for p in found.front.points} == {("b", "skip")}
    with pytest.raises(InfeasibleError, match="no selection with p0=b meets params <= 15 elements"):
        explore(Exploration(evaluation, pins={"p0": "b"}, budgets={"params": 15}), trials=8)
    with pytest.raises(BudgetError, match="'weight' is no metric"):
        explore(Exploration(evaluation, metrics=("weight",)), trials=8)
    with pytest.raises(ValueError, match="trials must be at least 1"):
        explore(Exploration(evaluation), trials=0)


def test_equal_seeds_propose_equal_selections(evaluation: Evaluation) -> None:
    fronts = [explore(Exploration(evaluation, seed=seed, sampler="random"), trials=9).front for seed in (0, 0, 1)]
    assert fronts[0] == fronts[1] != fronts[2]


def test_several_processes_measure_as_many_selections_as_one_would(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "loss.py").write_text(LOSS.format(pause=0.2))  # all of them measure when the last selections come
    exploration = Exploration(evaluation, storage=str(tmp_path / "study.log"), sampler="random")
    assert [explore(exploration, trials=trials, jobs=3).measured for trials in (5, 7)] == [5, 7]
    assert calls(evaluation) == 7


def command(evaluation: Evaluation, place: str, *more: object) -> list[str]:
    words = ["search", evaluation.model, "--data", evaluation.data, "--objective", evaluation.measure]
    return [sys.executable, "-m", "supernet_onnx", *map(str, [*words, "--storage", place, *more, "--json"])]


def test_a_worker_that_is_killed_loses_the_trial_that_it_was_doing_and_nothing_else(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    (tmp_path / "loss.py").write_text(LOSS.format(pause=0.15))
    place = str(tmp_path / "study.log")
    with subprocess.Popen(command(evaluation, place, "--trials", 24, "--jobs", 2), stdout=subprocess.PIPE) as program:
        victim, pid = stop_one(place, program)
        os.kill(pid, signal.SIGKILL)
        output, _ = program.communicate(timeout=60)
    assert program.returncode == 0
    record = json.loads(output)
    trials = trials_of(place, "chain")
    assert record["measured"] == 24
    assert record["lost"] == 1
    assert [trial.number for trial in trials if trial.state == TrialState.FAIL] == [victim]
    assert all(trial.state in (TrialState.COMPLETE, TrialState.WAITING) for trial in trials if trial.number != victim)
    pids = {trial.user_attrs["process"]["pid"] for trial in trials if "process" in trial.user_attrs}
    assert len(pids) == 3  # the two, and one in the place of the killed one


def test_a_search_whose_process_was_killed_goes_on_without_its_trial(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "loss.py").write_text(LOSS.format(pause=0.15))
    place = str(tmp_path / "study.log")
    with subprocess.Popen(command(evaluation, place, "--trials", 24), stderr=subprocess.DEVNULL) as program:
        stop_one(place, program)
        program.kill()
    assert [trial.state for trial in trials_of(place, "chain")].count(TrialState.RUNNING) == 1
    (tmp_path / "loss.py").write_text(LOSS.format(pause=0))
    exploration = Exploration(evaluation, storage=place, study="chain")
    found = explore(exploration, trials=20)
    assert (found.measured, found.lost) == (20, 1)
    assert TrialState.RUNNING not in [trial.state for trial in trials_of(place, "chain")]


def test_the_processes_of_a_search_end_with_it_however_it_ends(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "loss.py").write_text(LOSS.format(pause=0.15))
    place = str(tmp_path / "study.log")
    with subprocess.Popen(command(evaluation, place, "--jobs", 2), stderr=subprocess.PIPE) as program:
        while running(place) is None:
            time.sleep(0.05)
        program.kill()
        program.communicate(timeout=60)  # comes to an end when the last process has closed its end
    explore(Exploration(evaluation, storage=place, study="chain"), trials=1)
    assert TrialState.RUNNING not in [trial.state for trial in trials_of(place, "chain") if trial.user_attrs]


def test_weights_that_the_graph_computes_are_no_obstacle(evaluation: Evaluation) -> None:
    model = onnx.load(evaluation.model)
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name == "p0_theta"]:
        model.graph.initializer.remove(tensor)
    values = onnx.numpy_helper.from_array(np.full(3, 1 / 3, np.float32))
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["p0_theta"], value=values))
    marked.write(model, evaluation.model)
    assert explore(Exploration(evaluation), trials=3).measured == 3


def trials_of(place: str, study: str = "search") -> list[optuna.trial.FrozenTrial]:
    with studies.kept(place) as storage:
        return optuna.load_study(study_name=study, storage=storage).get_trials(deepcopy=False)


def running(place: str) -> tuple[int, int] | None:
    """Return the number and the process of a trial that is being measured, once some were."""
    try:
        trials = trials_of(place, "chain")
    except KeyError:  # not yet
        return None
    if sum(trial.state == TrialState.COMPLETE for trial in trials) < 3:
        return None
    for trial in trials:
        if trial.state == TrialState.RUNNING and len(trial.params) == 5 and "process" in trial.user_attrs:
            return trial.number, trial.user_attrs["process"]["pid"]
    return None


def stop_one(place: str, program: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Stop a process in the middle of a trial, and return the number of the trial and the process."""
    while program.poll() is None:
        time.sleep(0.05)
        found = running(place)
        if found is None:
            continue
        os.kill(found[1], signal.SIGSTOP)
        if trials_of(place, "chain")[found[0]].state == TrialState.RUNNING:
            return found
        os.kill(found[1], signal.SIGCONT)  # it had just come to its end
    raise AssertionError("the search came to its end before a trial was seen")


def test_what_a_worker_finds_wrong_ends_the_search(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "loss.py").write_text("def distance(outputs, targets):\n    return outputs['none']\n")
    with pytest.raises(RunError, match="'distance' fails on the outputs 'p3'"):
        explore(Exploration(evaluation), trials=4, jobs=2)
    (tmp_path / "loss.py").write_text("def distance(outputs, targets):\n    import os\n    os._exit(1)\n")
    with pytest.raises(RunError, match="all processes died, 0 of 4 selections are measured"):
        explore(Exploration(evaluation), trials=4, jobs=2)


def test_a_file_that_is_no_journal_stays_as_it_is(evaluation: Evaluation, tmp_path: Path) -> None:
    (place := tmp_path / "notes.json").write_text('{"a":')
    with pytest.raises(RunError, match="it is no journal of a study"):
        explore(Exploration(evaluation, storage=str(place)), trials=2)
    assert place.read_text() == '{"a":'


def test_a_storage_that_cannot_be_opened_is_an_error(evaluation: Evaluation, tmp_path: Path) -> None:
    for place in (str(tmp_path / "none" / "study.log"), "nonesuch://x/y", f"sqlite:///{tmp_path}/none/x.db"):
        with pytest.raises(RunError, match="cannot be opened"):
            explore(Exploration(evaluation, storage=place), trials=2)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """Start a PostgreSQL server in a folder of its own, and give the URL of its database."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        subprocess.run(["apt-get", "install", "-y", "-q", "postgresql"], check=True, capture_output=True)
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    folder = Path(tempfile.mkdtemp(prefix="postgresql."))  # a server's socket has a short name
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it refuses to run as root
    if user:
        shutil.chown(folder, "postgres")

    def run(*words: object) -> None:
        subprocess.run([*user, *map(str, words)], check=True, cwd=folder, stdout=subprocess.DEVNULL)

    run(programs / "initdb", "-D", folder / "data", "-U", "postgres", "--auth=trust", "--no-sync")
    options = f"-k {folder} -c listen_addresses= -c fsync=off"
    run(programs / "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-o", options, "-w", "start")
    try:
        yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
    finally:
        run(programs / "pg_ctl", "-D", folder / "data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


def test_a_database_keeps_a_study_as_a_journal_does(evaluation: Evaluation, postgresql: str, tmp_path: Path) -> None:
    exploration = Exploration(evaluation, budgets={"params": 48}, storage=postgresql)
    first = explore(exploration, trials=10)
    in_journal = explore(replace(exploration, storage=str(tmp_path / "study.log")), trials=10)
    assert (first.front, first.trials, first.measured) == (in_journal.front, in_journal.trials, in_journal.measured)
    second = explore(exploration, trials=16, jobs=2)
    assert second.measured == 16
    assert calls(evaluation) == 10 + second.measured
    with pytest.raises(RunError, match="it differs in budgets"):
        explore(replace(exploration, budgets={}), trials=30)
