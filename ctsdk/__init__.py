"""Compress transformer object trackers: a student of the same class with a fraction of the blocks.

>>> import ctsdk
>>> adapter = ctsdk.load_adapter("ostrack", variant="tiny")
>>> result = ctsdk.compress(adapter, ctsdk.CompressionConfig(stages=4))
>>> result.save("runs/tiny-4")
"""

from ctsdk import testing
from ctsdk.adapter import Batch, Prediction, TrackerAdapter, TrackerSpec, TrackingSession, TrackResult
from ctsdk.compression import compress
from ctsdk.config import CompressionConfig, TrainingConfig
from ctsdk.data.datasets import VideoDataset
from ctsdk.data.formats import DatasetInfo, DatasetPlugin, list_datasets, open_dataset, register_dataset
from ctsdk.data.sequences import VideoSequence
from ctsdk.errors import (
    AdapterContractError,
    AdapterNotFoundError,
    CheckpointError,
    ConfigError,
    CtsdkError,
    DataError,
    ExportMismatchError,
    TrainingError,
    TrainingInterruptedError,
)
from ctsdk.evaluation.running import evaluate
from ctsdk.module_adapter import ModuleAdapter
from ctsdk.plugins import AdapterInfo, AdapterPlugin, hookimpl, list_adapters, load_adapter, register_adapter
from ctsdk.profiling import profile
from ctsdk.result import CompressionResult, load_result
from ctsdk.stages import StagePlan
from ctsdk.student import build_student
from ctsdk.trunk import Trunk

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
    "VideoDataset",
    "VideoSequence",
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
