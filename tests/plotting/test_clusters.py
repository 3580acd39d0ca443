import numpy as np

from gen_utils.plotting import plt
from gen_utils.plotting.clusters import coloured_points, number_matrix, silhouette_curves


def test_silhouette_curves_show_mean_band_and_best():
    _, ax = plt.subplots()
    rows = [{"k": k, "seed": s, "silhouette": v + 0.01 * s} for k, v in ((2, 0.1), (5, 0.3), (9, 0.2)) for s in (0, 1)]
    silhouette_curves({"pixels": rows}, ax, title="toy")
    line, ring = ax.lines
    assert np.allclose(line.get_ydata(), [0.105, 0.305, 0.205]) and ring.get_xdata()[0] == 5
    assert [t.get_text() for t in ax.get_xticklabels()] == ["2", "5", "9"] and ax.get_title() == "toy"


def test_numbers_are_written_and_zeros_left_out():
    _, ax = plt.subplots()
    number_matrix(np.array([[10, 0], [0.2, 90]]), ax, columns=["a", "b"], xlabel="x")
    assert sorted(t.get_text() for t in ax.texts) == ["10", "90"]
    number_matrix(np.zeros((2, 2)), ax)  # an empty table is drawn too


def test_groups_that_are_missing_are_not_drawn():
    _, ax = plt.subplots()
    coloured_points(
        np.random.default_rng(0).normal(size=(9, 2)), np.repeat([0, 2, 11], 3), ax, names=list("abcdefghijkl")
    )
    assert [t.get_text() for t in ax.texts] == ["a", "c", "l"]
