"""The configuration of a compression run: typed, frozen, every key checked.

A configuration is a Python object first. :meth:`CompressionConfig.from_file` reads one from YAML or TOML, and takes
overrides such as ``training.steps=500``.

=============================  ===============================================================
module, in reading order       what it holds
=============================  ===============================================================
:mod:`ctsdk.config.messages`   the error message for each key that is wrong
:mod:`ctsdk.config.section`    the base class of every section
:mod:`ctsdk.config.values`     plain values: read from a file, overridden, compared
:mod:`ctsdk.config.data`       the section ``data``
:mod:`ctsdk.config.run`        :class:`CompressionConfig` and its other sections
=============================  ===============================================================
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
