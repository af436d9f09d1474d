"""The commands that measure trackers on data sets: ``evaluate``, ``score``, ``pack``."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

import ctsdk
from ctsdk.cli.options import FileToWrite, FolderToWrite, PluginOptions
from ctsdk.data.formats import open_dataset
from ctsdk.device import pick_device
from ctsdk.errors import ConfigError, DataError, did_you_mean
from ctsdk.evaluation.comparing import compare
from ctsdk.evaluation.plots import save_plots
from ctsdk.evaluation.protocols.names import ProtocolName, make_protocol
from ctsdk.evaluation.results.packing import PackNumbers
from ctsdk.evaluation.results.packing import pack as pack_results
from ctsdk.evaluation.running import PREDICTIONS_FOLDER, track_dataset
from ctsdk.evaluation.running import evaluate as evaluate_tracker
from ctsdk.evaluation.scoring import score_results
from ctsdk.evaluation.tables import attribute_table, figure_table, video_table
from ctsdk.ranks import is_first_rank

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import nn

    from ctsdk.data.datasets import VideoDataset
    from ctsdk.engine.adapter import TrackerAdapter
    from ctsdk.evaluation.scores import Evaluation, EvaluationProtocol

__all__ = ["evaluate", "pack", "score"]

_logger = logging.getLogger(__name__)

_TEACHER = "teacher"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ProtocolOptions:
    """By which rules.

    Attributes:
        protocol: whose rules; by default those that the data set goes by.
        integer_boxes: cut boxes to whole pixels first, as official result files of the OSTrack family have them.
        exclude_invalid_frames: take shares of the frames with a visible target only.
    """

    protocol: ProtocolName | None = None
    integer_boxes: bool = False
    exclude_invalid_frames: bool = False

    def rules(self, dataset: VideoDataset) -> EvaluationProtocol:
        """Return the protocol for a data set."""
        return make_protocol(
            self.protocol or dataset.protocol,
            dataset.name,
            exclude_invalid_frames=self.exclude_invalid_frames,
            integer_boxes=self.integer_boxes,
        )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class NamedTrackerOptions(PluginOptions):
    """Which tracker an adapter's name stands for, and where it runs.

    Attributes:
        plugin: a file or module whose `@ctsdk.register_adapter` offers an adapter; may be given many times.
        variant: member of the tracker's family, where an adapter is named.
        weights: file of its trained weights; leave it out where the variant ships its own.
        device: `cpu`, `cuda`, `cuda:1`; `auto` is the accelerator if there is one.
    """

    variant: str | None = None
    weights: str | None = None
    device: str = "auto"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run, and what to leave on disk.

    Attributes:
        out: folder for boxes and figures.
        num_workers: processes that track side by side; 0 for this one.
        plots: draw the curves into the folder, as PNG and SVG.
    """

    out: FolderToWrite | None = None
    num_workers: Annotated[int, Parameter(validator=Number(gte=0))] = 0
    plots: bool = False

    def folder(self, dataset: VideoDataset) -> Path | None:
        """Return the folder of one data set."""
        return None if self.out is None else self.out / _file_name(str(dataset))


@dataclass(frozen=True)
class _NamedTracker:
    """A tracker and what reports call it."""

    label: str
    adapter: TrackerAdapter
    tracker: nn.Module


DataOption = Annotated[tuple[str, ...], Parameter(name="--data", metavar="SOURCE")]


def evaluate(
    tracker: str,
    /,
    *,
    data: DataOption,
    against: str | None = None,
    options: NamedTrackerOptions | None = None,
    rules: ProtocolOptions | None = None,
    run: RunOptions | None = None,
) -> None:
    """Track every video of data sets once, and say how well.

    A data set is written `NAME:PATH?option=value`, such as `lasot:/data/lasot`; `ctsdk data formats` lists the names.
    Sets whose truth is behind a server are tracked only; `ctsdk pack` makes the archive for the server. With --out, a
    command that was interrupted goes on where it stopped. Under torchrun, its processes share the work.

    Args:
        tracker: a folder that `ctsdk compress` wrote, for its student, or the name of an adapter.
        data: what to track; may be given many times.
        against: a second tracker, to compare with: `teacher` for that of a student, a folder or an adapter's name.
        options: which tracker an adapter's name stands for.
        rules: by which rules.
        run: how to run.
    """
    run = run or RunOptions()
    _check_plots(run.plots, run.out)
    if against == _TEACHER and not Path(tracker).is_dir():
        raise ConfigError(f"--against teacher goes with a student, and {tracker!r} is no folder of one.")
    chosen = options or NamedTrackerOptions()
    chosen.import_plugins()
    trackers = [_load(tracker, chosen)]
    if against is not None:
        other = _load_teacher(tracker, chosen) if against == _TEACHER else _load(against, chosen)
        trackers = _told_apart(other, trackers[0])
    # What is wrong with the second data set must not show only when the first one has been tracked.
    datasets = [open_dataset(spec) for spec in data]
    protocols = [_rules_of(dataset, rules or ProtocolOptions(), run) for dataset in datasets]
    for dataset, protocol in zip(datasets, protocols, strict=True):
        if protocol is None:
            _track_all(trackers, dataset, run)
        else:
            _evaluate_all(trackers, dataset, protocol, run)


