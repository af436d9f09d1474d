"""The command ``evaluate``: run trackers over data sets and score them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from ctsdk.cli.options import FolderToWrite, ProtocolOptions
from ctsdk.cli.reports import check_plots, draw_plots, print_evaluations, write_tables
from ctsdk.cli.trackers import NamedTracker, TrackerName, TrackerOptions, load_trackers
from ctsdk.data.datasets import VideoDataset
from ctsdk.data.formats import open_dataset
from ctsdk.errors import ConfigError
from ctsdk.evaluation.running import PREDICTIONS_FOLDER, evaluate as evaluate_tracker, track_dataset
from ctsdk.evaluation.scores import Evaluation, EvaluationProtocol
from ctsdk.ranks import is_first_rank

__all__ = ["OutputOptions", "evaluate"]

_logger = logging.getLogger(__name__)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How to run, and what to write.

    Attributes:
        out: folder for boxes and results.
        num_workers: processes that track side by side; 0 for this one.
        plots: draw the curves into the folder, as PNG and SVG.
    """

    out: FolderToWrite | None = None
    num_workers: Annotated[int, Parameter(validator=Number(gte=0))] = 0
    plots: bool = False

    def folder_of(self, dataset: VideoDataset) -> Path | None:
        """Return the folder of one data set."""
        return None if self.out is None else self.out / _file_name(str(dataset))


def evaluate(
    tracker: TrackerName = None,
    *,
    data: Annotated[tuple[str, ...], Parameter(name="--data", metavar="SOURCE")],
    against: str | None = None,
    options: TrackerOptions | None = None,
    rules: ProtocolOptions | None = None,
    output: OutputOptions | None = None,
) -> None:
    """Track every video of data sets once, and score the boxes.

    A data set is written `NAME:PATH?option=value`, such as `lasot:/data/lasot`; `ctsdk data formats` lists the names.
    Sets whose truth is behind a server are only tracked; `ctsdk pack` makes the archive for the server. With `--out`, a
    command that was interrupted continues where it stopped. Under torchrun, the processes share the work.

    Args:
        tracker: the folder of a run, for its student; or an adapter, as `NAME` or `NAME/VARIANT`.
        data: a data set to track; may be given many times.
        against: a second tracker to compare with: `teacher` for the teacher of a run, or named like the first one.
        options: variant, weights and device.
        rules: how to score.
        output: how to run, and what to write.
    """
    output = output or OutputOptions()
    check_plots(output.plots, output.out)
    trackers = load_trackers(tracker, against, options or TrackerOptions())
    # All data sets are opened before the first is tracked, so that a fault in a later one shows at once.
    datasets = [open_dataset(source) for source in data]
    protocols = [_protocol_for(dataset, rules or ProtocolOptions(), output) for dataset in datasets]
    for dataset, protocol in zip(datasets, protocols, strict=True):
        if protocol is None:
            _track_all(trackers, dataset, output)
        else:
            _evaluate_all(trackers, dataset, protocol, output)


def _protocol_for(dataset: VideoDataset, rules: ProtocolOptions, output: OutputOptions) -> EvaluationProtocol | None:
    """Return the protocol for a data set; None if its truth is not public, so that it is only tracked."""
    if dataset[0].has_truth:
        return rules.protocol_for(dataset)
    if output.out is None:
        raise ConfigError(f"the truth of {dataset} is not public, so there is nothing to show; give --out DIR.")
    return None


def _track_all(trackers: list[NamedTracker], dataset: VideoDataset, output: OutputOptions) -> None:
    for named in trackers:
        folder = _own_folder(output.folder_of(dataset), named, trackers)
        assert folder is not None  # or _protocol_for would have refused
        track_dataset(named.adapter, named.tracker, dataset, out=folder, num_workers=output.num_workers)
        if is_first_rank():
            boxes = folder / PREDICTIONS_FOLDER
            _logger.info("the boxes of %s are in %s; `ctsdk pack` packs them for the server", named.label, boxes)


def _evaluate_all(
    trackers: list[NamedTracker], dataset: VideoDataset, protocol: EvaluationProtocol, output: OutputOptions
) -> None:
    folder = output.folder_of(dataset)
    evaluations = {
        named.label: evaluate_tracker(
            named.adapter,
            named.tracker,
            dataset,
            protocol=protocol,
            out=_own_folder(folder, named, trackers),
            num_workers=output.num_workers,
        )
        for named in trackers
    }
    if is_first_rank():
        print_evaluations(evaluations)
        if folder is not None:
            _write(evaluations, folder, plots=output.plots)


def _write(evaluations: Mapping[str, Evaluation], folder: Path, *, plots: bool) -> None:
    _logger.info("boxes and results are in %s", folder)
    # Evaluating a single tracker has written its tables already.
    if len(evaluations) > 1:
        write_tables(evaluations, folder)
    if plots:
        draw_plots(evaluations, folder)


def _own_folder(folder: Path | None, named: NamedTracker, trackers: list[NamedTracker]) -> Path | None:
    if folder is None or len(trackers) == 1:
        return folder
    return folder / _file_name(named.label)


def _file_name(label: str) -> str:
    return re.sub(r"[^\w.-]+", "_", label)
