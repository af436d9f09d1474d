"""Data sets, videos and training samples.

===========================  =====================================================================
module, in reading order     what it holds
===========================  =====================================================================
:mod:`ctsdk.data.images`     image files and their pixels
:mod:`ctsdk.data.videos`     a video with boxes
:mod:`ctsdk.data.datasets`   a named collection of videos
:mod:`ctsdk.data.synthetic`  seeded videos with exact boxes, made from photographs
:mod:`ctsdk.data.formats`    data sets by name, ``lasot:/data/lasot``, and plug-in formats
:mod:`ctsdk.data.readers`    the formats of the field, a module each
:mod:`ctsdk.data.checking`   checks that a data set is complete
:mod:`ctsdk.data.samples`    from videos to training batches
===========================  =====================================================================

Importing this package imports none of them: OpenCV and scikit-image are optional and load on first use.
"""
