r"""Writing a selection as a command for a shell, whatever the names of its pools and branches hold."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from supernet_onnx import selection

if TYPE_CHECKING:
    from supernet_onnx.supergraph import Pool, SuperGraph

__all__ = ["quote", "select"]


def quote(word: str) -> str:
    r"""Quote a word for bash, ksh or zsh.

    What is not printable is escaped: in quotes a shell would take it as it is, but the terminal that a command is
    pasted into obeys it before.

    >>> print(quote("conv 1"), quote("conv\x1b"))
    'conv 1' $'conv\x1b'
    """
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(map(_escape, word)) + "'"


def select(supergraph: SuperGraph, pool: Pool, index: int) -> str:
    """Return the option, quoted, by which ``prune`` takes a branch: by its name, where that is not ambiguous."""
    branch = pool.branches[index].name
    pair = f"{pool.name}={branch}"
    if "=" in pool.name + branch and selection.choices(supergraph, [pair]) != {pool.name: branch}:
        pair = f"{pool.name}={index}"
    return f"--select {quote(pair)}"


def _escape(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
