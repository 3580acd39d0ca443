import torch

from gen_utils.models import SmallEnergy
from gen_utils.samplers import Langevin
from gen_utils.training import EBMConfig, EBMTraining

KERNEL = Langevin(10.0, noise=0.005, grad_clip=0.03, bounds=(-1.0, 1.0))


def module(**changes):
    torch.manual_seed(0)
    return EBMTraining(SmallEnergy(width=4), EBMConfig(**{"kernel": KERNEL, "n_steps": 2, "fast": False, **changes}))


def test_the_default_recipe_is_the_assignments():
    config = EBMConfig()
    assert (config.n_steps, config.capacity, config.restart) == (60, 8192, 0.05)
    assert (config.kernel.step_size, config.kernel.noise, config.kernel.grad_clip) == (10.0, 0.005, 0.03)
    assert config.alpha == 0.1 and config.betas[0] == 0.0


def test_negatives_enter_the_buffer_and_leave_no_gradients():
    m = module()
    fake = m.negatives(6)
    assert fake.shape == (6, 1, 28, 28) and fake.abs().max() <= 1 and not fake.requires_grad
    assert torch.equal(m.buffer.images, fake)
    assert all(p.grad is None for p in m.parameters())


def test_without_a_buffer_every_chain_starts_from_noise():
    m = module(restart=1.0, n_steps=0)
    first, second = m.negatives(50), m.negatives(50)
    assert not torch.isin(second.flatten(1)[:, 0], first.flatten(1)[:, 0]).any()


def test_chains_continue_from_the_buffer():
    m = module(restart=0.0, n_steps=0)  # no steps: a negative is its start
    first, second = m.negatives(50), m.negatives(50)
    assert torch.isin(second.flatten(1)[:, 0], first.flatten(1)[:, 0]).all()


def test_the_chains_stream_is_not_the_global_one():
    a, b = module(), module()
    torch.manual_seed(1)
    first = a.negatives(4)
    torch.manual_seed(2)
    assert torch.equal(first, b.negatives(4))
