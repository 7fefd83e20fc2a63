"""Trains a reference supernet, chooses a network from it, and writes both as ONNX files.

    python -m models resnet8 --budget params=20k
    python -m models tcresnet --sampling gumbel --budget macs=40% --epochs 30

1. The supernet is trained: with ``--sampling uniform`` one random path a step, its branches scored afterwards; with
   any other sampling, branches and the logits that weigh them together.
2. The best network under the budgets is chosen, exactly, by scores or by weights.
3. The supernet is written with its BatchNorm nodes, so that ``supernet-onnx prune`` can cut it for other budgets.
4. The chosen network gets BatchNorm statistics of its own, is trained on, and written.

The data come by ``bash tools/fetch_data``; ``--data noise`` needs none, to see that everything runs.
"""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import torch

from models import training
from models.data import DATASETS, Data, load
from models.digits import progress
from supernet_onnx import SuperNet, SuperNetError
from supernet_onnx.cost import METRICS, measure, params
from supernet_onnx.search.budgets import limit_of
from supernet_onnx.train import recalibrate_batchnorm, score

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from supernet_onnx.cost import Metric
    from supernet_onnx.search import Choice

DATA: Final = {  # what each supernet is trained on unless told otherwise
    "digits": "digits",
    "dscnn": "speech",
    "mobilenetv1": "fashion-mnist",
    "proxyless": "fashion-mnist",
    "resnet8": "fashion-mnist",
    "tcresnet": "motions",
    "vit": "fashion-mnist",
}
UNIFORM: Final = "uniform"
SAMPLINGS: Final = (UNIFORM, "softmax", "gumbel", "gumbel_hard", "hard", "single_path", "two_path")
BATCH: Final = 200  # to score and to calibrate with
CALIBRATION_BATCHES: Final = 10
FINE_TUNING: Final = 0.1  # of the learning rate


