"""The method: a tracker is divided into stages, a shorter copy is built, and blocks are replaced step by step.

Modules in reading order::

    trunk           where a tracker keeps its blocks: read them, assign others
    stages          how a trunk is divided into stages
    batch           what goes into a tracker and what comes out
    session         following one target, frame by frame
    adapter         the contract between the engine and a tracker
    student         a copy of the teacher with one block per stage
    schedules       how likely each stage is the student's during a run
    mixes           which stages are the student's in a step, and a tracker that runs them
    imitation       how far the stages of a mix are from the teacher's
    faults          cheap checks of what an adapter gives
    step            the losses of one step
    module_adapter  an adapter made of functions

The names below are for custom training loops.
"""

from ctsdk.engine.imitation import imitation_by_stage
from ctsdk.engine.mixes import Mix, StageRecorder, all_student, all_teacher, draw_mix, mixed
from ctsdk.engine.schedules import make_schedule
from ctsdk.engine.stages import StagePlan, plan_stages
from ctsdk.engine.step import frozen, step_losses
from ctsdk.engine.student import build_student, trunk_depths
from ctsdk.engine.trunk import Trunk

__all__ = [
    "Mix",
    "StagePlan",
    "StageRecorder",
    "Trunk",
    "all_student",
    "all_teacher",
    "build_student",
    "draw_mix",
    "frozen",
    "imitation_by_stage",
    "make_schedule",
    "mixed",
    "plan_stages",
    "step_losses",
    "trunk_depths",
]
