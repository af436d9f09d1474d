"""The data set formats that come with ctsdk, offered by the same hook as those of other packages."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Final

from ctsdk.data.datasets import VideoDataset
from ctsdk.data.formats import DatasetPlugin
from ctsdk.plugins.kind import hookimpl

__all__ = ["ctsdk_dataset"]


@dataclass(frozen=True)
class _Reader:
    """A function at ``module:function``, imported when it is called or its options are inspected."""

    place: str

    def __call__(self, *path: Path, **options: str) -> VideoDataset:
        dataset: VideoDataset = resolve_name(self.place)(*path, **options)
        return dataset

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(resolve_name(self.place))


_GOT10K_SPLITS: Final = (
    *("train", "val", "test"),
    # Parts of the training set, by which trackers were trained.
    *("train_full", "vottrain", "votval", "pytracking_train", "pytracking_val"),
)
# The reader, the values of its option `split`, and a summary.
_FORMATS: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "coco": ("coco:open_coco", ("train", "val"), "COCO 2017, as videos of one frame."),
    "got10k": ("got10k:open_got10k", _GOT10K_SPLITS, "GOT-10k."),
    "lasot": ("lasot:open_lasot", ("train", "test", "all"), "LaSOT."),
    "lasot_ext": ("lasot:open_lasot_ext", (), "The extension of LaSOT: 150 videos of 15 further classes."),
    "nfs": ("nfs:open_nfs", (), "NFS, Need for Speed, at 30 frames a second."),
    "otb": ("otb:open_otb", (), "OTB100, also called OTB-2015."),
    "own": ("own:open_own", (), "Folders of images and video files, with your own boxes."),
    "synthetic": ("synthetic:open_synthetic", (), "Seeded videos made of photographs; needs no path."),
    "tnl2k": ("tnl2k:open_tnl2k", (), "TNL2K."),
    "trackingnet": ("trackingnet:open_trackingnet", ("train", "test"), "TrackingNet."),
    "uav123": ("uav123:open_uav123", ("UAV123", "UAV20L"), "UAV123 and UAV20L."),
    "vid": ("imagenet_vid:open_imagenet_vid", ("train", "val"), "ImageNet VID."),
    "vot": ("vot:open_vot", (), "VOT short-term, as plain videos."),
}


@hookimpl
def ctsdk_dataset(name: str) -> DatasetPlugin:
    """Offer the built-in format `name` to ctsdk."""
    reader, splits, summary = _FORMATS[name]
    return DatasetPlugin(open=_Reader(f"ctsdk.data.readers.{reader}"), splits=splits, summary=summary)
