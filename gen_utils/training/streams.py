"""The stream of random numbers that a training module owns, where it runs and in which process."""

from __future__ import annotations

import torch


def stream_of_process(stream: torch.Generator, device: torch.device, rank: int) -> torch.Generator:
    """The stream for this process: on its device, and another one in every process.

    A checkpoint holds the first process's state. The others branch off from it, each in its own way, at the beginning
    and at every resume, or all would run the same chains.

    Args:
        stream: of the first process, as it began or as the checkpoint has it; rank: of this process, from 0.
    """
    if stream.device.type == device.type and rank == 0:
        return stream
    branch = torch.randint(1 << 62, (rank + 1,), generator=stream, device=stream.device)[-1]
    return torch.Generator(device).manual_seed(int(branch))
