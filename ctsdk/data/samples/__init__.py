"""From videos to training batches.

======================================  ==================================================================
module, in reading order                what it holds
======================================  ==================================================================
:mod:`ctsdk.data.samples.workers`       processes that make samples
:mod:`ctsdk.data.samples.faults`        unreadable files: counted, and an end to the run above a threshold
:mod:`ctsdk.data.samples.sampling`      which frames of a video make a sample
:mod:`ctsdk.data.samples.augmentation`  how crops are varied
:mod:`ctsdk.data.samples.views`         the crops of one sample
:mod:`ctsdk.data.samples.mixture`       several data sets, drawn from by ratio
:mod:`ctsdk.data.samples.pairs`         samples and batches of them
:mod:`ctsdk.data.samples.sources`       training and validation batches from a configuration
:mod:`ctsdk.data.samples.feed`          any batches, endless and in portions of one training step
======================================  ==================================================================

Importing this package imports none of them.
"""
