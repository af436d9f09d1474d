"""Promises of training: the student imitates, the teacher stays, a seed decides all draws."""

from __future__ import annotations

import torch

from ctsdk.compression import compress
from ctsdk.config import CompressionConfig
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.mixes import all_student
from ctsdk.engine.stages import plan_stages
from ctsdk.engine.step import frozen, step_losses
from ctsdk.engine.student import build_student, trunk_depths
from ctsdk.result import CompressionResult
from ctsdk.testing.mixes import check_every_mix_runs, check_stage_tokens_have_one_shape
from ctsdk.testing.promise import few_stages, promise, require

__all__ = [
    "check_a_teacher_as_student_imitates_perfectly",
    "check_same_seed_same_loss",
    "check_teacher_is_untouched",
    "short_run",
]

# Above the rounding of a divergence of a distribution from itself.
_NO_LOSS = 1e-6


@promise(needs=(check_stage_tokens_have_one_shape,))
def check_a_teacher_as_student_imitates_perfectly(adapter: TrackerAdapter) -> None:
    """A student with all the teacher's blocks has no imitation and no guidance loss."""
    batch = adapter.example_batch(2)
    plans = plan_stages(trunk_depths(adapter), trunk_depths(adapter))
    student = build_student(adapter, plans).eval()
    with frozen(adapter.teacher), torch.no_grad():
        terms = step_losses(adapter, student, plans, all_student(plans), batch, CompressionConfig())
    for name, loss in terms.items():
        require(
            name.startswith("task/") or abs(loss.item()) < _NO_LOSS,
            f"a copy of the teacher has the loss {name} = {loss.item():.2e}; expected 0.",
            "guidance_loss must vanish where both predictions agree, and student_block must return an unchanged copy "
            "in a plan of full depth.",
        )


@promise(needs=(check_every_mix_runs,))
def check_teacher_is_untouched(adapter: TrackerAdapter) -> None:
    """Training changes no parameter, no buffer and no mode of the teacher."""
    before = {key: value.clone() for key, value in adapter.teacher.state_dict().items()}
    modes = [module.training for module in adapter.teacher.modules()]
    short_run(adapter)
    after = adapter.teacher.state_dict()
    changed = [key for key, value in before.items() if not torch.equal(value, after[key])]
    fix = "run the teacher through predict() alone, and never write to self.teacher."
    require(not changed, f"training changed {', '.join(changed[:5])} of the teacher; expected no change.", fix)
    now = [module.training for module in adapter.teacher.modules()]
    require(now == modes, "training left modules of the teacher in another mode than it found them in.", fix)


@promise(needs=(check_every_mix_runs,))
def check_same_seed_same_loss(adapter: TrackerAdapter) -> None:
    """Two runs with one seed have the same losses."""
    one, other = ([row["loss"] for row in short_run(adapter).history if "loss" in row] for _ in range(2))
    require(
        one == other,
        f"two runs with one seed gave losses {one} and {other}; expected the same.",
        "take randomness from torch's global generator, which is seeded for each step, or from your own seeded "
        "generator.",
    )


def short_run(adapter: TrackerAdapter) -> CompressionResult:
    """Return the result of two steps on two samples of noise."""
    training = {"steps": 2, "batch_size": 2, "device": "cpu"}
    config = CompressionConfig.from_mapping({"stages": few_stages(adapter), "training": training})
    return compress(adapter, config, batches=[adapter.example_batch(2)], show_progress=False)
