"""The tables of weight, bias, shape and setting slots: they speak of operators and inputs that exist, and agree."""

import onnx
import pytest
from onnx import helper

from supernet_onnx.cost import roles

TABLES = {
    "weights": roles._WEIGHTS,
    "biases": roles._BIASES,
    "shapes": roles._SHAPES,
    "settings": roles._SETTINGS,
}
SCHEMAS = {schema.name: schema for schema in onnx.defs.get_all_schemas() if schema.domain == ""}


@pytest.mark.parametrize("table", TABLES)
def test_every_operator_is_one_of_the_standard_domain(table: str) -> None:
    assert set(TABLES[table]) - set(SCHEMAS) == set()


@pytest.mark.parametrize("table", TABLES)
def test_every_slot_is_an_input_that_some_version_of_the_operator_has(table: str) -> None:
    most: dict[str, int] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            most[schema.name] = max(most.get(schema.name, 0), schema.max_input)
    named = {name: slots for name, slots in TABLES[table].items() if slots != roles._ALL}
    assert {name: slots for name, slots in named.items() if max(slots) >= most[name]} == {}


def test_no_slot_has_two_roles() -> None:
    seen: set[tuple[str, int]] = set()
    for table in TABLES.values():
        slots = {(name, slot) for name, of_name in table.items() for slot in of_name}
        assert not slots & seen
        seen |= slots


@pytest.mark.parametrize("name", sorted(set(roles._WEIGHTS) - {"DequantizeLinear", "MatMulInteger", "QLinearMatMul"}))
def test_weights_and_biases_are_what_the_schema_calls_so(name: str) -> None:
    """The schema's own names: W, R, P, w, weight, scale, slope, ... against B, bias, C."""
    weights = {"W", "R", "P", "w", "weight", "scale", "Scale", "slope"}
    if name == "BatchNormalization":
        weights |= {"input_mean", "input_var"}
    if name in ("Gemm", "MatMul"):  # there B is the second operand
        weights |= {"B"}
    biases = {"B", "bias", "Bias", "C"} - weights
    node = helper.make_node(name, [], [])
    for slot, parameter in enumerate(SCHEMAS[name].inputs):
        expected = "weight" if parameter.name in weights else "bias" if parameter.name in biases else None
        found = roles.role(node, slot)
        assert found == expected or (expected is None and found in ("data", "setting")), parameter.name


def test_reductions_take_axes() -> None:
    node = helper.make_node("ReduceMean", [], [])
    assert [roles.role(node, slot) for slot in (0, 1)] == ["data", "setting"]


def test_operators_of_other_domains_take_data() -> None:
    assert roles.role(helper.make_node("Conv", [], [], domain="other"), 1) == "data"
    assert not roles.is_shape_slot(helper.make_node("Reshape", [], [], domain="other"), 1)
