"""Where studies are kept: journals that broke off or are damaged, places that fail, and what is said of them."""

from __future__ import annotations

import contextlib
import json
import resource
from typing import TYPE_CHECKING

import optuna
import pytest

from supernet_onnx.errors import RunError
from supernet_onnx.search import studies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENTRIES = [{"op_code": 0, "study_name": f"s{i}", "directions": [1], "worker_id": "w"} for i in range(3)]
NEW = {"op_code": 0, "study_name": "new", "directions": [1], "worker_id": "w"}


@contextlib.contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let writing beyond a size fail, after a part of what was to be written, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    studies._Journal(str(tmp_path / "j.log")).append_logs(ENTRIES)
    return tmp_path / "j.log"


@pytest.mark.parametrize("rest", [b"", b"\0" * 9])
def test_a_journal_that_broke_off_anywhere_goes_on_with_its_whole_entries(rest: bytes, place: Path) -> None:
    whole = place.read_bytes()
    for end in range(len(whole) + 1):
        place.write_bytes(whole[:end] + rest)
        studies._Journal(str(place)).append_logs([NEW])
        found = list(studies._Journal(str(place)).read_logs(0))
        assert found == [*ENTRIES[: whole[:end].count(b"\n")], NEW]


def test_of_an_entry_that_finds_no_room_nothing_stays(place: Path) -> None:
    before = place.read_bytes()
    for room in (0, 1, 30):
        with files_of_at_most(len(before) + room), pytest.raises(OSError, match="too large"):
            studies._Journal(str(place)).append_logs([NEW, NEW])
        assert place.read_bytes() == before


def test_a_place_that_fails_is_named_and_so_is_the_next_step(place: Path) -> None:
    told = rf"'{place}' fails: File too large; mend that, and the same command goes on with what it holds"
    with files_of_at_most(place.stat().st_size), pytest.raises(RunError, match=told), studies.kept(str(place)) as kept:
        kept.create_new_study([], "other")


def test_wherever_room_ends_in_a_trial_the_place_is_named_and_its_journal_stays_whole(tmp_path: Path) -> None:
    def search(place: Path, trials: int) -> int:
        with studies.kept(str(place)) as kept:
            study = optuna.create_study(storage=kept, study_name="s", load_if_exists=True)
            study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=trials)
            return len(study.trials)

    search(whole := tmp_path / "whole.log", 2)
    for room in range(150, whole.stat().st_size, 60):
        place = tmp_path / f"{room}.log"
        with files_of_at_most(room), pytest.raises(RunError, match="fails: File too large"):
            search(place, 9)
        assert place.read_bytes().endswith(b"\n")
        assert search(place, 1) >= 1


@pytest.mark.parametrize(
    "line", [b"{", b'{"op_code":0}', b'{"op_code":99}', b"[]", b"1", b'{"op_code":5,"trial_id":9}']
)
def test_a_damaged_entry_is_an_error(line: bytes, place: Path) -> None:
    entries = place.read_bytes().splitlines(keepends=True)
    place.write_bytes(entries[0] + line + b"\n" + entries[1])
    told = rf"'{place}' cannot be opened: the journal is damaged \(.*\); begin a study in another file"
    with pytest.raises(RunError, match=told), studies.kept(str(place)):
        pass
    assert json.loads(place.read_bytes().splitlines()[-1]) == ENTRIES[1]


def test_a_password_is_not_told() -> None:
    with (
        pytest.raises(RunError, match=r"'postgresql\+psycopg://me:\*\*\*@127.0.0.1:1/x' cannot be opened"),
        studies.kept("postgresql+psycopg://me:secret@127.0.0.1:1/x"),
    ):
        pass


def test_a_database_that_keeps_nothing_is_refused() -> None:
    for place in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(RunError, match="it keeps nothing; leave it out, or name a file"), studies.kept(place):
            pass
