"""Files of zeros that take no place on the disk."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_CHUNK = bytes(1 << 24)


class _Sparse(io.FileIO):
    """A file in which zeros that are written become a hole."""

    def write(self, content: bytes) -> int:
        if len(content) < len(_CHUNK) or content != _CHUNK:
            return super().write(content)
        self.seek(len(content), io.SEEK_CUR)
        return len(content)


def write_zeros(
    path: Path, shapes: Mapping[str, tuple[int, ...]], others: Mapping[str, np.ndarray] | None = None
) -> Path:
    """Write an ``.npz`` file of zeros, one byte an element, and of other arrays."""
    with _Sparse(path, "w+") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in (others or {}).items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)
        for name, shape in shapes.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                left = int(np.prod(shape))
                while left:
                    left -= member.write(_CHUNK[: min(left, len(_CHUNK))])
    return path
