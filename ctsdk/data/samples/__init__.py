"""From videos to training batches.

Modules in reading order::

    workers       processes that make samples
    unreadable    unreadable files: counted, and an end to the run above a threshold
    sampling      which frames of a video make a sample
    augmentation  how crops are varied
    views         the crops of one sample
    mixture       several data sets, drawn from by ratio
    pairs         samples and batches of them
    sources       training and validation batches from a configuration
    feed          any batches, endless and in portions of one training step

Importing this package imports none of them.
"""
