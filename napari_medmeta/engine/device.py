"""Which processor the engine uses."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import psutil
import torch

from napari_medmeta.core import InputError

__all__ = ["free_memory_bytes", "mixed_precision", "pick_device"]


def pick_device(name: str = "auto") -> torch.device:
    """Return the device called ``name``; "auto" takes CUDA, else the CPU.

    Apple's graphics processors know no float64, which parts of the engine compute in: on a Mac the CPU serves.

    Raises
    ------
    InputError
        When the device does not exist here.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available()}
    if name == "auto":
        return torch.device("cuda" if present["cuda"] else "cpu")
    if not present.get(name, False):
        usable = ", ".join(n for n, there in present.items() if there)
        raise InputError(
            f"The device {name!r} is not available here",
            expected=f"auto or one of: {usable}",
            next_step="Choose auto: it takes the best there is",
        )
    return torch.device(name)


def free_memory_bytes(device: torch.device) -> int:
    """Return how much memory is free where ``device`` computes: the card's own, or the computer's."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return int(psutil.virtual_memory().available)


def mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which networks compute on ``device``: bfloat16 on graphics cards made for it.

    Elsewhere nothing changes: on a processor with instructions for bfloat16 a proposal gained a tenth of its time, and
    the same examples would have given other answers there than on the next computer.
    """
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, torch.bfloat16) if fast else nullcontext()
