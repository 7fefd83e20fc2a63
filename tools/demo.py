"""The whole road on real data: train the digits supernet, export it, and take the file through every command.

``bash tools/demo`` runs it; everything that it writes lies in ``demo/``. Each step checks what it claims.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import onnxruntime
import torch
from matplotlib.figure import Figure

from models import digits
from models.training import export_plain
from supernet_onnx import SuperNet
from supernet_onnx.cost import params

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

SEED: Final = 0
GOAL: Final = 0.95  # of the test images, after fine-tuning

FOLDER: Final = Path("demo")
SUPERNET: Final = FOLDER / "digits.onnx"
PRUNED: Final = FOLDER / "digits.pruned.onnx"
LARGEST: Final = FOLDER / "digits.largest.onnx"
FINETUNED: Final = FOLDER / "digits.finetuned.onnx"
COSTS: Final = FOLDER / "cost.json"
TIMES: Final = FOLDER / "bench.json"
VALIDATION: Final = FOLDER / "validation.npz"
PICTURE: Final = FOLDER / "weights.png"
FRONT: Final = FOLDER / "front.json"
PAGE: Final = FOLDER / "digits.report.html"

_STYLES: Final = {  # colours that colour-blind readers tell apart (Okabe and Ito), and dashes for print
    "conv3": ("#0072B2", "-"),
    "conv5": ("#D55E00", "--"),
    "separable": ("#009E73", "-."),
    "identity": ("#000000", ":"),
}


class Accuracies(NamedTuple):
    """Shares of the test images that torch classifies right, 0 to 1."""

    mixture: float
    chosen: float
    finetuned: float


def main() -> None:
    """Run the demo."""
    started = time.perf_counter()
    FOLDER.mkdir(exist_ok=True)
    torch.set_num_threads(1)  # tensors this small gain nothing from more, and lose much on a busy machine
    data = digits.load_data(SEED)
    accuracies = train_and_export(data)
    use_the_file()
    summarize(accuracies, data)
    print(f"time       {time.perf_counter() - started:.0f} s for all of this")


def train_and_export(data: digits.Data) -> Accuracies:
    """Train the supernet, write it, draw how it chose, and fine-tune and write what it chose."""
    heading("Train a supernet in PyTorch; export it and the network that it chose")
    torch.manual_seed(SEED)
    net = SuperNet(digits.build(), cost=params, input_example=digits.example_input())
    history = digits.train(net, data, seed=SEED)
    draw(history, PICTURE)
    net.export_onnx(SUPERNET)
    print(f"the supernet: {SUPERNET}")
    images, labels = (tensor.numpy() for tensor in data.validation)
    np.savez(VALIDATION, images=images, labels=labels)

    mixture = digits.accuracy(net, data.test)
    chosen = net.export()
    before = digits.accuracy(chosen, data.test)
    digits.fine_tune(chosen, data, seed=SEED)
    export_plain(chosen, digits.example_input(), FINETUNED)
    print(f"the chosen network, fine-tuned: {FINETUNED}")
    return Accuracies(mixture, before, digits.accuracy(chosen, data.test))


def use_the_file() -> None:
    """Take the supernet's file through every command; no PyTorch from here on."""
    heading("Inspect, price, prune and time the file, without PyTorch")
    run("inspect", SUPERNET)
    run("cost", SUPERNET, "--metric", "params", "--metric", "macs")
    run("prune", SUPERNET, "-o", PRUNED, "--verify")
    run("bench", SUPERNET, PRUNED, "--seconds", 2)

    heading("The same in a script: the largest subnet, for comparison")
    run("cost", SUPERNET, "--metric", "params", "--json", to=COSTS)
    run("prune", SUPERNET, "-o", LARGEST, "--verify", *largest_selection())
    run("bench", SUPERNET, LARGEST, PRUNED, FINETUNED, "--threads", 1, "--seconds", 4, "--json", to=TIMES)

    heading("Other budgets, and all of it as a page to look at")
    run("pareto", SUPERNET, "-o", FRONT)
    run("report", SUPERNET, "--front", FRONT, "-o", PAGE)


def largest_selection() -> Iterator[str]:
    """Iterate over the arguments that select the branch with the most parameters in every pool."""
    for pool, branches in json.loads(COSTS.read_text())["metrics"]["params"]["pools"].items():
        yield "--select"
        yield f"{pool}={max(branches, key=branches.__getitem__)}"


