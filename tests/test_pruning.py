from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from onnx import ModelProto

from supernet_onnx.errors import MarkError
from supernet_onnx.pruning import prune
from supernet_onnx.selection import Selection, every, resolve
from supernet_onnx.supergraph import read
from tests import graphs
from tests.subnets import assert_every_selection_is_right, blank
from tests.work import lines

if TYPE_CHECKING:
    from collections.abc import Callable


@settings(deadline=None, derandomize=True, max_examples=100)
@given(graphs.supergraphs())
def test_every_selection_of_any_supergraph_is_pruned_right(model: ModelProto) -> None:
    assert_every_selection_is_right(model)


def test_pools_that_meet_inputs_initializers_and_outputs_leave_an_identity_only_where_a_name_must_stay() -> None:
    model = graphs.marked(
        f"""
        a = Neg (x)
        o1 = {graphs.pool("p", "Neg input initializer", "a", "x", "c")}
        o2 = {graphs.pool("q", "Neg other", "a", "o1")}
        """,
        signature="(float[2] x) => (float[2] o1, float[2] o2)",
        initializers="float[2] c = {1, -4}",
    )
    subnets = assert_every_selection_is_right(model)
    operators = [[node.op_type for node in subnet.graph.node] for subnet in subnets]
    assert operators == [
        ["Neg", "Identity"],  # both outputs name what one node makes
        ["Neg", "Identity"],  # o2 is o1 under another name
        ["Neg", "Identity"],  # o1 is the input
        ["Identity", "Identity"],
        ["Neg", "Identity"],  # o1 is the initializer
        ["Identity", "Identity"],
    ]
    assert [node.name for node in subnets[3].graph.node] == ["n1", "n2"]  # an Identity keeps its pool's name


def test_pools_that_share_a_name_take_one_branch_and_a_branch_may_be_the_pool_s_other_call() -> None:
    model = graphs.marked(
        f"""
        a = Neg (x)
        first = {graphs.pool("p", "A B", "a", "x")}
        b = Abs (first)
        y = {graphs.pool("p", "A B", "b", "first", call=1)}
        """
    )
    subnets = assert_every_selection_is_right(model)
    assert [[node.op_type for node in subnet.graph.node] for subnet in subnets] == [["Neg", "Abs"], ["Identity"]]


def test_branches_that_return_tuples_are_several_pool_nodes_of_one_name() -> None:
    model = graphs.marked(
        f"""
        a0, a1 = local.pair (x)
        b0 = Abs (x)
        left = {graphs.pool("p", "pair single", "a0", "b0")}
        right = {graphs.pool("p", "pair single", "a1", "x")}
        y = Sub (left, right)
        """
    )
    subnets = assert_every_selection_is_right(model)
    assert [list(subnet.graph.node[-1].input) for subnet in subnets] == [["a0", "a1"], ["b0", "x"]]
    assert [len(subnet.functions) for subnet in subnets] == [1, 0]


def test_a_pool_of_one_branch_and_pools_that_share_their_weights_are_pruned() -> None:
    model = graphs.marked(
        f"""
        a = Neg (x)
        one = {graphs.pool("one", "only", "a")}
        b = Abs (one)
        first = {graphs.pool("p", "A B", "one", "b", weights="shared")}
        y = {graphs.pool("q", "A B", "first", "b", weights="shared")}
        """
    )
    subnets = assert_every_selection_is_right(model)
    assert [len(subnet.graph.node) for subnet in subnets] == [1, 2, 2, 2]


def test_outputs_may_be_inputs_initializers_each_other_and_come_twice() -> None:
    model = graphs.marked(
        f"a = Neg (x)  y = {graphs.pool('p', 'A B C', 'a', 'c', 'x')}",
        signature="(float[2] x) => (float[2] y, float[2] x, float[2] y, float[2] c, float[2] a)",
        initializers="float[2] c = {1, -4}",
    )
    subnets = assert_every_selection_is_right(model)
    assert [len(subnet.graph.node) for subnet in subnets] == [2, 2, 2]  # an Identity each, for all names must stay


