import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.cost import params
from supernet_onnx.train import DUCCIO, Exponential, StableSelection, TemperatureSchedule
from supernet_onnx.train.lightning import SearchCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:UserWarning:lightning"),  # hints about workers of the loader
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning:lightning"),  # Lightning's own use of torch
]
EPOCHS = 4


class Search(LightningModule):
    def __init__(self, net: SuperNet, duccio: DUCCIO) -> None:
        super().__init__()
        self.net = net
        self.duccio = duccio

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        (x,) = batch
        return (self.net(x) - x).square().mean() + self.duccio(self.net)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.net.parameters(), lr=0.1)


@pytest.fixture(scope="module")
def built() -> SuperNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pool = SuperNetModule({"map": nn.Linear(4, 4), "skip": nn.Identity()})
        return SuperNet(nn.Sequential(pool), {"params": params}, input_shape=(4,))


@pytest.fixture
def net(built: SuperNet) -> SuperNet:
    return copy.deepcopy(built)


def loader() -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(torch.linspace(-1, 1, 32).view(8, 4)), batch_size=4)


def start(
    net: SuperNet, folder: Path, *, epochs: int = EPOCHS, stable: int = 99
) -> tuple[Trainer, Search, SearchCallback]:
    duccio = DUCCIO({"params": 4}, task_loss=1.0, epochs=EPOCHS)
    search = SearchCallback(
        net,
        temperature=TemperatureSchedule(net, Exponential(1.0, 0.0625, steps=EPOCHS)),
        duccio=duccio,
        stable=StableSelection(net, epochs=stable),
    )
    trainer = Trainer(
        max_epochs=epochs,
        callbacks=[search],
        accelerator="cpu",
        logger=CSVLogger(folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        default_root_dir=folder,
    )
    return trainer, Search(net, duccio), search


def test_a_trainer_steps_the_parts_and_logs_every_epoch(net: SuperNet, tmp_path: Path) -> None:
    trainer, module, _ = start(net, tmp_path)
    trainer.fit(module, loader())
    assert net.pools["0"].temperature == 0.0625
    assert module.duccio.strengths["params"] == pytest.approx(1 / 6)  # 10 expected parameters at first, 4 allowed
    header, *rows = (Path(trainer.logger.log_dir) / "metrics.csv").read_text().splitlines()  # type: ignore[union-attr,arg-type]
    values = [dict(zip(header.split(","), row.split(","), strict=True)) for row in rows]
    assert [float(row["temperature"]) for row in values] == [1.0, 0.5, 0.25, 0.125]
    assert float(values[0]["expected/params"]) > float(values[-1]["expected/params"])
    assert {"entropy", "entropy/0", "weights/0/map", "weights/0/skip", "selected/params"} <= set(values[0])


def test_a_stable_selection_stops_the_trainer(net: SuperNet, tmp_path: Path) -> None:
    with torch.no_grad():
        next(net.nas_parameters()).copy_(torch.tensor([0.0, 1.0]))
    trainer, module, _ = start(net, tmp_path, stable=2)
    trainer.fit(module, loader())
    assert trainer.current_epoch == 2


def test_a_checkpoint_restores_the_parts(net: SuperNet, built: SuperNet, tmp_path: Path) -> None:
    trainer, module, search = start(net, tmp_path, epochs=2)
    trainer.fit(module, loader())
    trainer.save_checkpoint(tmp_path / "search.ckpt")
    other = copy.deepcopy(built)
    again, fresh, resumed = start(other, tmp_path)
    again.fit(fresh, loader(), ckpt_path=str(tmp_path / "search.ckpt"))
    assert again.current_epoch == EPOCHS
    assert other.pools["0"].temperature == 0.0625
    assert resumed.state_dict()["temperature"] == {"steps": EPOCHS}
    with pytest.raises(ValueError, match="has the states of duccio, stable, temperature, the callback has nothing"):
        SearchCallback(other).load_state_dict(search.state_dict())


def test_without_lightning_the_error_names_the_extra_and_nothing_else_needs_it() -> None:
    program = (
        "import sys; sys.modules['lightning'] = None\n"
        "import supernet_onnx.train\n"
        "from supernet_onnx.errors import MissingPackageError\n"
        "try:\n    import supernet_onnx.train.lightning\n"
        "except MissingPackageError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "supernet_onnx.train.lightning needs Lightning, which is not installed; "
        "pip install 'supernet-onnx[lightning]'\n"
    )
