"""Where videos and training samples come from.

===========================  =====================================================================
module, in reading order     what it holds
===========================  =====================================================================
:mod:`ctsdk.data.images`     image files and their pixels
:mod:`ctsdk.data.videos`  what a video with boxes looks like to the rest of the package
:mod:`ctsdk.data.datasets`   a named collection of videos
:mod:`ctsdk.data.synthetic`  seeded videos with exact boxes, made from photographs
:mod:`ctsdk.data.formats`    data sets by name, ``lasot:/data/lasot``, and how new formats plug in
:mod:`ctsdk.data.readers`    the formats of the field, a module each
:mod:`ctsdk.data.checking`   whether a data set is whole
:mod:`ctsdk.data.samples`    from videos to training batches
===========================  =====================================================================

Importing this package imports none of them: OpenCV and scikit-image are optional and load on first use.
"""
