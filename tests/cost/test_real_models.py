"""Real models that the onnx package ships, against independent counts.

The files keep the shapes of the weights alone and make them by ConstantOfShape; their initializers are graph inputs
too (IR 3). MACs were counted from the shapes of a run of onnxruntime, by a counter that agrees with torch's. The
parameter counts are those published for the networks; ResNet-50 has 23,454,912 in convolutions, 2,049,000 in its
last layer, and 26,560 channels whose BatchNormalization folds into a bias.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from supernet_onnx import supergraph
from supernet_onnx.cost import macs, measure, params

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"

MACS = {
    "bvlc_alexnet": 654_560_384,
    "densenet121": 2_834_161_664,
    "inception_v1": 1_431_556_352,
    "inception_v2": 2_018_851_840,
    "resnet50": 4_089_184_256,
    "shufflenet": 124_664_528,
    "squeezenet": 349_151_936,
    "vgg19": 19_632_062_464,
    "zfnet512": 1_481_727_008,
}

PARAMS = {
    "bvlc_alexnet": 60_965_224,
    "inception_v1": 6_998_552,
    "resnet50": 23_454_912 + 2_049_000 + 26_560,
    "squeezenet": 1_235_496,
    "vgg19": 143_667_240,
}


@pytest.mark.parametrize("name", MACS)
def test_macs_of_a_real_model(name: str) -> None:
    model = supergraph.read(FOLDER / f"light_{name}.onnx")
    assert measure(model, [macs])["macs"].trunk == MACS[name]


@pytest.mark.parametrize("name", PARAMS)
def test_parameters_of_a_real_model(name: str) -> None:
    model = supergraph.read(FOLDER / f"light_{name}.onnx")
    assert measure(model, [params])["params"].trunk == PARAMS[name]
