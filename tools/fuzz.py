"""Run every verb on broken models: none may crash, hang, take much memory, print a traceback or leave a file behind.

    python tools/fuzz.py --cases 20000            # mutated models, every verb on each
    python tools/fuzz.py --atheris --seconds 600  # coverage-guided; needs `pip install atheris`

Each case has 10 seconds and 1 GiB beyond what the process has at its start. A finding is written to ``--keep`` as a
file that ``--replay FILE`` runs again. Exit code 1 if there is any.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib.util
import multiprocessing
import os
import pkgutil
import platform
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).parent.parent))  # the seeds and mutations are those of the tests

import numpy as np
import onnx
from click.testing import CliRunner
from google.protobuf.message import DecodeError

import supernet_onnx
from supernet_onnx.cli import main as program
from tests.mutations import CHANGES, mutant, seeds, write

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

SECONDS: Final = 10.0
MEMORY: Final = 1 << 30
FUZZ_BYTES: Final = 20_000
VERBS: Final = {
    "inspect": ["inspect", "{case}"],
    "cost": ["cost", "{case}", "--by-node", "--unknown", "free"],
    "cost of everything": ["cost", "{case}", "--by-op", "--metric", "peak_memory", "--metric", "traffic", "--json"],
    "cost as formulas": ["cost", "{case}", "--symbolic"],
    "prune": ["prune", "{case}", "-o", "{out}"],
    "verify": ["verify", "{case}", "{case}"],
    "prune and verify": ["prune", "{case}", "-o", "{out}", "--verify", "--json"],
    "bench": ["bench", "{case}", "--rounds", "1", "--threads", "1"],
    "pareto": ["pareto", "{case}", "--points", "3", "--metric", "size"],
    "report": ["report", "{case}", "-o", "{out}.html"],
    "profile": ["profile", "{case}", "-o", "{out}.json", "--rounds", "1", "--subnets", "0"],
    "score": ["score", "{case}", "--data", "{data}", "-o", "{out}.json", "--selections", "3", "--loss", "accuracy"],
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What went wrong.

    Attributes:
        case: The number of the mutated model.
        verb: One of ``VERBS``.
        problem: In words.
    """

    case: int
    verb: str
    problem: str


def problem_of(verb: str, case: Path) -> tuple[int, str]:
    """Run a verb on a file; return its exit code and what is wrong with how it ended, or an empty text."""
    output = case.with_name("out.onnx")
    output.unlink(missing_ok=True)
    data = case.with_name("data.npz")
    if not data.exists():
        np.savez(data, x=np.zeros((8, 3, 8, 8), np.float32), label=np.zeros(8, np.int64))  # those of the first seed
    before = set(case.parent.iterdir())
    arguments = [part.format(case=case, out=output, data=data) for part in VERBS[verb]]
    result = CliRunner().invoke(program, arguments)
    left = set(case.parent.iterdir()) - before
    text = result.stdout + result.stderr
    if result.exit_code not in (0, 1, 2):
        return result.exit_code, f"exit code {result.exit_code}: {text.strip()[-400:]}"
    lines = [line for line in result.stderr.splitlines() if not line.endswith(" ...")]  # those tell of progress
    if "Traceback" in text or (result.exit_code and len(lines) > 1):
        return result.exit_code, f"more than one line: {text.strip()[-400:]}"
    if any(char in text for char in ("\x1b", "\u202e")):
        return result.exit_code, "control characters reach the terminal"
    if "out of memory" in text and verb not in ("verify", "prune and verify", "bench"):
        return result.exit_code, "more memory than a GiB"
    if result.exit_code and left:
        return result.exit_code, f"an error, but written: {sorted(path.name for path in left)}"
    if output in left:
        try:
            onnx.checker.check_model(str(output), full_check=False)
        except onnx.checker.ValidationError as error:
            return result.exit_code, f"the output does not pass the checker: {str(error)[:300]}"
    for path in left:
        path.unlink()
    return result.exit_code, ""


def work(pipe: Connection, first: int, step: int, last: int) -> None:
    """Run cases in this process, and tell before each verb what comes next."""
    faulthandler.enable(open(os.devnull, "w"))  # noqa: SIM115  a crash is told by the signal, not on the terminal
    parents = seeds()
    with tempfile.TemporaryDirectory() as folder:
        warm = write(parents[0].SerializeToString(), Path(folder))
        for verb in VERBS:
            problem_of(verb, warm)
        limit_memory()
        for number in range(first, last, step):
            case = write(mutant(number, parents), Path(folder))
            for verb in VERBS:
                pipe.send((number, verb, None, ""))
                pipe.send((number, verb, *problem_of(verb, case)))
    pipe.send(None)


