"""Compress transformer object trackers: a student of the same class with a fraction of the blocks.

>>> import ctsdk
>>> adapter = ctsdk.load_adapter("ostrack", variant="tiny")
>>> result = ctsdk.compress(adapter, ctsdk.CompressionConfig(stages=4))
>>> result.save("runs/tiny-4")
"""

import importlib
import warnings
from typing import TYPE_CHECKING, Final

from ctsdk import testing
from ctsdk.compression import compress
from ctsdk.config import CompressionConfig, TrainingConfig
from ctsdk.data.datasets import VideoDataset
from ctsdk.data.formats import DatasetPlugin, list_dataset_formats, open_dataset, register_dataset_format
from ctsdk.data.videos import Video
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
from ctsdk.plugins.adapters import AdapterPlugin, hookimpl, list_adapters, load_adapter, register_adapter
from ctsdk.profiling import profile
from ctsdk.result import CompressionResult, load_result

if TYPE_CHECKING:
    from ctsdk.engine import StagePlan as StagePlan
    from ctsdk.engine import build_student as build_student
    from ctsdk.plugins import PluginInfo as PluginInfo
    from ctsdk.tracking import TrackingSession as TrackingSession
    from ctsdk.tracking import TrackResult as TrackResult

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

# Names that can also be had from here: a type checker sees those that moved, and not those that were renamed.
_ELSEWHERE: Final = {
    "PluginInfo": ("ctsdk.plugins", "PluginInfo"),
    "StagePlan": ("ctsdk.engine", "StagePlan"),
    "TrackResult": ("ctsdk.tracking", "TrackResult"),
    "TrackingSession": ("ctsdk.tracking", "TrackingSession"),
    "build_student": ("ctsdk.engine", "build_student"),
    # Names of version 0.1.0.
    "AdapterInfo": ("ctsdk.plugins", "PluginInfo"),
    "DatasetInfo": ("ctsdk.plugins", "PluginInfo"),
    "VideoSequence": ("ctsdk", "Video"),
    "list_datasets": ("ctsdk", "list_dataset_formats"),
    "register_dataset": ("ctsdk", "register_dataset_format"),
}

if not TYPE_CHECKING:  # else every wrong name would pass

    def __getattr__(name: str) -> object:
        if name not in _ELSEWHERE:
            raise AttributeError(f"module 'ctsdk' has no attribute {name!r}")
        module, new_name = _ELSEWHERE[name]
        if new_name != name:
            warnings.warn(f"ctsdk.{name} is now {module}.{new_name}", DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(module), new_name)
