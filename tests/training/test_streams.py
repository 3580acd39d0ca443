"""One stream of random numbers for each process, all from one state."""

import torch

from gen_utils.training.streams import stream_of_process


def stream():
    return torch.Generator().manual_seed(3)


def test_the_first_process_goes_on_with_its_own():
    mine = stream()
    assert stream_of_process(mine, torch.device("cpu"), 0) is mine
    assert torch.equal(mine.get_state(), stream().get_state())


def test_every_other_process_has_another_and_always_the_same():
    draws = [torch.randn(5, generator=stream_of_process(stream(), torch.device("cpu"), rank)) for rank in range(4)]
    again = [torch.randn(5, generator=stream_of_process(stream(), torch.device("cpu"), rank)) for rank in range(4)]
    assert all(torch.equal(a, b) for a, b in zip(draws, again, strict=True))
    assert not any(torch.equal(draws[i], draws[j]) for i in range(4) for j in range(i))
