"""Safe reading of untrusted files, and atomic writing.

Modules in reading order::

    atomic             atomic writing: a file is written completely or not at all
    bounded            reading of untrusted files, with limits on memory
    pickles            pickles read as data, without running them
    described_tensors  tensors from their descriptions in a pickle
    torch_files        the tensors in files of ``torch.save``

Importing this package imports none of them.
"""
