"""Files: read without trust, written whole or not at all.

================================  ================================================================
module, in reading order          what it holds
================================  ================================================================
:mod:`ctsdk.storage.atomic`       files that are written whole or not at all
:mod:`ctsdk.storage.bounded`      files from outside, and no more of them in memory than they need
:mod:`ctsdk.storage.pickles`      pickles read as data: nothing in them runs
:mod:`ctsdk.storage.torch_files`  tensors of torch files
================================  ================================================================

Importing this package imports none of them.
"""
