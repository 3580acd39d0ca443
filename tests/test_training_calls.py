"""Every training call of every notebook: another number is another run, and nobody types a key."""

import contextlib
import re

import notebook_slices as slices
import pytest

import gen_utils.experiments.sweep
import gen_utils.experiments.train_test
import gen_utils.training.gan
import gen_utils.training.rescue
import gen_utils.training.vaebm  # noqa: F401
from gen_utils.base.places import NOTEBOOKS
from gen_utils.publishing.parts import parts

# Numbers that decide how something is drawn, measured or shown, or how many seeds are run: not what a run is.
NOT_OF_A_RUN = {
    "02_ebm_mnist": {"n_eval", "resamples", "step_size", "noise", "grad_clip", "bounds"},  # of the chains that draw
    "03_ebm_bitmoji": {"ablation_seeds", "resamples"},  # of intervals
    "05_jem": {"forgiven", "per_class", "blocks"},  # a rescued run stays what it was; blocks are `full`'s
    "09_vae_likelihood": {"n_draws", "n_long", "k_long"},  # of what is measured of a model
    "10_vaebm": {"max_recoveries", "jitter"},
}
FEWEST = {"11_after_langevin": 5}  # of tried numbers: its recipe is DenoisingConfig's own; elsewhere ten
TRAINING = [part for part in parts() if part != "01_sampling_playground"]


@pytest.mark.slow
@pytest.mark.parametrize("part", TRAINING)
def test_every_number_of_a_recipe_makes_another_run(part, tmp_path, capsys):
    with pytest.MonkeyPatch.context() as patch, slices.planning(patch) as plans:
        notebook = slices.Slice(part, plans, str(tmp_path))
        again = notebook.run(notebook.wanted)
        assert again == notebook.keys, "the same notebook asks for other runs"
        same, tried = [], 0
        where = next(i for i in notebook.wanted if "settings" in notebook.stores[i])
        settings = notebook.space["settings"]
        for name in sorted(notebook.settings_read() & settings.keys()):
            found = None
            for value in slices.changed_setting(settings[name]):
                try:
                    other = {"settings": slices.replaced(settings, name, value)}
                    found = notebook.changed(where, None, other, {"settings"})
                except (ValueError, RuntimeError, AssertionError):  # not every size makes a network
                    continue
                if found:
                    break
            tried += found is not None
            same += [name] if found is False else []
        changed = {}
        for label, i, node in notebook.numbers():
            place = label.split(" -> ")[0]
            if not changed.get(place):
                with contextlib.suppress(ValueError, RuntimeError, AssertionError):
                    changed[place] = notebook.changed(i, node)
        same += [place for place, found in changed.items() if not found]
        allowed = NOT_OF_A_RUN.get(part, set())
        same = [label for label in same if not any(re.search(rf"\b{name}\b", label) for name in allowed)]
        assert not same, f"changed, and yet the old run would come back: {same}"
        assert tried + len(changed) >= FEWEST.get(part, 10)


@pytest.mark.parametrize("part", parts())
def test_no_notebook_types_a_key(part):
    source = (NOTEBOOKS / f"{part}.py").read_text(encoding="utf-8")
    assert not re.search(r"run_folder|run_dir=|context=", source)


def test_a_wrong_learning_rate_in_a_notebook_trains_a_wrong_model(tmp_path):
    """The fault that began this: in Part C's digits 5e-4 became 0.5, and yesterday's model came back."""
    with pytest.MonkeyPatch.context() as patch, slices.planning(patch) as plans:
        notebook = slices.Slice("04_ebm_cifar_conditional", plans, str(tmp_path))
        rates = [(i, node) for label, i, node in notebook.numbers() if re.search(r": lr=0\.0005 -> ", label)]
        assert rates and all(notebook.changed(i, node) for i, node in rates)
