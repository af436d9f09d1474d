"""How well a tracker follows targets: the field's protocols, results on disk, reports.

=====================================  ==================================================================
module, in reading order               what it holds
=====================================  ==================================================================
:mod:`ctsdk.evaluation.scores`         what a protocol says about a tracker, and what every protocol is
:mod:`ctsdk.evaluation.measures`       overlaps and distances of boxes, shares of frames
:mod:`ctsdk.evaluation.ope`            the rules of pytracking and of the OSTrack family
:mod:`ctsdk.evaluation.got10k`         the rules of the GOT-10k toolkit
:mod:`ctsdk.evaluation.trackingnet`    the rules of the TrackingNet server
:mod:`ctsdk.evaluation.lasot_toolkit`  the rules of LaSOT's own toolkit
:mod:`ctsdk.evaluation.pysot`          the rules of the pysot toolkit
:mod:`ctsdk.evaluation.protocols`      a protocol by its name
:mod:`ctsdk.evaluation.predictions`    what a tracker said about one sequence, and a folder that keeps it
:mod:`ctsdk.evaluation.spellings`      how the public tools call the same data sets and sequences
:mod:`ctsdk.evaluation.archives`       files below a folder or in a zip archive
:mod:`ctsdk.evaluation.reading`        result files of any tracker
:mod:`ctsdk.evaluation.formats`        result files as the public tools write them
:mod:`ctsdk.evaluation.packing`        archives for the servers that keep their truth
:mod:`ctsdk.evaluation.scoring`        figures from result files
:mod:`ctsdk.evaluation.manifest`       whose boxes a folder holds
:mod:`ctsdk.evaluation.workers`        sequences tracked one after the other, or side by side
:mod:`ctsdk.evaluation.comparing`      whether two trackers differ, or only seem to
:mod:`ctsdk.evaluation.tables`         figures in rows and columns
:mod:`ctsdk.evaluation.running`        a tracker on a data set, going on where it was interrupted
:mod:`ctsdk.evaluation.plots`          curves as figures
=====================================  ==================================================================

Importing this package imports none of them.
"""
