"""Which frames of a video make up a sample, by the rules of the OSTrack family.

Source: botaoye/OSTrack @ 33b5e12, lib/train/data/sampler.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctsdk.config import SamplingRule
from ctsdk.data.videos import Video
from ctsdk.engine.batch import TrackerSpec
from ctsdk.errors import ConfigError

__all__ = ["FrameSampling"]

_MIN_FRAMES = 20
_GAP_STEP = 5
_MAX_REDRAWS = 100


@dataclass(frozen=True)
class FrameSampling:
    """How the frames of a sample are drawn, with replacement, from the usable frames of a video.

    - ``causal``: the first template is any frame. The searches follow it by 1 to ``max_gap - 1`` frames, further
      templates precede it by 1 to ``max_gap``. Where no usable frame is in reach, the reach grows by 5.
    - ``trident``: the first template and the searches are any frames, independently. Further templates lie within
      ``max_gap`` of the first search, on the side of the first template.
    - ``trident_pro``: as ``trident``, but further templates need not be usable; where one has no box, the sample is
      drawn again.
    - ``stark``: as ``trident``, but further templates only need a box; the target may be invisible.

    Attributes:
        num_templates: templates per sample.
        num_searches: searches per sample.
        max_gaps: the reach in frames; for ``causal`` one number, otherwise one for each further template.
        rule: one of the rules above.

    Raises:
        ConfigError: a number is not positive, or the number of gaps does not fit the rule.
    """

    num_templates: int
    num_searches: int
    max_gaps: tuple[int, ...]
    rule: SamplingRule = "causal"

    def __post_init__(self) -> None:
        expected = 1 if self.rule == "causal" else self.num_templates - 1
        if len(self.max_gaps) != expected:
            raise ConfigError(
                f"max_gap is {list(self.max_gaps)} for {self.num_templates} templates; {self.rule!r} sampling takes "
                f"{expected}. Give one number for all."
            )
        if min(self.num_templates, self.num_searches, *self.max_gaps) < 1:
            raise ConfigError(f"{self} has a number below 1; expected positive ones.")

    @classmethod
    def of(
        cls, spec: TrackerSpec, rule: SamplingRule = "causal", max_gap: int | tuple[int, ...] | None = None
    ) -> FrameSampling:
        """Return the sampling for a tracker.

        Args:
            spec: the numbers of templates and searches.
            rule: as the attribute.
            max_gap: the reach in frames; one number for all, or a list as in ``max_gaps``. None: that of the spec.

        Raises:
            ConfigError: a number is not positive, or the number of gaps does not fit the rule.
        """
        gaps = spec.max_gap if max_gap is None else max_gap
        if isinstance(gaps, int):
            gaps = (gaps,) * (1 if rule == "causal" else spec.num_templates - 1)
        return cls(spec.num_templates, spec.num_searches, tuple(gaps), rule)

    def accepts(self, video: Video) -> bool:
        """Whether samples can be drawn from a video: from any single image, else if it has what it :attr:`needs`."""
        return len(video) == 1 or (len(video) >= _MIN_FRAMES and int(video.usable.sum()) >= self._min_usable)

    @property
    def needs(self) -> str:
        """What a video must have, in words."""
        return (
            f"at least {_MIN_FRAMES} frames, and in at least {self._min_usable} of them a target that can be seen "
            "and has a box with an area"
        )

    @property
    def _min_usable(self) -> int:
        return 2 * (self.num_templates + self.num_searches) + 1

    def draw(self, video: Video, rng: np.random.Generator) -> list[int] | None:
        """Return one frame per crop, templates first, or None if the video has no such frames.

        A video of one frame serves as its own templates and searches.
        """
        if len(video) == 1:
            return [0] * (self.num_templates + self.num_searches)
        usable = video.usable
        if not usable.any():
            return None
        match self.rule:
            case "causal":
                return self._draw_causal(usable, rng)
            case "trident":
                further = usable
            case "trident_pro":
                further = np.ones_like(usable)
            case "stark":
                further = _has_box(video)
        return self._draw_trident(usable, further, rng)

    def _draw_causal(self, usable: NDArray[np.bool_], rng: np.random.Generator) -> list[int] | None:
        total, num_more, (gap,) = len(usable), self.num_templates - 1, self.max_gaps
        bases = np.flatnonzero(usable[: total - self.num_searches])
        bases = bases[bases >= num_more]
        if not bases.size:
            return None
        # Enough redraws for the reach to grow over the whole video.
        for _ in range(_MAX_REDRAWS + total // _GAP_STEP):
            base = int(rng.choice(bases))
            before = np.flatnonzero(usable[max(base - gap, 0) : base]) + max(base - gap, 0)
            after = np.flatnonzero(usable[base + 1 : base + gap]) + base + 1
            if after.size and (before.size or not num_more):
                more = [int(frame) for frame in rng.choice(before, num_more)] if num_more else []
                return [base, *more, *(int(frame) for frame in rng.choice(after, self.num_searches))]
            gap += _GAP_STEP
        return None

    def _draw_trident(
        self, usable: NDArray[np.bool_], further: NDArray[np.bool_], rng: np.random.Generator
    ) -> list[int] | None:
        frames = np.flatnonzero(usable)
        for _ in range(_MAX_REDRAWS):
            first, *searches = (int(frame) for frame in rng.choice(frames, 1 + self.num_searches))
            search, more = searches[0], list[int]()
            for gap in self.max_gaps:
                start, stop = (search, search + gap) if first >= search else (max(search - gap, 0), search)
                near = np.flatnonzero(further[start:stop]) + start
                if not near.size:
                    break
                more.append(int(rng.choice(near)))
            if len(more) == len(self.max_gaps):
                return [first, *more, *searches]
        return None


def _has_box(video: Video) -> NDArray[np.bool_]:
    """Return (N,), True where there is a finite box with an area, whether or not the target is visible."""
    boxes = video.boxes_xywh_px
    return np.asarray(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1), dtype=np.bool_)
