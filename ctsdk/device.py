"""The device to compute on."""

from __future__ import annotations

import torch

from ctsdk.errors import ConfigError

__all__ = ["pick_device"]


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is the accelerator if there is one, else the CPU.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        if not torch.accelerator.is_available():
            return torch.device("cpu")
        return torch.accelerator.current_accelerator() or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # reads a value back, which fails on "meta"
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} cannot be used here: {error}. Use 'auto' or 'cpu'.") from error
    return device
