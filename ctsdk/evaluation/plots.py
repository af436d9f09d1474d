"""Success, precision and normalised precision plots, several trackers in one.

The same evaluations give the same bytes. The global state of matplotlib stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ctsdk.errors import ConfigError
from ctsdk.evaluation.comparing import check_comparable
from ctsdk.evaluation.scores import Evaluation
from ctsdk.storage.atomic import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["TRACKER_COLOURS", "save_plot", "save_plots"]

# Source: Okabe and Ito, Color Universal Design; these are distinct with any kind of colour vision.
TRACKER_COLOURS: Final[tuple[tuple[int, int, int], ...]] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
)
"""RGB of the first, second, ... tracker of a plot or clip."""

# When the colours start again, the line style changes.
_LINES = ("-", "--", ":", "-.")
_SUFFIXES = (".png", ".svg", ".pdf")
# Metadata that depends on the time and the machine; None leaves it out.
_NO_TRACES: Final[Mapping[str, dict[str, None]]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}


@dataclass(frozen=True)
class _Curve:
    """How a curve is drawn.

    Attributes:
        title: of the plot.
        x_label: of the thresholds.
        y_label: of the shares.
        figures: the names of metrics that protocols take from this curve; each protocol has one of them.
    """

    title: str
    x_label: str
    y_label: str
    figures: tuple[str, ...]


_CURVES: Final[Mapping[str, _Curve]] = {
    "success": _Curve(
        "Success", "overlap threshold (IoU)", "share of frames above it", ("AUC", "AO", "success", "success_score")
    ),
    "precision": _Curve(
        "Precision", "distance of centres, px", "share of frames within it", ("P", "precision", "precision_score")
    ),
    "normalised_precision": _Curve(
        "Normalised precision",
        "distance of centres, in sizes of the target",
        "share of frames within it",
        ("P_norm", "normalized_precision", "normalized_precision_score"),
    ),
}


def save_plot(
    path: str | Path, evaluations: Mapping[str, Evaluation], curve: str = "success", *, title: str | None = None
) -> Path:
    """Draw one curve of several trackers, written whole or not at all.

    The legend has each tracker's metric, the best first.

    Args:
        path: ends in ``.png``, ``.svg`` or ``.pdf``.
        evaluations: by the tracker's label, by one protocol and on the same videos.
        curve: ``success``, ``precision`` or ``normalised_precision``.
        title: above the plot; None for the curve and the data set.

    Returns:
        the path.

    Raises:
        ConfigError: matplotlib is not installed; the file's ending is unknown; there are no evaluations, they were not
            made alike, or their protocol has no such curve.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ConfigError(f"{path} ends in {path.suffix!r}; expected one of {', '.join(_SUFFIXES)}.")
    check_comparable(evaluations)
    first = next(iter(evaluations.values()))
    if curve not in first.curves or curve not in _CURVES:
        raise ConfigError(
            f"the protocol {first.protocol.label!r} has no curve {curve!r} to draw; it has {', '.join(first.curves)}."
        )
    matplotlib = _import_matplotlib()
    figure = matplotlib.figure.Figure(figsize=(5.6, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title or f"{_CURVES[curve].title}, {first.dataset_name}", loc="left", fontweight="bold")
    _draw(axes, evaluations, curve)
    # The identifiers in an SVG are otherwise random.
    with matplotlib.rc_context({"svg.hashsalt": "ctsdk"}), atomic_write(path) as temporary:
        figure.savefig(temporary, format=suffix[1:], dpi=160, metadata=_NO_TRACES[suffix])
    return path


def save_plots(folder: str | Path, evaluations: Mapping[str, Evaluation]) -> list[Path]:
    """Draw every curve that the protocol has, as ``<curve>.png`` and ``<curve>.svg``.

    Args:
        folder: is made if it is not there.
        evaluations: by the tracker's label, by one protocol and on the same videos.

    Returns:
        the paths.

    Raises:
        ConfigError: as :func:`save_plot`.
        OutputError: a file cannot be written.
    """
    check_comparable(evaluations)
    curves = [curve for curve in next(iter(evaluations.values())).curves if curve in _CURVES]
    return [
        save_plot(Path(folder) / f"{curve}{suffix}", evaluations, curve)
        for curve in curves
        for suffix in (".png", ".svg")
    ]


def _draw(axes: Axes, evaluations: Mapping[str, Evaluation], curve: str) -> None:
    first = next(iter(evaluations.values()))
    thresholds, look = first.protocol.thresholds[curve], _CURVES[curve]
    figure = next((name for name in look.figures if name in first.figures), None)
    lines = []
    for number, (label, evaluation) in enumerate(evaluations.items()):
        value = evaluation.figures[figure] if figure else 0.0
        shown = f"[{value:.{1 if first.protocol.scale > 1 else 3}f}] {label}" if figure else label
        # A label that begins with an underscore would be left out of the legend if it were the line's own.
        (line,) = axes.plot(
            thresholds,
            evaluation.curves[curve],
            color=np.array(TRACKER_COLOURS[number % len(TRACKER_COLOURS)]) / 255,
            linestyle=_LINES[number // len(TRACKER_COLOURS) % len(_LINES)],
            linewidth=2.2,
        )
        lines.append((-value, number, line, shown))
    lines.sort(key=lambda entry: entry[:2])
    axes.set(xlim=(thresholds[0], thresholds[-1]), xlabel=look.x_label, ylabel=look.y_label)
    # Shares of valid frames only may exceed 1.
    axes.set_ylim(0.0, 1.02 * max(1.0, *(float(np.nanmax(each.curves[curve])) for each in evaluations.values())))
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        [line for *_, line, _ in lines],
        [shown.replace("$", r"\$") for *_, shown in lines],
        title=f"{figure or look.title} ({first.protocol.label})",
        frameon=False,
        loc="best",
    )


def _import_matplotlib() -> Any:  # noqa: ANN401 - a module without types
    """Return matplotlib with its figures, but without pyplot, which has global state."""
    try:
        import matplotlib as mpl
        import matplotlib.backends.backend_agg
        import matplotlib.figure
    except ImportError as error:
        raise ConfigError(
            f"drawing curves needs matplotlib, which does not import here ({error}). "
            "Install it: pip install 'ctsdk[demo]'"
        ) from error
    return mpl
