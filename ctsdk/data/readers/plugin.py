"""The data set formats that come with ctsdk, offered by the same hook as those of other packages."""

from __future__ import annotations

import importlib
from typing import Final, NamedTuple

from ctsdk.data.formats import DatasetPlugin
from ctsdk.plugins.discovery import hookimpl

__all__ = ["ctsdk_dataset"]


class _Format(NamedTuple):
    """A reader that is imported when somebody asks for it.

    Attributes:
        reader: ``module:function`` in this package.
        splits: what the function takes as ``split``.
        summary: one line for the list of formats.
    """

    reader: str
    splits: tuple[str, ...]
    summary: str


_GOT10K_SPLITS: Final = (
    *("train", "val", "test"),
    # Parts of the training set, by which trackers were trained.
    *("train_full", "vottrain", "votval", "pytracking_train", "pytracking_val"),
)
_FORMATS: Final = {
    "coco": _Format("coco:open_coco", ("train", "val"), "COCO 2017, as videos of one frame."),
    "got10k": _Format("got10k:open_got10k", _GOT10K_SPLITS, "GOT-10k."),
    "lasot": _Format("lasot:open_lasot", ("train", "test", "all"), "LaSOT."),
    "lasot_ext": _Format("lasot:open_lasot_ext", (), "The extension of LaSOT: 150 videos of 15 further classes."),
    "nfs": _Format("nfs:open_nfs", (), "NFS, Need for Speed, at 30 frames a second."),
    "otb": _Format("otb:open_otb", (), "OTB100, also called OTB-2015."),
    "own": _Format("own:open_own", (), "Folders of images, and video files, with boxes of your own."),
    "synthetic": _Format("synthetic:open_synthetic", (), "Seeded videos made of photographs; needs no path."),
    "tnl2k": _Format("tnl2k:open_tnl2k", (), "TNL2K."),
    "trackingnet": _Format("trackingnet:open_trackingnet", ("train", "test"), "TrackingNet."),
    "uav123": _Format("uav123:open_uav123", ("UAV123", "UAV20L"), "UAV123 and UAV20L."),
    "vid": _Format("imagenet_vid:open_imagenet_vid", ("train", "val"), "ImageNet VID."),
    "vot": _Format("vot:open_vot", (), "VOT short-term, as plain videos."),
}


@hookimpl
def ctsdk_dataset(name: str) -> DatasetPlugin:
    """Offer the built-in format `name` to ctsdk."""
    built_in = _FORMATS[name]
    module, _, function = built_in.reader.partition(":")
    reader = importlib.import_module(f"ctsdk.data.readers.{module}")
    return DatasetPlugin(open=getattr(reader, function), splits=built_in.splits, summary=built_in.summary)
