"""The configuration of a compression run: typed, frozen, every key checked.

A configuration is a Python object first. :meth:`CompressionConfig.from_file` reads one from YAML or TOML, and takes
overrides such as ``training.steps=500``.

Modules in reading order::

    messages  the error message for each key that is wrong
    section   the base class of every section
    values    plain values: read from a file, overridden, compared
    data      the section ``data``
    run       :class:`CompressionConfig` and its other sections
"""

from ctsdk.config.data import DataConfig, DataSource, SamplingRule
from ctsdk.config.run import (
    AdapterConfig,
    CompressionConfig,
    Initialisation,
    LossConfig,
    ParameterGroup,
    Preset,
    ReplacementConfig,
    TrainingConfig,
    TrunkStages,
)
from ctsdk.config.values import differences

__all__ = [
    "AdapterConfig",
    "CompressionConfig",
    "DataConfig",
    "DataSource",
    "Initialisation",
    "LossConfig",
    "ParameterGroup",
    "Preset",
    "ReplacementConfig",
    "SamplingRule",
    "TrainingConfig",
    "TrunkStages",
    "differences",
]
