"""Checkpoints as the trainers of the OSTrack family write them: weights beside objects of classes that are not here."""

from __future__ import annotations

import math
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

_CLASSES = {"lib.train.admin.stats": "AverageMeter", "lib.train.admin.settings": "Settings"}


def official_file(path: Path, net_type: str, weights: Mapping[str, Tensor]) -> Iterator[Path]:
    """Write a checkpoint and yield its path; afterwards it is gone, being more than pytest should keep."""
    modules = {name: types.ModuleType(name) for name in ("lib", "lib.train", "lib.train.admin", *_CLASSES)}
    for module, name in _CLASSES.items():
        setattr(modules[module], name, type(name, (), {"__module__": module}))
    meter, settings = (getattr(modules[module], name)() for module, name in _CLASSES.items())
    meter.avg, settings.env = 0.5, {"workspace_dir": "."}
    checkpoint = {
        "epoch": 300,
        "actor_type": f"{net_type}Actor",
        "net_type": net_type,
        "net": weights,
        "net_info": None,
        "constructor": None,
        "optimizer": {
            "state": {0: {"step": 3, "exp_avg": torch.ones(2)}},
            "param_groups": [{"lr": 4e-4, "params": [0]}],
        },
        "stats": OrderedDict(train=OrderedDict({"Loss/total": meter})),
        "settings": settings,
    }
    with pytest.MonkeyPatch.context() as patch:
        for path_of_module, stand_in in modules.items():
            patch.setitem(sys.modules, path_of_module, stand_in)
        torch.save(checkpoint, path)
    yield path
    path.unlink()


def light_tensors(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors of these shapes that weigh as much as the largest: all look at the same numbers."""
    numbers = torch.full((max(math.prod(shape) for shape in shapes.values()),), 0.5)
    return {name: numbers[: math.prod(shape)].view(shape) for name, shape in shapes.items()}
