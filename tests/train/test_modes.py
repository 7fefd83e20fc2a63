"""What each way to sample runs, and what it leaves alone."""

import copy
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from modes import DISCRETE, MODES, Convs, Linears, Scale, Scales, fresh, ran
from torch import Tensor, nn

from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.errors import SelectionError
from supernet_onnx.train.sampling import Chance, Draw, Gumbel, Hard, Sampling, Softmax, TwoPath, Uniform

SIZES = {"softmax": 3, "gumbel": 3, "gumbel_hard": 3, "hard": 3, "single_path": 1, "two_path": 2, "uniform": 1}


@pytest.fixture(scope="module")
def convs() -> SuperNet:
    torch.manual_seed(0)
    return SuperNet(Convs(), input_shape=(2, 8, 8))


@pytest.fixture(scope="module")
def linears() -> SuperNet:
    torch.manual_seed(0)
    return SuperNet(Linears(), input_shape=(4,))


def images(size: int = 4) -> Tensor:
    return torch.randn(size, 2, 8, 8, generator=torch.Generator().manual_seed(1))


def test_a_sampling_is_set_by_name_or_object_at_any_time_and_reads_back(convs: SuperNet) -> None:
    net = fresh(convs, "softmax")
    for name, mode in MODES.items():
        net.sampling = name
        assert net.sampling == mode
        net.sampling = mode
        assert net.sampling is mode
    net.model.first.sampling = Softmax(drop_below=0.5)
    assert net.sampling is None
    with pytest.raises(ValueError, match=r"there is no sampling 'sofmax'; .* softmax, gumbel, gumbel_hard, hard, sin"):
        net.sampling = "sofmax"
    with pytest.raises(TypeError, match="sampling must be a name or an object of Sampling"):
        net.sampling = 3


def test_the_options_of_the_constructor_and_of_plinio_stand_for_samplings() -> None:
    for gumbel, hard in itertools.product((False, True), (False, True)):
        expected = Gumbel(hard=hard) if gumbel else Hard() if hard else Softmax()
        pool = SuperNetModule([nn.Identity()], gumbel, hard)
        assert pool.sampling == expected
        assert (pool.gumbel_softmax, pool.hard_softmax) == (gumbel, hard)
        other = SuperNetModule([nn.Identity()])
        other.hard_softmax, other.gumbel_softmax = hard, gumbel
        assert other.sampling == expected
    net = SuperNet(Scales((1.0, 2.0)), input_shape=(2,), sampling="single_path")
    net.update_softmax_options(hard=True)
    assert net.sampling == Hard()


@pytest.mark.parametrize("name", MODES)
def test_a_training_step_runs_as_many_branches_as_the_mode_says(convs: SuperNet, name: str) -> None:
    net = fresh(convs, name)
    record = ran(net)
    net(images())
    assert len(record["first"]) == SIZES[name]


@pytest.mark.parametrize("name", MODES)
def test_eval_is_the_mixture_or_the_heaviest_branch(convs: SuperNet, name: str) -> None:
    net = fresh(convs, name).eval()
    with torch.no_grad():
        net.model.first.alpha.copy_(torch.tensor([0.0, 1.0, 0.5]))
    record = ran(net)
    net(images())
    assert record["first"] == ({1} if name in DISCRETE else {0, 1, 2})


@pytest.mark.parametrize("name", DISCRETE)
def test_running_statistics_of_branches_that_do_not_count_stay(convs: SuperNet, name: str) -> None:
    net = fresh(convs, name)
    for _ in range(8):
        net(images())
    norms = [branch[1] for branch in (*net.model.second.branches, *net.model.first.branches[:2])]
    counts = [int(norm.num_batches_tracked) for norm in norms]
    assert counts[0] + counts[1] == 8
    assert counts[2] + counts[3] <= 8
    for norm, count in zip(norms, counts, strict=True):
        assert norm.track_running_stats
        assert torch.equal(norm.running_mean, torch.zeros(4)) == (count == 0)


