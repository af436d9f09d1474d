"""Boxes of trackers on disk: ours and those of other tools.

Modules in reading order::

    predictions  what a tracker predicted on one video, and a folder that keeps it
    manifest     whose boxes a folder holds
    spellings    how the public tools call the same data sets and videos
    archives     files below a folder or in a zip archive
    reading      result files of any tracker
    formats      result files as the public tools write them
    packing      archives for the servers that keep their truth
"""
