"""The rules by which the field's tools score boxes.

Modules in reading order::

    measures       overlaps and distances of boxes, shares of frames
    ope            the rules of pytracking and of the OSTrack family
    got10k         the rules of the GOT-10k toolkit
    trackingnet    the rules of the TrackingNet server
    lasot_toolkit  the rules of LaSOT's own toolkit
    pysot          the rules of the pysot toolkit
    names          a protocol by its name
"""
