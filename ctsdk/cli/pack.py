"""The command ``pack``: result files for the server of a test set."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ctsdk.cli.options import FileToWrite
from ctsdk.data.formats import open_dataset
from ctsdk.errors import ConfigError
from ctsdk.evaluation.results.packing import PackNumbers, pack as pack_results

__all__ = ["pack"]

_logger = logging.getLogger(__name__)


def pack(
    results: Path,
    /,
    *,
    data: Annotated[str, Parameter(metavar="SOURCE")],
    out: FileToWrite,
    server: Literal["got10k", "trackingnet"] | None = None,
    numbers: PackNumbers = "got10k",
) -> None:
    """Pack result files for the server that keeps the truth of a test set.

    Args:
        results: a folder of result files; `ctsdk evaluate` writes them into `predictions`.
        data: the test set: `got10k:/data/got10k?split=test` or `trackingnet:/data/trackingnet?split=test`.
        out: the archive to write, ending in `.zip`.
        server: which server's archive; by default the data set's.
        numbers: `got10k` writes three decimals, as its toolkit does; `ostrack` whole pixels, as the OSTrack family
            does.
    """
    dataset = open_dataset(data)
    chosen = server or dataset.name
    if chosen not in ("got10k", "trackingnet"):
        raise ConfigError(f"{dataset} has no server to pack for; expected got10k or trackingnet.")
    path = pack_results("got10k" if chosen == "got10k" else "trackingnet", dataset, results, out, numbers=numbers)
    _logger.info("wrote %s (%d videos)", path, len(dataset))
