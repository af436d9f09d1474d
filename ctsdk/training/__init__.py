"""The training loop and what it needs: none of it is particular to the method.

==================================  =======================================================
module, in reading order            what it holds
==================================  =======================================================
:mod:`ctsdk.training.optimisation`  the optimiser and the learning rate of each step
:mod:`ctsdk.training.acceleration`  precision, compiled or recomputed blocks, memory layout
:mod:`ctsdk.training.distribution`  gradients and batch norm over several processes
:mod:`ctsdk.training.divergence`    where NaN and infinity come from
:mod:`ctsdk.training.stepper`       one optimiser step
:mod:`ctsdk.training.preflight`     a check of the adapter before the first step
:mod:`ctsdk.training.validation`    how good the student is by itself
:mod:`ctsdk.training.states`        training states on disk, to resume from
:mod:`ctsdk.training.samples`       where the batches come from
:mod:`ctsdk.training.metrics`       metrics of a run and its pace
:mod:`ctsdk.training.record`        what a run was made with
:mod:`ctsdk.training.interruption`  signals that end a run in order
:mod:`ctsdk.training.loop`          step after step
==================================  =======================================================

Importing this package imports none of them.
"""