def read_budgets(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Read ``METRIC=AMOUNT``, as often as given."""
    budgets = {}
    for value in values:
        name, separator, amount = value.partition("=")
        if not separator or name not in METRICS:
            raise click.BadParameter(f"'{value}' is no METRIC=AMOUNT; the metrics are: {', '.join(METRICS)}")
        if name in budgets:
            raise click.BadParameter(f"'{value}' is the second budget of {name}; give one for each metric")
        budgets[name] = amount
    return budgets


@click.command(context_settings={"show_default": True})
@click.argument("name", type=click.Choice(list(DATA)), metavar="NAME")
@click.option("--data", "dataset", type=click.Choice(DATASETS), help="What to train on.  [default: by the supernet]")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the data's files lie, if not in ./data.")
@click.option("--samples", type=click.IntRange(min=2), help="Train on so many samples only.")
@click.option("--sampling", default=UNIFORM, type=click.Choice(SAMPLINGS), help="How a training step samples.")
@click.option("--budget", "budgets", multiple=True, callback=read_budgets, metavar="METRIC=AMOUNT", show_default=False,
              help="The most to spend, such as params=20k or macs=40%; repeatable.")  # fmt: skip
@click.option("--epochs", default=20, type=click.IntRange(min=1), help="Passes over the training data.")
@click.option("--lr", default=1e-2, type=click.FloatRange(min=0, min_open=True), help="Largest learning rate.")
@click.option("--batch-size", default=64, type=click.IntRange(min=2), help="Samples in a step.")
@click.option("--selections", default=48, type=click.IntRange(min=3), help="Random subnets to score branches by.")
@click.option("--fine-tuning", default=5, type=click.IntRange(min=0), help="Epochs for the chosen network.")
@click.option("--threads", default=1, type=click.IntRange(min=1), help="Processor threads of PyTorch.")
@click.option(
    "--seed", default=0, type=click.IntRange(min=0), help="Decides split, first values and all that is drawn."
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where the supernet goes.  [default: NAME.onnx]"
)
def main(
    name: str,
    dataset: str | None,
    folder: Path | None,
    samples: int | None,
    sampling: str,
    budgets: dict[str, str],
    epochs: int,
    lr: float,
    batch_size: int,
    selections: int,
    fine_tuning: int,
    threads: int,
    seed: int,
    output: Path | None,
) -> None:
    """Train the reference supernet NAME, choose a network from it, and write both as ONNX files."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    output = output or Path(f"{name}.onnx")
    architecture = importlib.import_module(f"models.{name}")
    example = architecture.example_input()
    with errors_in_a_line():
        output.parent.mkdir(parents=True, exist_ok=True)
        data = load(dataset or DATA[name], tuple(example.shape[1:]), folder=folder, seed=seed).first(samples)
        net = build(architecture.build(data.classes), example, budgets, seed)
        net.choose(budgets)  # budgets that nothing meets are an error before the training
        with progress(f"training {name} on {data.name}", epochs) as report:
            if sampling == UNIFORM:
                training.train_paths(net, data, epochs=epochs, lr=lr, batch_size=batch_size, seed=seed, report=report)
            else:
                training.train_weights(
                    net, data, epochs=epochs, lr=lr, batch_size=batch_size, budgets=limits_of(net, budgets),
                    sampling=sampling, seed=seed, report=report,
                )  # fmt: skip
        if sampling == UNIFORM:
            score_branches(net, data, selections, seed)
        choice = net.choose(budgets)
        net.export_onnx(output, fold_batchnorm=False)
        print(f"supernet: {output}")
        show(choice)
        finish(
            net, choice, data, epochs=fine_tuning, lr=FINE_TUNING * lr, batch_size=batch_size, seed=seed, output=output
        )


@contextlib.contextmanager
def errors_in_a_line() -> Iterator[None]:
    """Say in a line what is wrong with data, budgets or files, without a traceback."""
    try:
        yield
    except (SuperNetError, OSError) as error:
        raise click.ClickException(str(error)) from error


def build(model: torch.nn.Module, example: torch.Tensor, budgets: Mapping[str, str], seed: int) -> SuperNet:
    """Wrap and price a supernet; its costs are the metrics of the budgets, or ``params``."""
    costs: dict[str, Metric] = {name: METRICS[name] for name in budgets} or {"params": params}
    net = SuperNet(model, cost=costs, input_example=example, full_cost=True, seed=seed)
    return training.channels_last(net) if example.dim() == 4 else net


def limits_of(net: SuperNet, budgets: Mapping[str, str]) -> dict[str, float]:
    """Return budgets as numbers; a share is of the largest subnet."""
    tables = measure(net.supergraph, [METRICS[name] for name in budgets])
    return {name: float(limit_of(tables[name], amount)) for name, amount in budgets.items()}


def score_branches(net: SuperNet, data: Data, selections: int, seed: int) -> None:
    """Score the branches on the validation data, and say how far the scores are to be trusted."""
    with progress("scoring the branches", selections) as report:
        batches = data.batches(data.validation, BATCH)
        try:
            effects = score(net, batches, selections, seed=seed, progress=lambda done, number: report(""))
        except ValueError as error:  # of a training that diverged
            raise click.ClickException(str(error)) from error
    print(f"scores: rank correlation {effects.rank_correlation:.2f} on selections held back, of {selections}")


def show(choice: Choice) -> None:
    """Print what was chosen."""
    print("chosen: " + ", ".join(f"{pool}={branch}" for pool, branch in choice.selection.as_dict().items()))
    for budget in choice.budgets:
        print(f"{budget.metric}: {budget.cost:,} of at most {budget.limit:,}")


def finish(
    net: SuperNet, choice: Choice, data: Data, *, epochs: int, lr: float, batch_size: int, seed: int, output: Path
) -> None:
    """Recalibrate the chosen network, train it on, print its test accuracy on the way, and write it."""
    network = net.export(choice.selection)
    reached = {"as it was cut": training.accuracy(network, data, data.test)}
    recalibrate_batchnorm(network, data.batches(data.train, BATCH), batches=CALIBRATION_BATCHES)
    reached["with BatchNorm statistics of its own"] = training.accuracy(network, data, data.test)
    if epochs:
        with progress("fine-tuning", epochs) as report:
            training.fit(network, data, epochs=epochs, lr=lr, batch_size=batch_size, seed=seed, report=report)
        reached["after fine-tuning"] = training.accuracy(network, data, data.test)
    written = output.with_suffix(".chosen.onnx")
    training.export_plain(network, data.prepare(data.test[0][:2]), written)
    print("test accuracy: " + ", ".join(f"{value:.1%} {when}" for when, value in reached.items()))
    print(f"chosen network: {written}")


if __name__ == "__main__":
    main()
