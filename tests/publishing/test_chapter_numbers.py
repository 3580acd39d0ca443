"""Which pages are chapters, and what their numbers begin with."""

from types import SimpleNamespace

from gen_utils.publishing import chapter_numbers
from gen_utils.publishing.chapter_numbers import chapter


def test_a_notebooks_number_is_that_of_its_file():
    assert chapter("notebooks/05_jem") == 5 and chapter("notebooks/11_after_langevin") == 11
    assert chapter("book/glossary") is None and chapter("notebooks/start_here") is None


def test_the_press_connects_after_sphinxs_own_numbers():
    connected = {}
    app = SimpleNamespace(connect=lambda event, what, priority: connected.update({event: (what, priority)}))
    assert chapter_numbers.setup(app)["parallel_read_safe"]
    assert connected == {"env-get-updated": (chapter_numbers.give_numbers, 600)}
