"""Compress transformer object trackers: a student of the same class with a fraction of the blocks.

>>> import ctsdk
>>> adapter = ctsdk.load_adapter("ostrack", variant="tiny")
>>> result = ctsdk.compress(adapter, ctsdk.CompressionConfig(stages=4))
>>> result.save("runs/tiny-4")
"""

from ctsdk import testing
from ctsdk.compression import compress
from ctsdk.config import CompressionConfig, TrainingConfig
from ctsdk.data.datasets import VideoDataset
from ctsdk.data.formats import DatasetInfo, DatasetPlugin, list_datasets, open_dataset, register_dataset
from ctsdk.data.videos import Video
from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.batch import Batch, Prediction, TrackerSpec
from ctsdk.engine.module_adapter import ModuleAdapter
from ctsdk.engine.session import TrackingSession, TrackResult
from ctsdk.engine.stages import StagePlan
from ctsdk.engine.student import build_student
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
from ctsdk.plugins.adapters import AdapterInfo, AdapterPlugin, hookimpl, list_adapters, load_adapter, register_adapter
from ctsdk.profiling import profile
from ctsdk.result import CompressionResult, load_result

__all__ = [
    "AdapterContractError",
    "AdapterInfo",
    "AdapterNotFoundError",
    "AdapterPlugin",
    "Batch",
    "CheckpointError",
    "CompressionConfig",
    "CompressionResult",
    "ConfigError",
    "CtsdkError",
    "DataError",
    "DatasetInfo",
    "DatasetPlugin",
    "ExportMismatchError",
    "ModuleAdapter",
    "OutputError",
    "Prediction",
    "StagePlan",
    "TrackResult",
    "TrackerAdapter",
    "TrackerSpec",
    "TrackingSession",
    "TrainingConfig",
    "TrainingError",
    "TrainingInterruptedError",
    "Trunk",
    "Video",
    "VideoDataset",
    "build_student",
    "compress",
    "evaluate",
    "hookimpl",
    "list_adapters",
    "list_datasets",
    "load_adapter",
    "load_result",
    "open_dataset",
    "profile",
    "register_adapter",
    "register_dataset",
    "testing",
]