def limit_memory() -> None:
    """Leave this process a GiB of addresses beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def fuzz(first: int, last: int, step: int = 1, *, seconds: float = SECONDS) -> tuple[list[Finding], Counter[str]]:
    """Run cases in a worker process, and in a new one after each that crashes or hangs.

    Returns:
        The findings, and how often each verb ended with each exit code.
    """
    findings: list[Finding] = []
    codes: Counter[str] = Counter()
    context = multiprocessing.get_context("spawn")
    number = first
    while number < last:
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=work, args=(theirs, number, step, last), daemon=True)
        worker.start()
        theirs.close()
        verb, allowed = "start", 120.0
        while True:
            try:
                told = ours.recv() if ours.poll(allowed) else (number, verb, None, "hang")
            except EOFError:
                worker.join()
                told = (number, verb, None, f"ended by signal or code {worker.exitcode}")
            if told is None:
                number = last
                break
            number, verb, code, problem = told
            allowed = seconds
            if problem:
                findings.append(Finding(number, verb, problem))
                print(f"case {number}, {verb}: {problem}", flush=True)
            if code is not None:
                codes[f"{verb}: {code}"] += 1
            elif problem:  # it hangs or is gone: the next worker goes on with the next case
                number += step
                break
        if worker.is_alive():
            worker.kill()
        worker.join()
    return findings, codes


def guided(seconds: int) -> int:
    """Let atheris look for new paths through reading a model and every verb, for some time."""
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed; pip install atheris (wheels for Python 3.11 to 3.13 on Linux)")
        return 2
    import atheris

    with atheris.instrument_imports(include=["supernet_onnx"]):
        for name in list(sys.modules):
            if name.partition(".")[0] == "supernet_onnx":
                del sys.modules[name]
        for found in pkgutil.walk_packages(supernet_onnx.__path__, "supernet_onnx."):
            if not found.name.startswith(("supernet_onnx.train", "supernet_onnx.__main__")):
                importlib.import_module(found.name)
    globals()["program"] = importlib.import_module("supernet_onnx.cli").main
    folder = Path(tempfile.mkdtemp(prefix="supernet-onnx-fuzz."))
    corpus = folder / "corpus"
    corpus.mkdir()
    for index, model in enumerate(seeds()):
        (corpus / f"seed{index}").write_bytes(bytes([index]) + model.SerializeToString())
    limit_memory()

    def target(data: bytes) -> None:
        names = list(VERBS)
        verb = names[data[0] % len(names)] if data else "inspect"
        _, problem = problem_of(verb, write(data[1:], folder / "case"))
        if problem:
            raise RuntimeError(f"{verb}: {problem}")

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        model, rng = onnx.ModelProto(), random.Random(seed)
        try:
            model.ParseFromString(data[1:])
            if rng.random() < 0.3:
                raise ValueError
            rng.choice(CHANGES)(model, rng)
            changed = bytes([rng.randrange(256)]) + model.SerializeToString()
        except (DecodeError, ValueError, TypeError, UnicodeError):  # broken already, or not to be: change bytes
            return bytes(atheris.Mutate(data, max_size))
        return changed[:max_size]

    options = [f"-max_total_time={seconds}", f"-max_len={FUZZ_BYTES}", f"-timeout={int(SECONDS)}", "-rss_limit_mb=0"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/", str(corpus)], target, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


def main() -> int:
    """Parse the arguments, fuzz, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--keep", type=Path, help="folder for the models of findings")
    parser.add_argument("--replay", type=Path, help="run every verb on one file")
    parser.add_argument("--atheris", action="store_true")
    parser.add_argument("--seconds", type=int, default=600, help="how long atheris runs")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.replay:
        for verb in VERBS:
            print(verb, *problem_of(verb, options.replay))
        return 0
    if options.atheris:
        return guided(options.seconds)
    start = time.monotonic()
    findings, codes = fuzz(options.first, options.first + options.cases)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        parents = seeds()
        for case in {finding.case for finding in findings}:
            (options.keep / f"case{case}.onnx").write_bytes(mutant(case, parents))
    for outcome, count in sorted(codes.items()):
        print(f"{outcome:24} {count:8}")
    print(
        f"{options.cases} models, {len(VERBS)} commands on each, {len(findings)} findings, "
        f"{time.monotonic() - start:.0f} s; onnx {onnx.__version__}, supernet-onnx {supernet_onnx.__version__}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