def score(
    results: Path,
    /,
    *,
    data: Annotated[str, Parameter(metavar="SOURCE")],
    against: Path | None = None,
    rules: ProtocolOptions | None = None,
    skip_missing: bool = False,
    out: FolderToWrite | None = None,
    plots: bool = False,
) -> None:
    """Score result files of any tracker, whichever tool wrote them; no frame is read.

    Args:
        results: a folder or a zip archive with a file of boxes for each video.
        data: the data set: `NAME:PATH?option=value`, such as `lasot:/data/lasot`.
        against: results of a second tracker, to compare with.
        rules: by which rules.
        skip_missing: leave videos without results out, instead of refusing.
        out: folder for `videos.csv` and, if the videos have any, `attributes.csv`.
        plots: draw the curves into the folder, as PNG and SVG.
    """
    _check_plots(plots, out)
    dataset = open_dataset(data)
    protocol = (rules or ProtocolOptions()).rules(dataset)
    places = [results] if against is None else [against, results]
    labels = [place.stem for place in places] if against is None else _labels(against, results)
    evaluations = {
        label: score_results(place, dataset, protocol=protocol, skip_missing=skip_missing)
        for label, place in zip(labels, places, strict=True)
    }
    _report(evaluations)
    if out is not None:
        _write_tables(evaluations, out)
        if plots:
            _draw(evaluations, out)


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
        results: a folder of result files; of an evaluation by ctsdk, its `predictions`.
        data: the test set: `got10k:/data/got10k?split=test` or `trackingnet:/data/trackingnet?split=test`.
        out: the archive to write, ending in `.zip`.
        server: whose archive; by default the data set's.
        numbers: `got10k` writes three decimals, as the toolkit does; `ostrack` whole pixels, as its family does.
    """
    dataset = open_dataset(data)
    chosen = server or dataset.name
    if chosen not in ("got10k", "trackingnet"):
        raise ConfigError(f"{dataset} has no server to pack for; expected got10k or trackingnet.")
    path = pack_results("got10k" if chosen == "got10k" else "trackingnet", dataset, results, out, numbers=numbers)
    _logger.info("wrote %s (%d videos)", path, len(dataset))


def _load(name: str, options: NamedTrackerOptions) -> _NamedTracker:
    device = pick_device(options.device)
    if Path(name).is_dir():
        if options.variant or options.weights:
            raise ConfigError(f"{name} says which tracker it is; leave out --variant and --weights.")
        result = ctsdk.load_result(name)
        # The student brings its own weights; of its teacher only the structure is needed.
        adapter = ctsdk.load_adapter(result.adapter_name, variant=result.variant, weights="random")
        return _NamedTracker("student", adapter, result.student.to(device))
    adapters = {info.name for info in ctsdk.list_adapters()}
    if name not in adapters:
        raise ConfigError(
            f"there is neither a folder nor an adapter {name!r}. {did_you_mean(name, adapters)}Give the folder of a "
            "student, as `ctsdk compress --out` names it, or an adapter (`ctsdk adapters` lists them)."
        )
    adapter = ctsdk.load_adapter(name, variant=options.variant, weights=options.weights)
    return _NamedTracker(adapter.variant or adapter.name, adapter, _on(adapter, device))


def _load_teacher(run: str, options: NamedTrackerOptions) -> _NamedTracker:
    result = ctsdk.load_result(run)
    told = result.config.adapter
    weights = None if told is None else told.weights
    adapter = ctsdk.load_adapter(result.adapter_name, variant=result.variant, weights=weights)
    return _NamedTracker(_TEACHER, adapter, _on(adapter, pick_device(options.device)))


def _on(adapter: TrackerAdapter, device: torch.device) -> nn.Module:
    return adapter.teacher.to(device)


def _labels(first: Path, second: Path) -> list[str]:
    """Return what two places of results are called: where their paths differ."""
    parts, others = list(first.parts), list(second.parts)
    while len(parts) > 1 and len(others) > 1 and parts[-1] == others[-1]:
        parts.pop()
        others.pop()
    labels = [PurePath(parts[-1]).stem, PurePath(others[-1]).stem]
    return labels if labels[0] != labels[1] else [str(first), str(second)]


def _told_apart(first: _NamedTracker, second: _NamedTracker) -> list[_NamedTracker]:
    """Return both, with labels that differ."""
    if first.label == second.label:
        first = replace(first, label=f"{first.label}, against")
    return [first, second]


def _evaluate_all(
    trackers: list[_NamedTracker], dataset: VideoDataset, protocol: EvaluationProtocol, run: RunOptions
) -> None:
    folder = run.folder(dataset)
    evaluations = {
        each.label: evaluate_tracker(
            each.adapter,
            each.tracker,
            dataset,
            protocol=protocol,
            out=_own_folder(folder, each, trackers),
            num_workers=run.num_workers,
        )
        for each in trackers
    }
    if not is_first_rank():
        return
    _report(evaluations)
    if folder is not None:
        _logger.info("boxes and figures are in %s", folder)
        if len(trackers) > 1:
            # Of one tracker alone, the evaluation has left them there.
            _write_tables(evaluations, folder)
        if run.plots:
            _draw(evaluations, folder)


def _rules_of(dataset: VideoDataset, rules: ProtocolOptions, run: RunOptions) -> EvaluationProtocol | None:
    """Return by which rules a data set is scored; None if its truth is not public, and it is only tracked."""
    if dataset[0].has_truth:
        return rules.rules(dataset)
    if run.folder(dataset) is None:
        raise ConfigError(f"the truth of {dataset} is not public, so there is nothing to show; give --out DIR.")
    return None


def _track_all(trackers: list[_NamedTracker], dataset: VideoDataset, run: RunOptions) -> None:
    folder = run.folder(dataset)
    assert folder is not None  # or _rules_of would have said so
    for each in trackers:
        own = _own_folder(folder, each, trackers)
        track_dataset(each.adapter, each.tracker, dataset, out=own, num_workers=run.num_workers)
        if is_first_rank():
            boxes = (own or folder) / PREDICTIONS_FOLDER
            _logger.info("the boxes of %s are in %s; `ctsdk pack` packs them for the server", each.label, boxes)


def _own_folder(folder: Path | None, tracker: _NamedTracker, trackers: list[_NamedTracker]) -> Path | None:
    if folder is None or len(trackers) == 1:
        return folder
    return folder / _file_name(tracker.label)


def _file_name(label: str) -> str:
    return re.sub(r"[^\w.-]+", "_", label)


def _check_plots(plots: bool, out: Path | None) -> None:
    if plots and out is None:
        raise ConfigError("--plots needs --out DIR, the folder to draw into.")


def _report(evaluations: Mapping[str, Evaluation]) -> None:
    console = Console(soft_wrap=True)
    console.print(figure_table(evaluations))
    first = next(iter(evaluations.values()))
    if first.by_attribute():
        console.print(attribute_table(evaluations))
    if len(evaluations) == 2 and len({video.name for video in first.videos}) > 1:
        try:
            console.print(str(compare(*evaluations.values())), markup=False)
        except (ConfigError, DataError) as error:
            # The figures above stand; a protocol whose figure is no mean over videos has no interval, and neither
            # have too few videos with frames that count.
            _logger.warning("no interval of the difference: %s", error)


def _write_tables(evaluations: Mapping[str, Evaluation], folder: Path) -> None:
    """Leave all figures of each video and attribute in a folder."""
    first = next(iter(evaluations.values()))
    folder.mkdir(parents=True, exist_ok=True)
    video_table(evaluations, tuple(first.videos[0].figures)).write_csv(folder / "videos.csv")
    if first.by_attribute():
        attribute_table(evaluations, tuple(first.figures)).write_csv(folder / "attributes.csv")
    _logger.info("the tables are in %s", folder)


def _draw(evaluations: Mapping[str, Evaluation], folder: Path) -> None:
    for path in save_plots(folder, evaluations):
        _logger.info("wrote %s", path)
