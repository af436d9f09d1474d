"""The training loop and what it needs: none of it is particular to the method.

Modules in reading order::

    optimisation  the optimiser and the learning rate of each step
    acceleration  precision, compiled or recomputed blocks, memory layout
    distribution  gradients and batch norm over several processes
    divergence    where NaN and infinity come from
    stepper       one optimiser step
    preflight     a check of the adapter before the first step
    validation    how good the student is by itself
    states        training states on disk, to resume from
    samples       where the batches come from
    metrics       metrics of a run and its pace
    record        what a run was made with
    interruption  signals that end a run in order
    loop          step after step

Importing this package imports none of them.
"""
