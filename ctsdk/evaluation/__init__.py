"""How well a tracker follows targets: the field's protocols, results on disk, reports.

===================================  ================================================================
module, in reading order             what it holds
===================================  ================================================================
:mod:`ctsdk.evaluation.scores`       scores of videos and data sets; what every protocol is
:mod:`ctsdk.evaluation.protocols`    the rules by which the field's tools score boxes
:mod:`ctsdk.evaluation.results`      boxes of trackers on disk
:mod:`ctsdk.evaluation.preparing`    a data set whose true boxes are read and checked
:mod:`ctsdk.evaluation.scoring`      metrics from result files
:mod:`ctsdk.evaluation.one_video`    one video tracked
:mod:`ctsdk.evaluation.workers`      videos tracked one after the other, or side by side
:mod:`ctsdk.evaluation.comparing`    whether two trackers differ beyond chance
:mod:`ctsdk.evaluation.tables`       metrics in rows and columns
:mod:`ctsdk.evaluation.score_files`  metrics as files
:mod:`ctsdk.evaluation.running`      a tracker on a data set, resumed where it was interrupted
:mod:`ctsdk.evaluation.plots`        curves as plots
===================================  ================================================================

Importing this package imports none of them.
"""
