"""Optuna's studies: where they are kept, whom they belong to, and which of their trials are lost. Optuna's only user.

A study is kept in memory, in a journal file that many processes of one machine (or of one shared folder) write to, or
in a database. A trial whose process died stays "running" for ever; ``fail_lost`` finds those of this machine.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import socket
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from supernet_onnx.errors import MissingPackageError, RunError, in_one_line

try:
    import optuna
    from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import FrozenTrial, TrialState
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
except ModuleNotFoundError as error:
    raise MissingPackageError(
        "a search needs Optuna, which is not installed; pip install 'supernet-onnx[search]'"
    ) from error

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

__all__ = ["Sampler", "complete", "fail_lost", "file_of", "kept", "open_study", "sign"]

Sampler: TypeAlias = Literal["nsga2", "random"]

_POPULATION: Final = 24  # of NSGA-II: trials are few, for each measures a network
_HEARTBEAT_S: Final = 30  # of a database, on which the trials of other machines that died are known by
_FAILURES: Final = (optuna.exceptions.OptunaError, SQLAlchemyError, OSError)  # of a storage
_OWNER: Final = "supernet_onnx.search"
_PROCESS: Final = "process"


@contextlib.contextmanager
def kept(place: str | None) -> Iterator[BaseStorage]:
    """Open where studies are kept, and close it at the end.

    Args:
        place: None for the memory; the URL of a database, as SQLAlchemy has them; or the path of a journal file.

    Raises:
        RunError: It cannot be opened, or fails in the block.
    """
    if not logging.getLogger("supernet_onnx").isEnabledFor(logging.DEBUG):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = _open(place)
    try:
        yield storage
    except (*_FAILURES, AssertionError) as error:
        cause = error.__context__ if isinstance(error, AssertionError) else error  # Optuna's, if a trial cannot end
        if not isinstance(cause, _FAILURES):
            raise
        raise RunError(
            f"{_shown(place)} fails: {_told(cause)}; mend that, and the same command goes on with what it holds"
        ) from error
    finally:
        if isinstance(storage, RDBStorage):
            storage.remove_session()
            storage.engine.dispose()


def file_of(place: str | None) -> Path | None:
    """Return the file that keeps the studies of a place, a journal or a database of SQLite; None if no file does."""
    if place is None or "://" not in place:
        return None if place is None else Path(place)
    with _translated(_shown(place)):
        url = make_url(place)
    return Path(url.database or ":memory:") if url.get_backend_name() == "sqlite" else None


def _open(place: str | None) -> BaseStorage:
    if place is None:
        return InMemoryStorage()
    with _translated(_shown(place)):
        if "://" not in place:
            _refuse_other_files(place)
            return _read_journal(place)
        if file_of(place) == Path(":memory:"):
            raise ValueError("it keeps nothing; leave it out, or name a file: sqlite:///FILE")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the heartbeat
            return RDBStorage(place, heartbeat_interval=_HEARTBEAT_S, grace_period=3 * _HEARTBEAT_S)


def _refuse_other_files(place: str) -> None:
    """Refuse a file that is no journal, for entries would be added to it.

    Raises:
        ValueError: It is none.
    """
    with contextlib.suppress(FileNotFoundError), open(place, "rb") as file:
        first = file.readline(1 << 16)
        if first and not first.startswith(b'{"op_code":'):
            raise ValueError("it is no journal of a study; name another file, or one that is not there yet")


def _read_journal(place: str) -> BaseStorage:
    """Open a journal, and go through its entries.

    Raises:
        ValueError: One of them is none.
    """
    try:
        return JournalStorage(_Journal(place))
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:  # of Optuna's reader
        raise ValueError(f"the journal is damaged ({in_one_line(error)}); begin a study in another file") from error


def open_study(
    storage: BaseStorage,
    name: str,
    *,
    directions: Sequence[Literal["minimize", "maximize"]],
    owner: Mapping[str, object],
    sampler: Sampler,
    seed: Sequence[int],
) -> optuna.Study:
    """Open a study, or begin one.

    Args:
        storage: Where it is kept.
        name: What it is called there.
        directions: Of the values of a trial.
        owner: What the trials are about, as a JSON object: a study that is about something else is refused.
        sampler: What proposes the next trial.
        seed: Of the sampler; each process of a search needs one of its own. The trials that are there already count
            in, so that a run that goes on does not propose again what the run before did.

    Raises:
        RunError: The study is about something else, or the storage fails.
    """
    wanted = json.loads(json.dumps(owner))
    with _translated(f"study '{name}'"):
        study = optuna.create_study(storage=storage, study_name=name, directions=list(directions), load_if_exists=True)
        begun = len(study.get_trials(deepcopy=False))
        there = study.user_attrs.get(_OWNER)
        if there is None and not begun:
            study.set_user_attr(_OWNER, wanted)
            there = wanted
    if there != wanted:
        other = [key for key in wanted if not isinstance(there, dict) or there.get(key) != wanted[key]]
        raise RunError(
            f"study '{name}' is about something else: it differs in {', '.join(other) or 'what it states'}; "
            "give another name with --study, or what the study began with"
        )
    number = int(np.random.SeedSequence([*seed, begun]).generate_state(1)[0])
    if sampler == "nsga2":
        study.sampler = optuna.samplers.NSGAIISampler(population_size=_POPULATION, seed=number)
    else:
        study.sampler = optuna.samplers.RandomSampler(seed=number)
    return study


def complete(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that came to their end, in their order."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def sign(trial: optuna.Trial) -> None:
    """Note in a trial which process does it, for ``fail_lost``."""
    process = {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}
    trial.set_user_attr(_PROCESS, process)


def fail_lost(study: optuna.Study) -> int:
    """Mark the trials of processes of this machine that are no more as failed; return how many there were."""
    lost = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        process = trial.user_attrs.get(_PROCESS)
        if not isinstance(process, dict) or process.get("host") != socket.gethostname():
            continue
        if _started(process["pid"]) != process["started"]:
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError, ValueError):  # another was faster
                study.tell(trial.number, state=TrialState.FAIL)
                lost += 1
    return lost


def _started(pid: int) -> str | None:
    """Return when a process began, which tells it from a later one of that number; None if there is none."""
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return None if stat[0] in "ZX" else stat[19]  # field 22, in ticks since the machine started; zombies are dead
    if sys.platform == "linux":
        return None
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return "running"


class _Journal(JournalFileBackend):
    """A journal whose lock ends with its owner, and that is brought to the disk once a second.

    Optuna's own lock stays for half a minute if its owner is killed in between, and it waits for the disk at every
    entry, of which a trial has more than ten. Where a process is killed, nothing is lost either way.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path
        self._synced = time.monotonic()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add entries, all at once."""
        if sys.platform == "win32":
            super().append_logs(logs)
            return
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with open(self._path, "a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = _cut_torn(file)
            try:
                while lines:
                    lines = lines[file.write(lines) :]
            except OSError:  # the disk is full: no part of an entry may stay
                file.truncate(end)
                raise
            fcntl.flock(file, fcntl.LOCK_UN)
            if time.monotonic() - self._synced > 1:
                os.fsync(file.fileno())
                self._synced = time.monotonic()


def _cut_torn(file: io.FileIO) -> int:
    """Cut off the part of an entry at the end of a journal that a machine left which broke down; return the end."""
    end = file.seek(0, io.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            end = file.truncate(file.readall().rfind(b"\n") + 1)
    return end


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    """Turn what a storage raises when it is opened into our error."""
    try:
        yield
    except (*_FAILURES, ImportError, ValueError) as error:
        raise RunError(f"{where} cannot be opened: {_told(error)}") from error


def _shown(place: str | None) -> str:
    """Return what errors call a place: without the password of a database."""
    if place is None:
        return "the study in memory"
    with contextlib.suppress(ArgumentError):
        return f"'{make_url(place).render_as_string() if '://' in place else place}'"
    return f"'{place}'"


def _told(error: Exception) -> str:
    """Return what an error says: of one of a database or the system, what that itself says."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return " ".join(text.split())[:300]
