import copy
import warnings

import pytest
import torch
from torch import Tensor, nn

from supernet_onnx import SuperNet, SuperNetModule
from supernet_onnx.errors import PoolError, SelectionError
from tests.modes import Scale


class Apply(nn.Module):
    """A branch without submodules or parameters."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: object, **kwargs: object) -> object:
        assert callable(self.function)
        return self.function(*args, **kwargs)


def set_alpha(pool: SuperNetModule, *values: float) -> None:
    with torch.no_grad():
        pool.alpha.copy_(torch.tensor(values))


def test_logits_start_at_one_over_n_so_the_mixture_is_uniform() -> None:
    pool = SuperNetModule([Scale(2), Scale(4), Scale(6)])
    assert pool.alpha.tolist() == pytest.approx([1 / 3] * 3)
    assert torch.allclose(pool(torch.ones(2)), torch.full((2,), 4.0))


def test_branches_of_a_list_are_named_by_their_classes() -> None:
    pool = SuperNetModule([nn.Identity(), nn.Linear(1, 1), nn.Linear(1, 1), nn.ReLU()])
    assert pool.branch_names == ("Identity", "Linear", "Linear_1", "ReLU")


@pytest.mark.parametrize("container", [dict, nn.ModuleDict])
def test_branches_of_a_mapping_keep_their_names(container: type) -> None:
    pool = SuperNetModule(container({"twice": Scale(2), "same": nn.Identity()}))
    assert pool.branch_names == ("twice", "same")
    assert len(pool) == 2
    assert isinstance(pool[1], nn.Identity)


def test_one_branch_is_allowed_and_is_the_layer_itself() -> None:
    pool = SuperNetModule([Scale(3)])
    assert torch.equal(pool(torch.ones(2)), torch.full((2,), 3.0))


def test_an_empty_pool_is_an_error() -> None:
    with pytest.raises(PoolError, match="a pool needs at least one branch, none is given"):
        SuperNetModule([])


def test_duplicate_names_are_an_error_that_names_them() -> None:
    class Scale_1(Scale):
        pass

    with pytest.raises(PoolError, match="'Scale_1'"):
        SuperNetModule([Scale(1), Scale(2), Scale_1(3)])


def test_a_branch_that_is_no_module_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"branch 'function' is a function, expected an nn\.Module"):
        SuperNetModule([lambda x: x])  # type: ignore[list-item]


def test_any_positional_and_keyword_inputs_reach_every_branch() -> None:
    def combine(a: Tensor, b: tuple[Tensor, int], *, shift: Tensor | None = None, sign: str) -> Tensor:
        total = a + b[0] * b[1] + (0 if shift is None else shift)
        return total if sign == "+" else -total

    pool = SuperNetModule({"one": Apply(combine), "two": Apply(combine)})
    one = torch.ones(3)
    assert torch.equal(pool(one, (one, 2), shift=one, sign="-"), torch.full((3,), -4.0))


def test_structured_outputs_are_mixed_leaf_by_leaf() -> None:
    def pair(factor: float) -> Apply:
        return Apply(lambda x: (x * factor, {"sum": (x * factor).sum(), "rest": [x]}))

    mean, rest = SuperNetModule({"one": pair(1), "three": pair(3)})(torch.ones(2))
    assert torch.equal(mean, torch.full((2,), 2.0))
    assert rest["sum"] == 4
    assert torch.equal(rest["rest"][0], torch.ones(2))


def test_a_shape_mismatch_names_pool_branch_and_both_shapes() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Module()])
            self.blocks[0].conv = SuperNetModule([nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 3, 2, 1)])

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks[0].conv(x)

    with pytest.raises(PoolError) as caught:
        SuperNet(Net(), input_shape=(3, 8, 8))
    message = str(caught.value)
    assert "pool 'blocks.0.conv', branch 'Conv2d_1'" in message
    assert "8,4,4]" in message
    assert "8,8,8]" in message
    assert "stride" in message


def test_a_dtype_mismatch_is_an_error_at_the_supernet_and_in_eager_use() -> None:
    pool = SuperNetModule({"single": nn.Identity(), "double": Apply(lambda x: x.double())})
    with pytest.raises(PoolError, match=r"branch 'double': output is float64\[2,4\], the pool expects float32\[2,4\]"):
        pool(torch.ones(2, 4))
    with pytest.raises(PoolError, match="float64"):
        SuperNet(pool, input_shape=(4,))


def test_outputs_of_different_structure_are_an_error() -> None:
    pool = SuperNetModule({"one": nn.Identity(), "two": Apply(lambda x: (x, x))})
    with pytest.raises(PoolError, match=r"branch 'two': its output is structured differently \(2 tensors\)"):
        pool(torch.ones(2))


@pytest.mark.parametrize("output", [torch.ones(2, dtype=torch.int64), None, "text"])
def test_what_cannot_be_mixed_is_an_error(output: object) -> None:
    pool = SuperNetModule({"odd": Apply(lambda x: output), "odd too": Apply(lambda x: output)})
    with pytest.raises(PoolError, match="branch 'odd'"):
        pool(torch.ones(2))


@pytest.mark.parametrize("first", [nn.ReLU(inplace=True), Apply(lambda x: x.add_(1))])
def test_a_branch_that_changes_its_input_in_place_is_an_error_that_names_it(first: nn.Module) -> None:
    pool = SuperNetModule({"changes": nn.Sequential(first, nn.Linear(4, 4)), "keeps": nn.Identity()})
    with pytest.raises(PoolError, match="branch 'changes': changes its input in place"):
        pool(torch.ones(2, 4))
    with pytest.raises(PoolError, match="pool 'model', branch 'changes': changes its input in place"):
        SuperNet(pool, input_shape=(4,))


def test_in_place_operations_behind_the_first_are_no_obstacle() -> None:
    pool = SuperNetModule([nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True)), nn.Identity()])
    SuperNet(pool, input_shape=(4,))(torch.ones(2, 4)).sum().backward()
    assert pool.alpha.grad is not None


def test_a_hard_pool_gives_the_heaviest_branch_exactly_and_a_gradient_to_every_logit() -> None:
    pool = SuperNetModule([Scale(2), Scale(3), Scale(5)], hard_softmax=True)
    set_alpha(pool, 0.1, 0.4, 0.2)
    x = torch.tensor([1.0, -7.0])
    output = pool(x)
    assert torch.equal(output, 3 * x)
    output.pow(2).sum().backward()
    assert pool.alpha.grad is not None
    assert (pool.alpha.grad != 0).all()


def test_a_hard_pool_in_eval_runs_its_chosen_branch_only() -> None:
    branches = [Scale(2), Scale(3)]
    pool = SuperNetModule(branches, hard_softmax=True).eval()
    set_alpha(pool, 0.1, 0.4)
    assert torch.equal(pool(torch.ones(1)), torch.full((1,), 3.0))
    assert [branch.calls for branch in branches] == [0, 1]


def test_an_infinite_branch_that_is_not_chosen_does_not_touch_a_hard_pool() -> None:
    pool = SuperNetModule({"finite": nn.Identity(), "infinite": Scale(float("inf"))}, hard_softmax=True)
    set_alpha(pool, 1.0, 0.0)
    assert torch.equal(pool(torch.ones(3)), torch.ones(3))


def test_a_gumbel_pool_samples_while_training_and_not_in_eval() -> None:
    pool = SuperNetModule([Scale(0), Scale(1)], gumbel_softmax=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        samples = {float(pool(torch.ones(())).detach()) for _ in range(8)}
    assert len(samples) == 8
    assert float(pool.eval()(torch.ones(())).detach()) == pytest.approx(0.5)


def test_a_hard_gumbel_pool_draws_single_branches_in_proportion_to_the_softmax() -> None:
    pool = SuperNetModule([Scale(0), Scale(1)], gumbel_softmax=True, hard_softmax=True)
    set_alpha(pool, 0.0, 1.0)
    pool.temperature = 0.1  # changes no probability: the Gumbel-max trick
    with torch.random.fork_rng():
        torch.manual_seed(0)
        samples = [float(pool(torch.ones(())).detach()) for _ in range(2000)]
    assert set(samples) == {0.0, 1.0}
    expected = float(torch.softmax(pool.alpha.detach(), 0)[1])
    assert sum(samples) / 2000 == pytest.approx(expected, abs=5 * (expected * (1 - expected) / 2000) ** 0.5)


def test_a_gumbel_pool_that_is_used_twice_samples_once_in_a_forward_of_the_supernet() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = SuperNetModule([Scale(0), Scale(1)], gumbel_softmax=True)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.pool(x), self.pool(x)

    net = SuperNet(Twice(), input_shape=(3,))
    first, again = net(torch.ones(1, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, net(torch.ones(1, 3))[0])


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(value: float) -> None:
    pool = SuperNetModule([nn.Identity()])
    with pytest.raises(ValueError, match="temperature must be a positive number"):
        pool.temperature = value


def test_logits_temperature_and_mode_survive_state_dict_and_deepcopy() -> None:
    pool = SuperNetModule([Scale(1), Scale(2)], gumbel_softmax=True, hard_softmax=True)
    set_alpha(pool, 0.25, -3.0)
    pool.temperature = 0.125
    fresh = SuperNetModule([Scale(1), Scale(2)])
    fresh.load_state_dict(pool.state_dict())
    for other in (fresh, copy.deepcopy(pool)):
        assert other.alpha.tolist() == [0.25, -3.0]
        assert (other.temperature, other.gumbel_softmax, other.hard_softmax) == (0.125, True, True)
    assert all(isinstance(value, Tensor) for value in pool.state_dict().values())


def test_find_takes_names_and_indices_and_refuses_others() -> None:
    pool = SuperNetModule({"a": nn.Identity(), "b": nn.Identity()})
    assert (pool.find("b"), pool.find(0)) == (1, 0)
    for wrong in ("c", 2, -1, True):
        with pytest.raises(SelectionError, match="its branches are: a, b"):
            pool.find(wrong)


def test_branches_of_half_precision_under_autocast_are_mixed_in_half_precision() -> None:
    pool = SuperNetModule([nn.Linear(4, 4), nn.Linear(4, 4)])
    with torch.autocast("cpu", torch.bfloat16):
        output = pool(torch.ones(2, 4))
    assert output.dtype == torch.bfloat16
    output.float().sum().backward()
    assert pool.alpha.grad is not None
    assert (pool.alpha.grad != 0).all()


@pytest.mark.parametrize("hard", [False, True])
def test_autocast_may_give_the_branches_different_dtypes(hard: bool) -> None:
    pool = SuperNetModule([nn.Linear(4, 4), nn.Identity(), nn.Linear(4, 4)], hard_softmax=hard)
    x = torch.ones(2, 4, requires_grad=True)
    for training in (True, False):
        pool.train(training)
        with torch.autocast("cpu", torch.bfloat16):
            output = pool(x)
        assert output.dtype == (torch.bfloat16 if hard else torch.float32)
        output.float().sum().backward()
    assert pool.alpha.grad is not None
    assert (pool.alpha.grad != 0).all()


@pytest.mark.parametrize(("logits", "temperature"), [((0.5, 0.502), 1.0), ((0.5, 0.5001), 1e4)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_hard_pool_chooses_by_its_logits_where_their_softmax_is_too_coarse(
    logits: tuple[float, float], temperature: float, dtype: torch.dtype
) -> None:
    pool = SuperNetModule([Scale(2), Scale(3)], hard_softmax=True).to(dtype)
    set_alpha(pool, *logits)
    pool.temperature = temperature
    chosen = pool.selected()
    assert pool.mixing_weights().tolist() == [1 - chosen, chosen]
    for training in (True, False):
        assert float(pool.train(training)(torch.ones((), dtype=dtype)).detach()) == 2 + chosen


def test_an_infinite_branch_of_weight_0_does_not_touch_the_mixture_in_eval() -> None:
    pool = SuperNetModule({"finite": nn.Identity(), "infinite": Scale(float("inf"))}).eval()
    set_alpha(pool, 500.0, 0.0)
    assert torch.equal(pool(torch.ones(3)), torch.ones(3))


@pytest.mark.parametrize("gumbel", [False, True])
def test_a_soft_pool_compiles_as_one_graph(gumbel: bool) -> None:
    pool = SuperNetModule([nn.Linear(4, 4), nn.Identity()], gumbel_softmax=gumbel)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        compiled = torch.compile(pool, backend="eager", fullgraph=True)
        for training in (True, False):
            pool.train(training)
            with torch.random.fork_rng():
                torch.manual_seed(0)
                actual = compiled(torch.ones(2, 4))
                torch.manual_seed(0)
                assert torch.equal(actual, pool(torch.ones(2, 4)))


def test_a_pool_works_under_inference_mode() -> None:
    with torch.inference_mode():
        assert torch.equal(SuperNetModule([nn.Identity()])(torch.ones(2)), torch.ones(2))


def test_none_beside_the_tensors_stays_none() -> None:
    def attention() -> nn.Module:
        heads = nn.MultiheadAttention(8, 2, batch_first=True)
        return Apply(lambda x: heads(x, x, x, need_weights=False))

    pool = SuperNetModule({"one": attention(), "two": attention()})
    output, weights = pool(torch.ones(2, 3, 8))
    assert weights is None
    output.sum().backward()
    assert (pool.alpha.grad != 0).all()
    with pytest.raises(PoolError, match="branch 'tensor': its output is structured differently"):
        SuperNetModule({"none": Apply(lambda x: (x, None)), "tensor": Apply(lambda x: (x, x))})(torch.ones(2))
