"""Lists that come with ctsdk because the data sets do not include them.

::

    table                       what                                      source
    got10k_train.txt            lines of the training list, shuffled      OSTrack, lib/train/data_specs/
                                                                          got10k_train_full_split.txt
    got10k_not_vot.txt          lines left out in the cuts for VOT        OSTrack, the numbers in got10k_vot_exclude.txt
    lasot_test.txt              280 names and attributes                  OSTrack, lib/test/evaluation/lasotdataset.py
    lasot_train.txt             1120 names and attributes                 OSTrack, lasot_train_split.txt
    lasot_ext.txt               150 names                                 OSTrack, lasotextensionsubsetdataset.py
    trackingnet_classes.txt.gz  22 classes of 30 134 videos               OSTrack, trackingnet_classmap.txt

The tables of NFS, OTB and UAV123 are described by their readers.

Source: botaoye/OSTrack @ 33b5e12; attributes: HengLan/LaSOT_Evaluation_Toolkit @ 95bf38a, annos/att.
"""

from __future__ import annotations

import functools
import gzip
from importlib import resources

__all__ = ["read_table"]


@functools.cache
def read_table(name: str) -> tuple[str, ...]:
    """Return the lines of a table without its comments, which begin with ``#``; names in ``.gz`` are unpacked."""
    data = resources.files(__package__).joinpath("tables", name).read_bytes()
    text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
    return tuple(line for line in text.splitlines() if not line.startswith("#"))
