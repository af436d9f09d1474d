"""Promises that an adapter makes, as checks with known answers: no data, seconds on a CPU.

For your adapter, the whole contract test is::

    @ctsdk.testing.parametrize_with_checks([MyAdapter(teacher=my_tracker)])
    def test_contract(adapter, check):
        check(adapter)

Each check has the name of its promise. A failure says which promise is broken, what was found, how to fix it, and where
to read on.
"""

from ctsdk.testing.following import (
    check_session_is_deterministic,
    check_session_returns_boxes_inside_frame,
    check_session_survives_a_target_that_leaves,
)
from ctsdk.testing.forward import (
    check_boxes_are_shares_of_the_crop,
    check_cpu_suffices_and_no_global_state_changes,
    check_losses_are_finite_scalars,
    check_spec_is_what_predict_takes,
)
from ctsdk.testing.learning import (
    check_a_teacher_as_student_imitates_perfectly,
    check_same_seed_same_loss,
    check_teacher_is_untouched,
)
from ctsdk.testing.mixes import (
    check_all_student_mix_is_the_student,
    check_all_teacher_mix_is_the_teacher,
    check_every_mix_runs,
    check_gradients_reach_only_replaced_stages,
    check_stage_tokens_have_one_shape,
    check_swapping_own_blocks_changes_nothing,
)
from ctsdk.testing.running import CheckResult, adapter_checks, check_adapter, parametrize_with_checks
from ctsdk.testing.saving import check_official_layout_round_trip, check_student_reloads_from_its_state_dict

__all__ = [
    "CheckResult",
    "adapter_checks",
    "check_a_teacher_as_student_imitates_perfectly",
    "check_adapter",
    "check_all_student_mix_is_the_student",
    "check_all_teacher_mix_is_the_teacher",
    "check_boxes_are_shares_of_the_crop",
    "check_cpu_suffices_and_no_global_state_changes",
    "check_every_mix_runs",
    "check_gradients_reach_only_replaced_stages",
    "check_losses_are_finite_scalars",
    "check_official_layout_round_trip",
    "check_same_seed_same_loss",
    "check_session_is_deterministic",
    "check_session_returns_boxes_inside_frame",
    "check_session_survives_a_target_that_leaves",
    "check_spec_is_what_predict_takes",
    "check_stage_tokens_have_one_shape",
    "check_student_reloads_from_its_state_dict",
    "check_swapping_own_blocks_changes_nothing",
    "check_teacher_is_untouched",
    "parametrize_with_checks",
]
