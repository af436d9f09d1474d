"""Made videos and evaluations, for tests of what runs and reports them. Everything here can be pickled."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctsdk.data.videos import Video
from ctsdk.errors import DataError
from ctsdk.evaluation.protocols.got10k import Got10kProtocol
from ctsdk.evaluation.protocols.ope import OnePassProtocol
from ctsdk.evaluation.scores import Evaluation, VideoScore

OSTRACK = OnePassProtocol("ostrack", "made")


class OddError(Exception):
    """An error that does not survive being pickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


@dataclass(frozen=True)
class Frames:
    """Noise, the same for the same seed and index; one frame may break what reads it."""

    seed: int = 0
    broken: int = -1
    fault: str = ""

    def __call__(self, index: int) -> NDArray[np.uint8]:
        if index == self.broken:
            self._break()
        return np.random.default_rng([self.seed, index]).integers(0, 255, (60, 80, 3), dtype=np.uint8)

    def _break(self) -> None:
        if self.fault == "exit":
            os._exit(7)
        if self.fault == "odd":
            raise OddError("both", "halves")
        if self.fault == "value":
            raise ValueError("no value")
        raise DataError("the frame is gone")


def make_video(
    name: str,
    num_frames: int = 6,
    *,
    seed: int = 0,
    broken: int = -1,
    fault: str = "data",
    attributes: tuple[str, ...] = (),
) -> Video:
    """Return a video whose target goes right, a pixel a frame."""
    boxes = np.array([[20.0 + index, 20.25, 16, 16] for index in range(num_frames)])
    visible = np.ones(num_frames, dtype=bool)
    return Video(name, boxes, visible, (80, 60), Frames(seed, broken, fault), attributes=attributes)


def make_videos() -> list[Video]:
    """Return four videos of different lengths."""
    return [
        make_video("a", 5, seed=1, attributes=("OV",)),
        make_video("b", 9, seed=2, attributes=("OV", "FM")),
        make_video("c", 7, seed=3),
        make_video("d", 3, seed=4),
    ]


def evaluation(
    shares: Mapping[str, float], *, attributes: Mapping[str, tuple[str, ...]] | None = None, num_frames: int = 4
) -> Evaluation:
    """Return an evaluation by "ostrack" in which every curve of a video is flat: all its figures are one share."""
    scores = [
        VideoScore(
            name=name,
            figures=dict.fromkeys(("AUC", "OP50", "OP75", "P", "P_norm"), 100 * share),
            curves={
                curve: np.full(len(thresholds), share, dtype=np.float64)
                for curve, thresholds in OSTRACK.thresholds.items()
            },
            attributes=(attributes or {}).get(name, ()),
            boxes_xywh_px=np.ones((num_frames, 4)),
            seconds=np.full(num_frames, 0.1),
        )
        for name, share in shares.items()
    ]
    return Evaluation(OSTRACK, "made", tuple(scores))


def pooled_evaluation(shares: Sequence[float], num_frames: Sequence[int]) -> Evaluation:
    """Return an evaluation by "got10k", which pools frames: the overlap of video i is shares[i] in all frames."""
    scores = [
        VideoScore(
            name=f"s{number}",
            figures={"AO": share, "SR50": float(share > 0.5), "SR75": float(share > 0.75), "speed_fps": float("nan")},
            curves={"success": (share > np.linspace(0.0, 1.0, 101)).astype(np.float64)},
            weight=weight,
        )
        for number, (share, weight) in enumerate(zip(shares, num_frames, strict=True))
    ]
    return Evaluation(Got10kProtocol(), "got10k val", tuple(scores))
