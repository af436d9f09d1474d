"""Where videos and training samples come from.

==============================  ================================================================
module, in reading order        what it holds
==============================  ================================================================
:mod:`ctsdk.data.crops`         square crops around a box, the box inside a crop, normalisation
:mod:`ctsdk.data.images`        image files and their pixels
:mod:`ctsdk.data.sequences`     what a video with boxes looks like to the rest of the package
:mod:`ctsdk.data.datasets`      a named collection of videos
:mod:`ctsdk.data.photographs`   the images that synthetic videos are made from
:mod:`ctsdk.data.motion`        where everything in a synthetic video is, in every frame
:mod:`ctsdk.data.synthetic`     seeded videos with exact boxes, made from photographs
:mod:`ctsdk.data.formats`       data sets by name, ``lasot:/data/lasot``, and how new formats plug in
:mod:`ctsdk.data.readers`       the formats of the field, a module each
:mod:`ctsdk.data.checking`      whether a data set is whole
:mod:`ctsdk.data.faults`        what could not be read, counted, until it is too much
:mod:`ctsdk.data.sampling`      which frames of a video make a sample
:mod:`ctsdk.data.augmentation`  how crops are varied
:mod:`ctsdk.data.views`         the crops of one sample
:mod:`ctsdk.data.mixture`       several data sets, drawn from by ratio
:mod:`ctsdk.data.pairs`         samples and batches of them
:mod:`ctsdk.data.sources`       training and validation batches from a configuration
:mod:`ctsdk.data.feed`          any batches, endless and in portions of one training step
==============================  ================================================================

Importing this package imports none of them: OpenCV and scikit-image are optional and load on first use.
"""
