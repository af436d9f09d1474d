"""The program: its commands, exit codes and logging."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.text import Text
from tqdm.contrib.logging import logging_redirect_tqdm

from ctsdk.cli.adapters import adapters
from ctsdk.cli.check import check
from ctsdk.cli.compress import compress
from ctsdk.cli.data import check as check_data, formats
from ctsdk.cli.demo import demo
from ctsdk.cli.evaluate import evaluate
from ctsdk.cli.new_adapter import new_adapter
from ctsdk.cli.pack import pack
from ctsdk.cli.profile import profile
from ctsdk.cli.score import score
from ctsdk.cli.track import track
from ctsdk.errors import CtsdkError, TrainingInterruptedError

__all__ = ["app", "main"]


def _shown_default(value: object) -> str | None:
    """Return the default as help shows it; "None", "()" and "False" are left out."""
    return str(value) if value not in (None, ()) and not isinstance(value, bool) else None


app = App(
    name="ctsdk",
    help="Compress transformer object trackers: a student of the same class with a fraction of the blocks.",
    help_epilogue="The guides in docs/how-to show whole runs.",
    version=lambda: metadata.version("ctsdk"),
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=(), show_default=_shown_default),
)
for _command in (adapters, new_adapter, check, compress, track, evaluate, score, pack, profile, demo):
    app.command(_command)

_data = App(name="data", help="Check data sets, and list the formats.")
_data.command(check_data, name="check")
_data.command(formats)
app.command(_data)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words after ``ctsdk``; None for those of this process.

    Returns:
        the exit code.
    """
    with _logging_to_stderr():
        try:
            app(arguments, exit_on_error=False, result_action="return_value")
        except CycloptsError:
            return 2  # cyclopts has printed the message to stderr
        except TrainingInterruptedError as error:
            _complain(str(error))
            return 128 + error.signal  # as shells count: 143 after SIGTERM, 130 after Ctrl-C
        except CtsdkError as error:
            _complain(str(error))
            return 1
        except KeyboardInterrupt:
            _complain("interrupted")
            return 130
        except BrokenPipeError:
            # The reader of our output has closed it, as `head` does. Without this, Python complains again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
    return 0


def _complain(message: str) -> None:
    # Not wrapped, because messages hold paths to copy; not marked up, because they hold brackets.
    text = Text.assemble(("error: ", "bold red"), (message, "red"))
    Console(stderr=True, soft_wrap=True, highlight=False).print(text)


@contextmanager
def _logging_to_stderr() -> Iterator[None]:
    """Show the log of the package above progress bars; restore the logger afterwards."""
    logger = logging.getLogger("ctsdk")
    handler, level = logging.StreamHandler(), logger.level
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with logging_redirect_tqdm([logger]):
            yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