def test_outputs_with_an_empty_name_stay_where_they_are() -> None:
    """Of a GRU only the last state is used, its second output; the pool gives it the graph output's name."""
    text = f"""<ir_version: 10, opset_import: ["" : 20, "supernet_onnx" : 1]>
        g (float[3, 1, 2] x, float[1, 6, 2] w, float[1, 6, 2] r) => (float[1, 1, 2] y)
        <float[2] "p.weights" = {{1, 0}}> {{
            "", state = GRU <hidden_size = 2> (x, w, r)
            mean = ReduceMean <keepdims = 1> (x)
            wide = Expand (mean, shape)
            y = {graphs.pool("p", "gru mean", "state", "wide")}
        }}"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 1, 2]), "shape"))
    supergraph = read(model)
    recurrent, mean = (prune(supergraph, selection) for selection in every(supergraph))
    assert [list(node.output) for node in recurrent.graph.node] == [["", "y"]]
    assert [list(node.output) for node in mean.graph.node] == [["mean"], ["y"]]
    for subnet in (recurrent, mean):
        onnx.checker.check_model(subnet, full_check=True)


def test_a_pool_whose_output_a_nested_graph_captures_is_pruned() -> None:
    body = graphs.if_else(("i", "i = Neg (met)"), ("i", "i = Sub (met, x)"))
    model = graphs.marked(
        f"a = Abs (x)  met = {graphs.pool('p', 'A skip', 'a', 'x')}  y = {body}",
        signature="(float[2] x, bool flag) => (float[2] y)",
    )
    subnets = assert_every_selection_is_right(model)
    assert [subnet.graph.node[-1].attribute[0].g.node[0].input[0] for subnet in subnets] == ["a", "x"]


def test_a_name_that_a_nested_graph_uses_for_its_own_tensor_is_not_given_to_another() -> None:
    """The If stands before the pool, so its body may use the pool's name; ``a`` must not be renamed to it."""
    body = graphs.if_else(("i", "y = Abs (x)  i = Sub (a, y)"), ("i", "i = Neg (a)"))
    model = graphs.marked(
        f"a = Neg (x)  w = {body}  y = {graphs.pool('p', 'A B', 'a', 'w')}",
        signature="(float[2] x, bool flag) => (float[2] y, float[2] w)",
    )
    onnx.checker.check_model(model, full_check=True)
    selection = resolve(read(model), {"p": "A"})
    subnet = prune(read(model), selection)
    onnx.checker.check_model(subnet, full_check=True)
    assert [node.op_type for node in subnet.graph.node] == ["Neg", "If", "Identity"]
    expected = graphs.evaluate(graphs.one_hot(model, {"p": 0}))
    np.testing.assert_array_equal(graphs.evaluate(subnet), expected)


def test_a_nested_graph_s_own_tensor_is_not_renamed_with_the_pool_of_that_name() -> None:
    """Only the first body captures ``met``; the second one makes a tensor of its own of that name."""
    body = graphs.if_else(("i", "i = Neg (met)"), ("i", "met = Abs (x)  i = Identity (met)"))
    model = graphs.marked(
        f"a = Sub (x, x)  met = {graphs.pool('p', 'A B', 'a', 'x')}  y = {body}",
        signature="(float[2] x, bool flag) => (float[2] y)",
    )
    subnet = prune(read(model), resolve(read(model), {"p": "A"}))
    then, other = (attribute.g for attribute in subnet.graph.node[1].attribute)
    assert list(then.node[0].input) == ["a"]
    assert list(other.node[1].input) == ["met"]


def test_a_nested_graph_that_hides_the_branch_s_output_keeps_the_pool_as_an_identity() -> None:
    body = graphs.if_else(("i", "a = Abs (x)  i = Sub (met, a)"), ("i", "i = Neg (met)"))
    model = graphs.marked(
        f"a = Neg (x)  met = {graphs.pool('p', 'A B', 'a', 'x')}  y = {body}",
        signature="(float[2] x, bool flag) => (float[2] y)",
    )
    subnet = prune(read(model), resolve(read(model), {"p": "A"}))
    assert [node.op_type for node in subnet.graph.node] == ["Neg", "Identity", "If"]
    np.testing.assert_array_equal(graphs.evaluate(subnet), graphs.evaluate(graphs.one_hot(model, {"p": 0})))


def test_the_quantization_annotation_of_a_renamed_tensor_names_it_anew() -> None:
    model = graphs.marked(f"a = Neg (x)  b = Abs (x)  y = {graphs.pool('p', 'A B', 'a', 'b')}")
    del model.graph.quantization_annotation[:]
    for name in ("a", "b"):
        annotation = model.graph.quantization_annotation.add(tensor_name=name)
        annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value=f"scale of {name}")
    for name in ("scale of a", "scale of b"):
        if name not in {tensor.name for tensor in model.graph.initializer}:
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), name))
    for subnet, scale in zip(assert_every_selection_is_right(model), ("scale of a", "scale of b"), strict=True):
        (annotation,) = subnet.graph.quantization_annotation
        assert annotation.tensor_name == "y"
        assert annotation.quant_parameter_tensor_names[0].value == scale
        assert [tensor.name for tensor in subnet.graph.initializer] == [scale]


def test_an_annotated_graph_output_keeps_its_own_quantization_annotation() -> None:
    model = graphs.marked(f"a = Neg (x)  b = Abs (x)  y = {graphs.pool('p', 'A B', 'a', 'b')}")
    del model.graph.quantization_annotation[:]
    for name in ("a", "y"):
        annotation = model.graph.quantization_annotation.add(tensor_name=name)
        annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value=f"scale of {name}")
    (annotation,) = prune(read(model), resolve(read(model), {"p": "A"})).graph.quantization_annotation
    assert annotation.quant_parameter_tensor_names[0].value == "scale of y"


