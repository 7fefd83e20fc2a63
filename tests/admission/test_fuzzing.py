"""A short run of tools/fuzz.py: every verb on mutated models, in a process that may crash or hang without harm."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import fuzz

from tests.mutations import mutant, seeds


def test_mutated_models_end_every_verb_in_an_answer_or_one_line() -> None:
    findings, codes = fuzz.fuzz(0, 80)
    assert findings == []
    assert sum(codes.values()) == 80 * len(fuzz.VERBS)
    for verb in fuzz.VERBS:
        assert codes[f"{verb}: 2"] > 30
        assert codes[f"{verb}: 0"] > 0


def test_a_case_is_the_same_whenever_it_is_made() -> None:
    assert [mutant(number, seeds()) for number in range(20)] == [mutant(number, seeds()) for number in range(20)]


@pytest.mark.parametrize("verb", fuzz.VERBS)
def test_a_problem_would_be_seen(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from supernet_onnx import supergraph

    def fail(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(supergraph, "read", fail)
    case = tmp_path / "case.onnx"
    case.write_bytes(seeds()[0].SerializeToString())
    assert "exit code 70" in fuzz.problem_of(verb, case)[1]
