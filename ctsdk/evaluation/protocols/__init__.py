"""The rules by which the field's tools score boxes.

===============================================  =================================================
module, in reading order                         what it holds
===============================================  =================================================
:mod:`ctsdk.evaluation.protocols.measures`       overlaps and distances of boxes, shares of frames
:mod:`ctsdk.evaluation.protocols.ope`            the rules of pytracking and of the OSTrack family
:mod:`ctsdk.evaluation.protocols.got10k`         the rules of the GOT-10k toolkit
:mod:`ctsdk.evaluation.protocols.trackingnet`    the rules of the TrackingNet server
:mod:`ctsdk.evaluation.protocols.lasot_toolkit`  the rules of LaSOT's own toolkit
:mod:`ctsdk.evaluation.protocols.pysot`          the rules of the pysot toolkit
:mod:`ctsdk.evaluation.protocols.names`          a protocol by its name
===============================================  =================================================
"""
