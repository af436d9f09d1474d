"""Data sets, videos and training samples.

Modules in reading order::

    images     image files and their pixels
    videos     a video with boxes
    datasets   a named collection of videos
    synthetic  seeded videos with exact boxes, made from photographs
    formats    data sets by name, ``lasot:/data/lasot``, and plug-in formats
    readers    the formats of the field, a module each
    checking   checks that a data set is complete
    samples    from videos to training batches

Importing this package imports none of them: OpenCV and scikit-image are optional and load on first use.
"""
