"""Boxes of trackers on disk: ours and those of other tools.

===========================================  =================================================================
module, in reading order                     what it holds
===========================================  =================================================================
:mod:`ctsdk.evaluation.results.predictions`  what a tracker predicted on one video, and a folder that keeps it
:mod:`ctsdk.evaluation.results.manifest`     whose boxes a folder holds
:mod:`ctsdk.evaluation.results.spellings`    how the public tools call the same data sets and videos
:mod:`ctsdk.evaluation.results.archives`     files below a folder or in a zip archive
:mod:`ctsdk.evaluation.results.reading`      result files of any tracker
:mod:`ctsdk.evaluation.results.formats`      result files as the public tools write them
:mod:`ctsdk.evaluation.results.packing`      archives for the servers that keep their truth
===========================================  =================================================================
"""
