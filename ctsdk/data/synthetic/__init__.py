"""Seeded videos with exact boxes, made from photographs.

Modules in reading order::

    photographs  the images that the videos are made from
    motion       what moves in a video, and how
    cut_outs     pieces of photographs that move over a background
    videos       the videos
"""