def summarize(torch_says: Accuracies, data: digits.Data) -> None:
    """Print the results, and end the program if they are not what they should be."""
    heading("Summary")
    measured = json.loads(TIMES.read_text())
    rows = {Path(row["file"]): row for row in measured["models"]}
    right = {path: onnx_accuracy(path, data.test) for path in (SUPERNET, PRUNED, FINETUNED)}
    names = ("supernet, the mixture", "largest subnet", "chosen network", "chosen, fine-tuned")
    print(f"\n{'':22} {'parameters':>10} {'latency':>10} {'accuracy':>9}  file")
    for name, (path, row) in zip(names, rows.items(), strict=True):
        accuracy = f"{right[path]:.1%}" if path in right else "-"
        print(f"{name:22} {row['params']:>10,} {row['median_ms']:>7.3f} ms {accuracy:>9}  {path}")
    print()

    for path, expected in zip(right, torch_says, strict=True):
        check(right[path] == expected, f"{path}: accuracy is {right[path]:.2%}, in PyTorch it is {expected:.2%}")
    chosen, largest = rows[PRUNED]["params"], rows[LARGEST]["params"]
    check(chosen < largest, f"the chosen network has {chosen:,} parameters, the largest subnet {largest:,}")
    check(torch_says.finetuned >= GOAL, f"accuracy is {torch_says.finetuned:.1%}, expected at least {GOAL:.0%}")

    where = measured["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    print(f"latency    median for one image, 1 thread, {where['processor']}; {versions}")
    print(f"accuracy   on {len(data.test[1])} test images in onnxruntime; PyTorch {torch.__version__} gives the same")
    print(f"data       {VALIDATION}: the validation images, for score and search")
    print(f"picture    {PICTURE}: how the branch weights moved")
    print(f"as JSON    {COSTS}, {TIMES}")
    print(f"page       {PAGE}: open it in a browser")
    print("your turn  source .venv/bin/activate, then any of the commands above")


def onnx_accuracy(path: Path, part: tuple[Tensor, Tensor]) -> float:
    """Return the share of images that a file classifies right in onnxruntime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images, labels = (tensor.numpy() for tensor in part)
    (logits,) = session.run(None, {session.get_inputs()[0].name: images})
    return float(np.mean(logits.argmax(1) == labels, dtype=np.float32))


def draw(history: list[digits.Epoch], path: Path) -> None:
    """Draw the weights of each pool's branches over the epochs, one panel a pool."""
    pools = list(history[0].pools)
    epochs = range(1, len(history) + 1)
    figure = Figure(figsize=(7.2, 2.5), layout="constrained")
    panels = figure.subplots(1, len(pools), sharex=True, sharey=True, squeeze=False)[0]
    for panel, pool in zip(panels, pools, strict=True):
        weights = [epoch.pools[pool]["weights"] for epoch in history]
        for branch in weights[0]:
            colour, dashes = _STYLES[branch]
            panel.plot(epochs, [of[branch] for of in weights], dashes, color=colour, label=branch, linewidth=1.4)
        panel.set_title(f"{pool}: {history[-1].pools[pool]['selected']}", fontsize=9)
        panel.set_xlabel("epoch", fontsize=8)
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("branch weight θ", fontsize=8)
    panels[0].set(xlim=(1, len(history)), ylim=(-0.02, 1.02))
    lines = {line.get_label(): line for panel in panels for line in panel.get_lines()}
    figure.legend(lines.values(), lines, loc="outside lower center", ncols=len(lines), frameon=False, fontsize=8)
    figure.savefig(path, dpi=200)


def run(verb: str, *arguments: object, to: Path | None = None) -> None:
    """Run a command of supernet-onnx, showing its line; its output goes on, or to a file."""
    words = [verb, *map(str, arguments)]
    print(f"\n$ supernet-onnx {shlex.join(words)}" + (f" > {to}" if to else ""), flush=True)
    program = Path(sys.executable).with_name("supernet-onnx")
    done = subprocess.run([program, *words], stdout=subprocess.PIPE if to else None, check=False)
    check(done.returncode == 0, f"'supernet-onnx {verb}' exits with {done.returncode}")
    if to:
        to.write_bytes(done.stdout)


def check(holds: bool, complaint: str) -> None:
    """End the program with exit code 1 and one line unless something holds."""
    if not holds:
        sys.exit(f"demo failed: {complaint}")


def heading(text: str) -> None:
    """Print what comes next."""
    print(f"\n== {text} ==", flush=True)


if __name__ == "__main__":
    main()
