"""What experiments keep of their trials: results survive a stop, and those of other settings are not mixed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.trials import Ledger, run

if TYPE_CHECKING:
    from pathlib import Path


def test_results_are_there_again_when_the_file_is_opened_anew(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "out.json", {"epochs": 3, "shares": (0.1, 0.2)})
    ledger["first"] = {"accuracy": 0.5, "sizes": (1, 2)}
    again = Ledger(tmp_path / "out.json", {"epochs": 3, "shares": (0.1, 0.2)})
    assert list(again) == ["first"]
    assert "first" in again
    assert "second" not in again
    assert again["first"] == {"accuracy": 0.5, "sizes": [1, 2]}
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_results_of_other_settings_are_refused(tmp_path: Path) -> None:
    Ledger(tmp_path / "out.json", {"epochs": 3})["first"] = {}
    with pytest.raises(ValueError, match="was written with other settings; give another file, or remove it"):
        Ledger(tmp_path / "out.json", {"epochs": 4})


def test_trials_with_a_result_are_not_done_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "out.json", {})
    ledger["done"] = {"value": 1}
    run("nothing to do", {"done": ()}, lambda: {"value": 2}, ledger, jobs=1)
    assert ledger["done"] == {"value": 1}


def test_each_trial_is_done_with_its_arguments_in_a_process_of_its_own(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "out.json", {})
    run("two", {"a": (tmp_path / "a",), "b": (tmp_path / "b",)}, touch, ledger, jobs=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "out.json"]
    assert ledger["a"]["name"] == "a"
    assert ledger["a"]["cpu_s"] >= 0


def touch(path: Path) -> dict[str, object]:
    path.touch()
    return {"name": path.name}
