"""Seeded videos with exact boxes, made from photographs.

=======================================  ========================================================
module, in reading order                 what it holds
=======================================  ========================================================
:mod:`ctsdk.data.synthetic.photographs`  the images that the videos are made from
:mod:`ctsdk.data.synthetic.motion`       what moves in a video, and how
:mod:`ctsdk.data.synthetic.cut_outs`     pieces of photographs that move over a background
:mod:`ctsdk.data.synthetic.videos`       the videos
=======================================  ========================================================
"""
