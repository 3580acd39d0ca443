"""Going on from a checkpoint: only where what was begun can be finished as it was meant."""

from __future__ import annotations

from lightning.pytorch.callbacks import Callback

from .run import FitConfig

_LENGTHS = ("T_max", "total_steps", "total_iters")  # PyTorch's schedulers keep the length they were made for


class SameData(Callback):
    """Notes in each checkpoint how the data are dealt out and how long the run is, and refuses to go on otherwise.

    In the middle of an epoch another size of batch, another order or other images would show some images twice and
    others never. A run may become longer, if its learning rate follows from the step (see ``rates``); a scheduler
    that comes from the checkpoint still ends where the run was to end before.

    Args:
        n_images: in the training set.
    """

    def __init__(self, config: FitConfig, n_images: int) -> None:
        self.dealt = {"batch_size": config.batch_size, "seed": config.seed, "images": n_images}
        self.max_steps = config.max_steps

    def state_dict(self) -> dict:
        return {**self.dealt, "max_steps": self.max_steps}

    def load_state_dict(self, state: dict) -> None:
        for name, now in self.dealt.items():
            if state[name] != now:
                raise ValueError(
                    f"the checkpoint was written with {name} = {state[name]}, and now it is {now}: some images would "
                    f"come twice and others never. Go on with {state[name]}, or start afresh (resume=None)"
                )

    def on_load_checkpoint(self, trainer, module, checkpoint: dict) -> None:
        if checkpoint["global_step"] > self.max_steps:
            raise ValueError(
                f"the checkpoint is at step {checkpoint['global_step']}, past max_steps = {self.max_steps}; "
                "ask for at least as many, or start afresh (resume=None)"
            )
        before = checkpoint["callbacks"].get(self.state_key, {}).get("max_steps", self.max_steps)
        bound = any(length in state for state in checkpoint.get("lr_schedulers", ()) for length in _LENGTHS)
        if bound and before != self.max_steps:
            raise ValueError(
                f"the schedule of the learning rate was made for max_steps = {before} and cannot be stretched to "
                f"{self.max_steps}; keep {before}, set the rate at each step as training.rates does, or start afresh "
                "(resume=None)"
            )
