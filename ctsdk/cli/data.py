"""The commands about data sets: ``data check``, ``data formats``."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm.auto import tqdm

from ctsdk.cli.options import JsonFlag, print_json
from ctsdk.data.checking import DatasetReport, FramesToRead, check_dataset
from ctsdk.data.datasets import VideoDataset
from ctsdk.data.formats import list_dataset_formats, open_dataset
from ctsdk.errors import DataError

__all__ = ["check", "formats"]

_NUM_FAULTS_SHOWN = 20


def check(
    source: str,
    /,
    *,
    frames: FramesToRead = "all",
    num_threads: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    as_json: JsonFlag = False,
) -> None:
    """Read a whole data set and count what is missing or odd; the exit code is 1 if anything is missing or damaged.

    Args:
        source: the data set: `NAME:PATH?option=value`, such as `got10k:/data/got10k?split=train`.
        frames: `all` decodes every frame; `ends` the first and the last of each video; `none` reads annotations only.
        num_threads: how many videos to read at a time; one per core if left out.
        as_json: print JSON, with every fault, instead of a table.
    """
    report = _read(open_dataset(source), frames, num_threads or os.cpu_count() or 1)
    if as_json:
        print_json({**asdict(report), "is_sound": report.is_sound})
    else:
        _print_report(report)
    if not report.is_sound:
        raise DataError(
            f"{source}: {len(report.faults)} faults in {len({fault.video for fault in report.faults})} of "
            f"{report.num_videos} videos. Copy what is missing or damaged again."
        )


def formats(*, as_json: JsonFlag = False) -> None:
    """List the formats of data sets that this installation reads.

    Args:
        as_json: print JSON instead of a table.
    """
    found = list_dataset_formats()
    if as_json:
        print_json([asdict(info) for info in found])
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("name", "status", "from", "splits", "what it is, or what to do"):
        table.add_column(heading, overflow="fold")
    for info in found:
        cells = (info.name, info.status, info.origin, ", ".join(info.splits), info.detail or info.summary)
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)


def _read(dataset: VideoDataset, frames: FramesToRead, num_threads: int) -> DatasetReport:
    with tqdm(total=len(dataset), unit="video", disable=None) as bar:
        for report in check_dataset(dataset, frames=frames, num_threads=num_threads):
            bar.set_postfix(frames=report.num_frames_read, faults=len(report.faults), refresh=False)
            bar.update(bar.n < len(dataset))
    return report


def _print_report(report: DatasetReport) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"{report.dataset}: {report.num_videos} videos named, {report.num_readable} readable; "
        f"{report.num_frames} frames, {report.num_frames_read} decoded",
        markup=False,
    )
    if report.oddities:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("odd, but usable", overflow="fold")
        table.add_column("count", justify="right")
        table.add_column("first", overflow="fold")
        for what, count in report.oddities.items():
            table.add_row(Text(what), str(count), Text(report.examples[what]))
        console.print(table)
    for fault in report.faults[:_NUM_FAULTS_SHOWN]:
        console.print(f"{fault.video}: {fault.message}", markup=False)
    if len(report.faults) > _NUM_FAULTS_SHOWN:
        console.print(f"... and {len(report.faults) - _NUM_FAULTS_SHOWN} more; --json lists all.", markup=False)
