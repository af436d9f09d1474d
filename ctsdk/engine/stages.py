"""How a trunk is cut into stages, and which teacher block each student block starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ctsdk.config import Initialisation
from ctsdk.errors import ConfigError

__all__ = ["Initialisation", "StagePlan", "plan_stages"]


@dataclass(frozen=True)
class StagePlan:
    """The stages of one trunk. Each covers consecutive teacher blocks and holds one student block.

    Attributes:
        sizes: teacher blocks per stage; every block of the trunk belongs to exactly one stage.
        initialisation: where student blocks start: from the ``last`` teacher block of their stage, from the
            ``first`` blocks of the trunk, from blocks spaced ``even`` over the trunk, or at ``random``.

    Source: Hong et al., General Compression Framework for Efficient Transformer Object Tracking (arXiv 2409.17564),
    section 3.2 (stage division) and its ablation of initialisations.
    """

    sizes: tuple[int, ...]
    initialisation: Initialisation = "last"

    @classmethod
    def divide(
        cls, depth: int, stages: int | Sequence[int], initialisation: Initialisation = "last", *, trunk: str = "trunk"
    ) -> StagePlan:
        """Cut `depth` blocks into stages.

        Args:
            depth: blocks of the teacher's trunk.
            stages: how many, from 1 to `depth`, as equal as they can be; or the size of each.
            initialisation: where student blocks start.
            trunk: its name, for messages.

        Raises:
            ConfigError: there are fewer blocks than stages, or the sizes do not add up to `depth`.
        """
        if isinstance(stages, int):
            if not 1 <= stages <= depth:
                raise ConfigError(
                    f"trunk {trunk!r} has {depth} blocks, cannot give {stages} stages; "
                    f"expected a number from 1 to {depth}."
                )
            ends = [(i + 1) * depth // stages for i in range(stages)]
            return cls(tuple(end - start for start, end in zip([0, *ends], ends, strict=False)), initialisation)
        if not stages or min(stages) < 1 or sum(stages) != depth:
            example = list(cls.divide(depth, min(max(len(stages), 1), depth)).sizes)
            raise ConfigError(
                f"stage sizes {list(stages)} of trunk {trunk!r} add up to {sum(stages)}; expected sizes of at least 1 "
                f"that add up to its {depth} blocks, such as {example}."
            )
        return cls(tuple(stages), initialisation)

    @property
    def depth(self) -> int:
        """The number of teacher blocks."""
        return sum(self.sizes)

    @property
    def num_stages(self) -> int:
        """The number of stages, hence of student blocks."""
        return len(self.sizes)

    def blocks(self, stage: int) -> range:
        """Return the indices of the teacher blocks of `stage`."""
        start = sum(self.sizes[:stage])
        return range(start, start + self.sizes[stage])

    @property
    def sources(self) -> tuple[int, ...]:
        """The teacher block that each student block starts from (for ``random``: whose shape it takes)."""
        match self.initialisation:
            case "first":
                return tuple(range(self.num_stages))
            case "even":
                if self.num_stages == 1:
                    return (self.depth - 1,)
                # The first and the last block of the teacher, and those between at equal distances.
                spacing = (self.depth - 1) / (self.num_stages - 1)
                return tuple(round(stage * spacing) for stage in range(self.num_stages))
            case _:
                return tuple(self.blocks(stage)[-1] for stage in range(self.num_stages))


def plan_stages(
    depths: Mapping[str, int],
    stages: int | Sequence[int] | Mapping[str, int | Sequence[int]],
    initialisation: Initialisation = "last",
) -> dict[str, StagePlan]:
    """Plan every trunk.

    Args:
        depths: blocks of the teacher by trunk.
        stages: for all trunks alike, or by trunk; a trunk that is left out stays as deep as it is.
        initialisation: where student blocks start.

    Raises:
        ConfigError: a trunk is unknown, or cannot be cut so.
    """
    if not isinstance(stages, Mapping):
        try:
            return {name: StagePlan.divide(depth, stages, initialisation, trunk=name) for name, depth in depths.items()}
        except ConfigError as error:
            if len(depths) == 1:
                raise
            example = ", ".join(f"{name}: {max(1, depth // 3)}" for name, depth in depths.items())
            raise ConfigError(
                f"{error} The trunks {', '.join(depths)} differ; give each its own, such as stages={{{example}}}. One "
                "that is left out stays as deep as it is."
            ) from error
    unknown = sorted(set(stages) - set(depths))
    if unknown:
        raise ConfigError(f"stages name trunks {unknown}, which the tracker does not have; it has {sorted(depths)}.")
    return {
        name: StagePlan.divide(depth, stages.get(name, depth), initialisation, trunk=name)
        for name, depth in depths.items()
    }