def test_branches_that_are_not_drawn_hold_nothing_for_backward(convs: SuperNet) -> None:
    """A draw of one branch keeps for backward just what the network of that path keeps."""

    def kept(net: nn.Module) -> int:
        own = {parameter.data_ptr() for parameter in net.parameters()}
        storages: dict[int, Tensor] = {}

        def pack(tensor: Tensor) -> Tensor:
            if tensor.untyped_storage().data_ptr() not in own:
                storages[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = net(images(32)).sum()
        total = sum(tensor.untyped_storage().nbytes() for tensor in storages.values())
        loss.backward()
        return total

    for name in ("single_path", "uniform"):
        net = fresh(convs, name)
        net(images()).sum().backward()  # shows that nothing changes the pools' outputs in place
        record = ran(net)
        for _ in range(4):
            for branches in record.values():
                branches.clear()
            ours = kept(net)
            plain = net.export({pool: next(iter(branches)) for pool, branches in record.items()})
            assert ours <= kept(plain) + 200  # a few weights
    soft = fresh(convs, "softmax")
    outputs = [0]
    for pool in (soft.model.first, soft.model.second):
        for branch in pool.branches:
            branch.register_forward_hook(lambda _, __, y: outputs.append(y.nbytes))
    branches = sum(kept(fresh(convs, "softmax").export({"first": i, "second": j})) for i, j in ((0, 0), (1, 1)))
    assert kept(soft) <= branches + 200


def test_a_pool_that_is_used_twice_takes_one_sample(linears: SuperNet) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = SuperNetModule([Scale(1.0), Scale(2.0), Scale(3.0)])

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.pool(x), self.pool(x)

    pristine = SuperNet(Twice(), input_shape=(2,))
    for name in MODES:
        net = fresh(pristine, name)
        for _ in range(5):
            first, again = net(torch.ones(1, 2))
            assert torch.equal(first, again)


def test_draws_depend_on_the_seed_alone(linears: SuperNet) -> None:
    def paths(net: SuperNet, count: int = 12) -> list[dict[str, set[int]]]:
        record = ran(net)
        found = []
        for _ in range(count):
            for branches in record.values():
                branches.clear()
            net(torch.ones(1, 4))
            found.append(copy.deepcopy(record))
        return found

    for name in ("single_path", "two_path", "uniform"):
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = paths(fresh(linears, name, seed=3))
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(2)
        assert paths(fresh(linears, name, seed=3)) == first
        assert paths(fresh(linears, name, seed=4)) != first


def test_a_seed_is_torchs_unless_it_is_given() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(123)
        net = SuperNet(Scales((1.0, 2.0)), input_shape=(2,))
    assert net.state_dict()["_extra_state"].tolist() == [123, 0]
    assert SuperNet(Scales((1.0,)), input_shape=(2,), seed=5).state_dict()["_extra_state"].tolist() == [5, 0]
    with pytest.raises(ValueError, match="seed must be from 0"):
        SuperNet(Scales((1.0,)), input_shape=(2,), seed=-1)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_uniform_takes_each_branch_once_in_every_lap(count: int) -> None:
    chances = [Chance(torch.random, 7, step, 3) for step in range(20 * count)]  # type: ignore[arg-type]  # not used
    turns = [Uniform().draw([0.0] * count, 1.0, chance).branches[0] for chance in chances]
    laps = [tuple(turns[i : i + count]) for i in range(0, len(turns), count)]
    assert all(sorted(lap) == list(range(count)) for lap in laps)
    assert len(set(laps)) > 1 or count == 1


@pytest.mark.parametrize("name", ["gumbel_hard", "single_path", "two_path"])
def test_each_branch_counts_as_often_as_its_softmax_says(name: str) -> None:
    logits, draws = [0.0, 1.0, -0.5], 4000
    counts: Counter[int] = Counter()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(draws):
            draw = MODES[name].draw(logits, 1.0, Chance.from_torch())
            assert draw.taken is not None
            counts[draw.branches[draw.taken]] += 1
    for i, p in enumerate(torch.softmax(torch.tensor(logits), 0).tolist()):
        assert counts[i] / draws == pytest.approx(p, abs=5 * (p * (1 - p) / draws) ** 0.5)


def test_the_paths_of_two_path_are_two_even_if_one_weighs_nothing() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(20):
            draw = TwoPath().draw([0.0, -2000.0, -2000.0], 1.0, Chance.from_torch())
            assert len(draw.branches) == 2
            assert draw.branches[draw.taken or 0] == 0
    assert TwoPath().draw([0.3], 1.0, Chance.from_torch()).branches == (0,)


def test_a_branch_that_weighs_too_little_stops_and_can_return_in_a_probe() -> None:
    net = fresh(SuperNet(Scales((1.0, 2.0, 3.0)), input_shape=(2,)), Softmax(drop_below=0.1, probe_every=4))
    pool = net.model.pools[0]
    before = [branch.calls for branch in pool.branches]
    with torch.no_grad():
        pool.alpha.copy_(torch.tensor([0.6, 0.38, 0.02]).log())
    outputs = [float(net(torch.ones(1, 1)).detach()) for _ in range(8)]
    assert [branch.calls - was for branch, was in zip(pool.branches, before, strict=True)] == [8, 8, 2]
    mixture, without = 0.6 + 2 * 0.38 + 3 * 0.02, (0.6 + 2 * 0.38) / 0.98
    assert outputs == pytest.approx([mixture, without, without, without] * 2)
    assert float(net.eval()(torch.ones(1, 1)).detach()) == pytest.approx(mixture)
    with torch.no_grad():
        pool.alpha.zero_()
    net.train()(torch.ones(1, 1))
    assert pool.branches[2].calls - before[2] == 4  # in eval once, and now
    with pytest.raises(ValueError, match="drop_below is a weight"):
        Softmax(drop_below=1.0)
    with pytest.raises(ValueError, match="probe_every"):
        Softmax(probe_every=0)


def test_the_cost_counts_branches_that_do_not_run(linears: SuperNet) -> None:
    costs = set()
    for mode in (*MODES.values(), Softmax(drop_below=0.4)):
        if not mode.prices_choice:
            net = fresh(linears, mode)
            net(torch.ones(1, 4))
            costs.add(float(net.cost.detach()))
            net.cost.backward()
            assert all(alpha.grad is not None for alpha in net.nas_parameters())
    assert len(costs) == 1


def test_a_path_runs_alone_in_training_and_eval_and_ends_with_its_block(convs: SuperNet) -> None:
    for name in MODES:
        net = fresh(convs, name)
        record = ran(net)
        for training in (True, False):
            net.train(training)
            for branches in record.values():
                branches.clear()
            with net.path({"first": "skip"}):
                with net.path({"first": 0, "second": "conv3"}):
                    net(images())
                assert record == {"first": {0}, "second": {1}}
                net(images())
            assert record["first"] == {0, 2}
        net(images())
        assert net.model.first._fixed is None
    with pytest.raises(SelectionError, match="pool 'third' is not in the model"), net.path({"third": 0}):
        pass
    with pytest.raises(SelectionError, match="has no branch 'conv7'"), net.path({"second": 0, "first": "conv7"}):
        pass
    assert net.model.second._fixed is None
    for wrong in ("second", ["second"]):
        with pytest.raises(
            TypeError, match=r"a selection is a mapping of pools to branches, such as \{.first.: .conv3., "
        ):
            net.export(wrong)


def test_a_path_computes_what_the_exported_network_does(convs: SuperNet) -> None:
    net = fresh(convs, "softmax").eval()
    for first, second in itertools.product(range(3), range(2)):
        selection = {"first": first, "second": second}
        with net.path(selection):
            assert torch.equal(net(images()), net.export(selection)(images()))


def test_a_model_called_directly_draws_from_torchs_generator(linears: SuperNet) -> None:
    net = fresh(linears, "single_path")
    net(torch.ones(1, 4))
    record = ran(net)
    with torch.random.fork_rng():
        for seed in range(20):
            torch.manual_seed(seed)
            net.model(torch.ones(1, 4))
    assert record["outer"] == {0, 1, 2}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", MODES)
def test_every_mode_trains_under_autocast(convs: SuperNet, name: str, dtype: torch.dtype) -> None:
    net = fresh(convs, name)
    for _ in range(3):
        with torch.autocast("cpu", dtype):
            loss = net(images()).float().pow(2).sum()
        loss.backward()
    for alpha in net.nas_parameters():
        assert alpha.grad is None if name == "uniform" else alpha.grad.isfinite().all()


@pytest.mark.parametrize("name", MODES)
def test_the_memory_format_of_the_branches_is_kept(convs: SuperNet, name: str) -> None:
    net = fresh(convs, name).to(memory_format=torch.channels_last)
    formats = []
    for pool in (net.model.first, net.model.second):
        pool.register_forward_hook(lambda _, __, y: formats.append(y.is_contiguous(memory_format=torch.channels_last)))
    x = images().to(memory_format=torch.channels_last)
    for _ in range(3):
        net(x).sum().backward()
    assert formats == [True] * 6


@pytest.mark.parametrize("name", MODES)
def test_an_in_place_operation_may_follow_a_pool(name: str) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = SuperNetModule([nn.Linear(4, 4), nn.Linear(4, 4)])
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.relu(self.pool(x))
            return y

    torch.manual_seed(0)
    net = SuperNet(Model(), input_shape=(4,), sampling=name)
    plain = copy.deepcopy(net)
    plain.model.relu.inplace = False
    for _ in range(4):
        for either in (net, plain):
            either(torch.ones(2, 4)).sum().backward()
        for one, other in zip(net.parameters(), plain.parameters(), strict=True):
            assert (one.grad is None) == (other.grad is None)
            assert one.grad is None or torch.equal(one.grad, other.grad)


@dataclass(frozen=True)
class First(Sampling):
    """A user's own: the first branches."""

    count: int = 1

    def draw(self, logits: Sequence[float], temperature: float, chance: Chance) -> Draw:
        return Draw(tuple(range(self.count)))

    def weights(self, alpha: Tensor, temperature: float, draw: Draw | None) -> Tensor:
        return torch.softmax(alpha[: self.count] / temperature, 0)


def test_a_sampling_of_ones_own_takes_a_few_lines_and_is_saved(convs: SuperNet) -> None:
    net = fresh(convs, First(2))
    record = ran(net)
    net(images()).sum().backward()
    assert record == {"first": {0, 1}, "second": {0, 1}}
    state = net.state_dict()
    other = fresh(convs, "softmax")
    with pytest.raises(ValueError, match=r"sampling First, which is none of this package; set net.sampling"):
        other.load_state_dict(state)
    other.sampling = First(1)
    other.load_state_dict(state)
    assert other.sampling == First(2)


@dataclass(frozen=True)
class Given(Sampling):
    """A user's own that may be wrong: draws what it was given."""

    drawn: object
    theta: Tensor | None

    def draw(self, logits: Sequence[float], temperature: float, chance: Chance) -> Draw:
        return self.drawn  # type: ignore[return-value]

    def weights(self, alpha: Tensor, temperature: float, draw: Draw | None) -> Tensor | None:
        return self.theta


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("drawn", "theta", "message"),
    [
        (None, None, r"Given\(.*\): draw returned None, expected a Draw"),
        (Draw((0, 2)), torch.ones(2), r"draw took the branches \(0, 2\) of pool 'second', which has 2; .* from 0 to 1"),
        (Draw((0, 1)), None, r"weights returned None for 2 branches of pool 'first' that are to be mixed; return one"),
        (Draw((0, 1)), torch.ones(3), r"shape \(3,\) for 2 branches of pool 'first' that run; return one weight for"),
    ],
)
def test_a_wrong_draw_of_ones_own_is_an_error(
    convs: SuperNet, whole: bool, drawn: object, theta: Tensor | None, message: str
) -> None:
    net = fresh(convs, Given(drawn, theta))
    with pytest.raises((TypeError, ValueError), match=message):
        (net if whole else net.model)(images())


@pytest.mark.parametrize("branches", [(), (1, 0), (0, 0), (-1, 0)])
def test_a_draw_is_of_ascending_branches(branches: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a draw is of at least one branch, by ascending indices from 0, each once"):
        Draw(branches)
    with pytest.raises(ValueError, match=r"taken is the place of a branch in \(0, 2\), from 0 to 1, not 2"):
        Draw((0, 2), 2)


@pytest.mark.parametrize("mode", [*MODES.values(), Softmax(drop_below=0.125, probe_every=7)])
def test_samplings_survive_the_state_dict_as_tensors_of_one_size(convs: SuperNet, mode: Sampling) -> None:
    net, other = fresh(convs, mode), fresh(convs, "softmax")
    assert all(isinstance(value, Tensor) for value in net.state_dict().values())
    sizes = [[value.shape for value in either.state_dict().values()] for either in (net, other)]
    assert sizes[0] == sizes[1]
    other.load_state_dict(net.state_dict())
    assert other.sampling == mode
