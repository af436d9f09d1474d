"""Seeded videos with exact boxes, made from photographs.

=======================================  ========================================================
module, in reading order                 what it holds
=======================================  ========================================================
:mod:`ctsdk.data.synthetic.photographs`  the images that synthetic videos are made from
:mod:`ctsdk.data.synthetic.motion`       where everything in a synthetic video is, in every frame
:mod:`ctsdk.data.synthetic.videos`       the videos
=======================================  ========================================================
"""
