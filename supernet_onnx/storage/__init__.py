"""Models and other files on disk: load without weights, save whole or not at all."""

from __future__ import annotations

from supernet_onnx.storage.confinement import Extent, check_extents, locate
from supernet_onnx.storage.extents import attribute_tensors, data_files, external_tensors, with_values
from supernet_onnx.storage.folders import check_new_folder, new_folder
from supernet_onnx.storage.loading import load, read_text, serialize
from supernet_onnx.storage.locking import scratch
from supernet_onnx.storage.saving import save
from supernet_onnx.storage.writing import check_target, refuse_overwrite, write

__all__ = [
    "Extent",
    "attribute_tensors",
    "check_extents",
    "check_new_folder",
    "check_target",
    "data_files",
    "external_tensors",
    "load",
    "locate",
    "new_folder",
    "read_text",
    "refuse_overwrite",
    "save",
    "scratch",
    "serialize",
    "with_values",
    "write",
]
