"""How a command fails: one line on stderr, or one object on stdout with ``--json``, and an exit code."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING, Final

import click

from supernet_onnx.cli.ending import Terminated, terminable
from supernet_onnx.errors import SuperNetError
from supernet_onnx.report import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Program"]

_BUG: Final = 70  # EX_SOFTWARE of BSD's sysexits.h
_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells count
_TERMINATED: Final = 143  # 128 + SIGTERM
_PIPE_CLOSED: Final = 141  # 128 + SIGPIPE


class Program(click.Group):
    """A group whose verbs fail by the rules of this module, whatever goes wrong in them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which they were added, that of their use."""
        return list(self.commands)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: object
    ) -> click.Context:
        """Parse the arguments of the program itself."""
        flags = _Flags(args)
        with _reported(flags):
            context = super().make_context(info_name, args, parent, **extra)
        context.obj = flags
        return context

    def invoke(self, ctx: click.Context) -> object:
        """Run the verb that the arguments name."""
        flags = ctx.find_object(_Flags) or _Flags([])
        with _reported(flags):
            for stream in (sys.stdout, sys.stderr):
                if hasattr(stream, "reconfigure"):  # a terminal that cannot show a name gets it escaped
                    stream.reconfigure(errors="backslashreplace")
            with terminable(), _logging(flags):
                result = super().invoke(ctx)
                sys.stdout.flush()
            return result


class _Flags:
    """What decides how a failure is reported, read before the arguments are parsed: parsing may be what fails."""

    def __init__(self, args: Sequence[str]) -> None:
        options = args[: args.index("--")] if "--" in args else args
        self.as_json = "--json" in options
        self.debug = "--debug" in options


@contextlib.contextmanager
def _logging(flags: _Flags) -> Iterator[None]:
    """Let the libraries below speak while a command is debugged."""
    logger = logging.getLogger("supernet_onnx")
    level = logger.level
    if flags.debug:
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _reported(flags: _Flags) -> Iterator[None]:
    """Report whatever ends a command early, and turn it into an exit code."""
    try:
        yield
    except click.exceptions.Exit:
        raise
    except BrokenPipeError as error:
        _close_stdout()
        raise click.exceptions.Exit(_PIPE_CLOSED) from error
    except (KeyboardInterrupt, click.Abort) as error:
        raise _exit(flags, "interrupted", "interrupted; no file was left half written", _INTERRUPTED) from error
    except Terminated as error:
        raise _exit(flags, "terminated", "terminated; no file was left half written", _TERMINATED) from error
    except SuperNetError as error:
        raise _exit(flags, error.code, str(error), error.exit_code) from error
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"; see '{context.command_path} --help'" if context else ""
        message = error.format_message().rstrip(".") + hint
        raise _exit(flags, "usage", message, error.exit_code) from error
    except MemoryError as error:
        message = "out of memory; the model states tensors that are too large for this machine: see --dim and --limit"
        raise _exit(flags, "memory", message, SuperNetError.exit_code) from error
    except OSError as error:
        raise _exit(flags, "system", f"the system refuses: {error}", SuperNetError.exit_code) from error
    except Exception as error:  # the last net: a bug of ours must end in one line, too
        hint = "report it" if flags.debug else "run it again with --debug, and report what that prints"
        message = f"{type(error).__name__}: {error}; this is a bug in supernet-onnx: {hint}"
        raise _exit(flags, "internal", message, _BUG) from error


def _exit(flags: _Flags, code: str, message: str, exit_code: int) -> click.exceptions.Exit:
    """Print one line on stderr, or one object on stdout, and return the exception that ends the program."""
    if flags.debug:
        traceback.print_exc()
    if flags.as_json:
        click.echo(json.dumps({"error": {"code": code, "message": message}}))
    else:
        click.echo(f"error: {clean(message)}", err=True)
    return click.exceptions.Exit(exit_code)


def _close_stdout() -> None:
    """Send what is still buffered for a reader that has gone to nowhere, so that the exit is quiet."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
