"""How well a tracker follows targets: the field's protocols, results on disk, reports.

Modules in reading order::

    scores       scores of videos and data sets; what every protocol is
    protocols    the rules by which the field's tools score boxes
    results      boxes of trackers on disk
    preparing    a data set whose true boxes are read and checked
    scoring      metrics from result files
    one_video    one video tracked
    workers      videos tracked one after the other, or side by side
    comparing    whether two trackers differ beyond chance
    tables       metrics in rows and columns
    score_files  metrics as files
    running      a tracker on a data set, resumed where it was interrupted
    plots        curves as plots

Importing this package imports none of them.
"""
