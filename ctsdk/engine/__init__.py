"""The method: a tracker is divided into stages, a shorter copy is built, and blocks are replaced step by step.

==================================  ======================================================================
module, in reading order            what it holds
==================================  ======================================================================
:mod:`ctsdk.engine.trunk`           where a tracker keeps its blocks: read them, assign others
:mod:`ctsdk.engine.stages`          how a trunk is divided into stages
:mod:`ctsdk.engine.batch`           what goes into a tracker and what comes out
:mod:`ctsdk.engine.session`         following one target, frame by frame
:mod:`ctsdk.engine.adapter`         the contract between the engine and a tracker
:mod:`ctsdk.engine.student`         a copy of the teacher with one block per stage
:mod:`ctsdk.engine.schedules`       how likely each stage is the student's during a run
:mod:`ctsdk.engine.mixes`           which stages are the student's in a step, and a tracker that runs them
:mod:`ctsdk.engine.imitation`       how far the stages of a mix are from the teacher's
:mod:`ctsdk.engine.faults`          cheap checks of what an adapter gives
:mod:`ctsdk.engine.step`            the losses of one step
:mod:`ctsdk.engine.module_adapter`  an adapter made of functions
==================================  ======================================================================

Importing this package imports none of them.
"""