def test_an_input_that_only_gives_a_dead_branch_its_default_goes_with_it() -> None:
    model = graphs.marked(
        f"a = Add (x, d)  b = Sub (x, e)  y = {graphs.pool('p', 'A B', 'a', 'b')}",
        signature="(float[2] x, float[2] d, float[2] e) => (float[2] y)",
        initializers="float[2] d = {1, 2}, float[2] e = {3, 4}",
    )
    model.graph.value_info.extend(model.graph.input)
    subnet, _ = assert_every_selection_is_right(model)
    assert [value.name for value in subnet.graph.input] == ["x", "d"]
    assert [value.name for value in subnet.graph.value_info] == ["x", "d"]


def test_sparse_initializers_training_and_odd_attributes_survive_to_the_byte() -> None:
    model = graphs.marked(f"a = Add (x, s)  y = {graphs.pool('p', 'A B', 'a', 'x')}")
    values = onnx.helper.make_tensor("s", 1, [1], [5.0])
    indices = onnx.helper.make_tensor("s indices", onnx.TensorProto.INT64, [1], [1])
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [2]))
    model.training_info.add().algorithm.name = "how it was trained"
    node = model.graph.node[0]
    node.attribute.append(onnx.helper.make_attribute("raw", b"\xff\xfe"))
    node.attribute.append(onnx.helper.make_attribute("tensors", [values, indices]))
    node.attribute.append(onnx.helper.make_attribute("type", onnx.helper.make_tensor_type_proto(1, [2])))
    subnet = prune(read(model), resolve(read(model), {"p": "A"}))
    assert blank(subnet.graph.node[0]) == blank(node)
    assert list(subnet.graph.sparse_initializer) == list(model.graph.sparse_initializer)
    assert list(subnet.training_info) == list(model.training_info)
    assert not prune(read(model), resolve(read(model), {"p": "B"})).graph.sparse_initializer


def test_external_data_are_not_read_and_only_what_is_live_is_still_named() -> None:
    model = graphs.marked(f"a = Add (x, v)  b = Add (x, w)  y = {graphs.pool('p', 'A B', 'a', 'b')}")
    for name in ("v", "w"):
        tensor = model.graph.initializer.add(name=name, data_type=1, dims=[2], data_location=1)
        tensor.external_data.add(key="location", value="not there.bin")
    subnet = prune(read(model), resolve(read(model), {"p": "B"}))
    assert [tensor for tensor in subnet.graph.initializer if tensor.data_location] == [model.graph.initializer[-1]]


def test_only_the_overload_of_a_function_that_is_called_is_left() -> None:
    model = graphs.marked(f"a = local.negated (x)  b = local.negated (x)  y = {graphs.pool('p', 'A B', 'a', 'b')}")
    model.functions.add().CopyFrom(model.functions[0])
    model.functions[-1].overload = model.graph.node[0].overload = "other"
    one, other = (prune(read(model), selection) for selection in every(read(model)))
    assert [(function.name, function.overload) for function in one.functions] == [("negated", "other")]
    assert [(function.name, function.overload) for function in other.functions] == [("negated", "")]


def test_a_selection_made_for_another_supergraph_is_refused() -> None:
    model = graphs.marked(f"a = Neg (x)  y = {graphs.pool('p', 'A B', 'a', 'x')}")
    for other in (
        Selection(("q",), (0,), ("A",)),
        Selection(("p",), (2,), ("C",)),
        Selection(("p",), (0,), ("other",)),
        Selection((), (), ()),
    ):
        with pytest.raises(ValueError, match="the selection was made for another supergraph"):
            prune(read(model), other)


def test_a_model_without_pools_is_refused() -> None:
    model = graphs.marked("y = Neg (x)")
    del model.metadata_props[:]
    with pytest.raises(MarkError, match=r"the model has no pool, .* export it with SuperNet.export_onnx"):
        prune(read(model), Selection((), (), ()))


def annotated_fan(size: int) -> ModelProto:
    """One pool whose output and whose first branch ``size`` nodes read, every one annotated."""
    lines = [f"a = Neg (x)  met = {graphs.pool('p', 'A B', 'a', 'x')}"]
    lines += [f"c{i} = Sub (met, a)" for i in range(size)]
    lines.append(f"y = Sum ({', '.join(f'c{i}' for i in range(size))})")
    return graphs.marked("\n".join(lines))


def chained(size: int) -> ModelProto:
    """``size`` pools, each reading the one before and the graph input."""
    lines = [f"o0 = {graphs.pool('p0', 'A B', 'x', 'x')}"]
    lines += [f"o{i} = {graphs.pool(f'p{i}', 'A B', f'o{i - 1}', 'x')}" for i in range(1, size)]
    return graphs.marked("\n".join([*lines, f"y = Neg (o{size - 1})"]))


@pytest.mark.parametrize("build", [annotated_fan, chained])
def test_pruning_work_grows_linearly(build: Callable[[int], ModelProto]) -> None:
    def count(size: int) -> int:
        supergraph = read(build(size))
        selection = resolve(supergraph, {})
        return lines(lambda: prune(supergraph, selection))

    assert count(800) < 8.5 * count(100)  # 8 times is linear, 64 times is quadratic
