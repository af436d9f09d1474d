"""Safe reading of untrusted files, and atomic writing.

======================================  ===========================================================
module, in reading order                what it holds
======================================  ===========================================================
:mod:`ctsdk.storage.atomic`             atomic writing: a file is written completely or not at all
:mod:`ctsdk.storage.bounded`            reading of untrusted files, with limits on memory
:mod:`ctsdk.storage.pickles`            pickles read as data, without running them
:mod:`ctsdk.storage.described_tensors`  tensors from their descriptions in a pickle
:mod:`ctsdk.storage.torch_files`        the tensors in files of ``torch.save``
======================================  ===========================================================

Importing this package imports none of them.
"""
