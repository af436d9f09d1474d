"""Compress transformer object trackers: a student of the same class with a fraction of the blocks.

>>> import ctsdk
>>> adapter = ctsdk.load_adapter("ostrack", variant="tiny")
>>> result = ctsdk.compress(adapter, ctsdk.CompressionConfig(stages=4))
>>> result.save("runs/tiny-4")
"""

import warnings
from typing import TYPE_CHECKING, Final

from ctsdk import testing
from ctsdk.compression import compress
from ctsdk.config import CompressionConfig, TrainingConfig
from ctsdk.data.datasets import VideoDataset
from ctsdk.data.formats import DatasetPlugin, list_dataset_formats, open_dataset, register_dataset_format
from ctsdk.data.videos import Video
from ctsdk.engine import StagePlan as StagePlan, build_student as build_student
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.batch import Batch, Prediction, TrackerSpec
from ctsdk.engine.module_adapter import ModuleAdapter
from ctsdk.engine.trunk import Trunk
from ctsdk.errors import (
    AdapterContractError,
    AdapterNotFoundError,
    CheckpointError,
    ConfigError,
    CtsdkError,
    DataError,
    ExportMismatchError,
    OutputError,
    TrainingError,
    TrainingInterruptedError,
)
from ctsdk.evaluation.running import evaluate
from ctsdk.plugins import PluginInfo as PluginInfo
from ctsdk.plugins.adapters import AdapterPlugin, hookimpl, list_adapters, load_adapter, register_adapter
from ctsdk.profiling import profile
from ctsdk.result import CompressionResult, load_result
from ctsdk.tracking import TrackingSession as TrackingSession, TrackResult as TrackResult

__all__ = [
    "AdapterContractError",
    "AdapterNotFoundError",
    "AdapterPlugin",
    "Batch",
    "CheckpointError",
    "CompressionConfig",
    "CompressionResult",
    "ConfigError",
    "CtsdkError",
    "DataError",
    "DatasetPlugin",
    "ExportMismatchError",
    "ModuleAdapter",
    "OutputError",
    "Prediction",
    "TrackerAdapter",
    "TrackerSpec",
    "TrainingConfig",
    "TrainingError",
    "TrainingInterruptedError",
    "Trunk",
    "Video",
    "VideoDataset",
    "compress",
    "evaluate",
    "hookimpl",
    "list_adapters",
    "list_dataset_formats",
    "load_adapter",
    "load_result",
    "open_dataset",
    "profile",
    "register_adapter",
    "register_dataset_format",
    "testing",
]

# Names of version 0.1.0, which work for one release more.
_RENAMED: Final = {
    "AdapterInfo": PluginInfo,
    "DatasetInfo": PluginInfo,
    "VideoSequence": Video,
    "list_datasets": list_dataset_formats,
    "register_dataset": register_dataset_format,
}

if not TYPE_CHECKING:  # else every wrong name would pass

    def __getattr__(name: str) -> object:
        if name not in _RENAMED:
            raise AttributeError(f"module 'ctsdk' has no attribute {name!r}")
        new = _RENAMED[name]
        warnings.warn(f"ctsdk.{name} is now ctsdk.{new.__name__}", DeprecationWarning, stacklevel=2)
        return new
