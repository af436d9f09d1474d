"""Readers of the public data sets: each returns a :class:`~ctsdk.data.datasets.VideoDataset` for a folder.

::

    got10k         GOT-10k, with the cuts of the OSTrack family
    lasot          LaSOT and LaSOT_ext
    trackingnet    TrackingNet
    coco           COCO 2017, photographs as videos of one frame
    imagenet_vid   ImageNet-VID
    tnl2k          TNL2K
    uav123         UAV123 and UAV20L
    nfs            NFS at 30 frames a second
    otb            OTB100
    vot            VOT short-term, played without restarts
    own            folders of images, and video files, with your own boxes
    synthetic      seeded videos made of photographs

    plugin         offers them all by name
    files          the files of a data set, in a folder
    lmdb_files     the files of a data set, in an LMDB, or in whichever of both it is
    frames         the frames of a video as image files
    text           numbers in annotation files
    documents      annotations in JSON and XML
    tracks         the tracks of ImageNet-VID, and where they are kept
    video_files    any frame of a video file
    tables         lists that no file on disk holds
    checks         what several readers check

Listing the formats imports no reader; opening a data set imports the one that it needs.
"""
