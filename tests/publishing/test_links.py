"""Links from the chapters' code to the reference: which names, which places, and nothing else changed."""

import html
import json
import re

import pytest
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from gen_utils.publishing import links
from gen_utils.publishing.api import entries

BY_NAME = {entry.name: entry for entry in entries()}


def notebook(tmp_path, *sources):
    cells = [{"cell_type": "code", "source": source, "outputs": []} for source in sources]
    path = tmp_path / "part.ipynb"
    path.write_text(
        json.dumps({"cells": [{"cell_type": "markdown", "source": "from gen_utils import x"}, *cells]}),
        encoding="utf-8",
    )
    return path


def cell(source, *, folded=False, kind="cell_input"):
    code = highlight(source, PythonLexer(), HtmlFormatter())
    inside = f'<div class="{kind} docutils container">{code}</div>'
    return (
        f'<details class="admonition hide above-input"><summary>x</summary>\n{inside}</details>' if folded else inside
    )


def inline(text):
    words = " ".join(f'<span class="pre">{word}</span>' for word in text.split())
    return f'<code class="docutils literal notranslate">{words}</code>'


def article(*parts):
    return f'<nav>{inline("Langevin")}</nav><article class="bd-article"><h1>x</h1>\n{"".join(parts)}</article>'


def places(page):
    """(what is linked, the line before it) of every link."""
    found = re.finditer(r'<a class="api-name" href="[^"]+"[^>]*>(.*?)</a>', page, re.S)
    return [(text_of(link[1]), text_of(page[: link.start()]).split("\n")[-1].strip()) for link in found]


def text_of(part):
    return html.unescape(re.sub(r"<[^>]*>", "", part))


def link(page, **names):
    names = names or {name: BY_NAME[name] for name in ("Langevin", "sample", "fit")}
    after = links.linked(page, names, to_book="../book/")
    assert re.sub(r"</?a\b[^>]*>", "", after) == re.sub(r"</?a\b[^>]*>", "", page)  # nothing but links was added
    assert links.linked(after, names, to_book="../book/") == after
    return after


def test_what_a_notebook_imports(tmp_path):
    path = notebook(
        tmp_path,
        "import torch\nfrom gen_utils import checkpoints, models\nfrom gen_utils.samplers import HMC, sample as run",
        "from gen_utils.samplers.protocol import energy_and_grad\nfrom torch.nn import functional as fit",
        "from gen_utils.evaluation.likelihood import weight_ess\nfrom gen_utils.models.vae import ConvVAE",
        "from gen_utils.samplers import long_gone\nfrom gen_utils.never import was\n%not python",
    )
    found = links.imported(path)
    assert found["HMC"] is BY_NAME["HMC"] and found["run"] is BY_NAME["sample"] and "sample" not in found
    assert found["checkpoints.load"] is BY_NAME["load"] and found["models.Critic"] is BY_NAME["Critic"]
    assert found["weight_ess"].module == "evaluation.intervals" and found["ConvVAE"] is BY_NAME["ConvVAE"]
    assert not {"load", "fit", "energy_and_grad", "torch", "checkpoints", "long_gone", "was"} & set(found)


def test_the_import_and_the_first_use_are_linked_and_no_other():
    page = link(
        article(
            cell("from gen_utils.samplers import Langevin, sample\n", folded=True),
            cell("kernel = Langevin(0.1)\nchain = sample(energy, x, kernel, 5)\n"),
            cell("again = sample(energy, x, Langevin(0.2), 5)\n"),
        )
    )
    assert places(page) == [
        ("Langevin", "from gen_utils.samplers import"),
        ("sample", "from gen_utils.samplers import Langevin,"),
        ("Langevin", "kernel ="),
        ("sample", "chain ="),
    ]
    assert 'href="../book/api/samplers.html#api-samplers-langevin"' in page
    title = re.search(r'title="([^"]+)"[^>]*>Langevin', page)[1]
    assert title == "Langevin dynamics, x ← x - η ∇E(x) + σ ξ with ξ ~ N(0, I)."


def test_a_use_in_sight_goes_before_one_that_is_folded_away():
    start = cell("from gen_utils.samplers import Langevin\n", folded=True)
    solution = f'<div class="solution dropdown admonition">{cell("a = Langevin(1)")}</div>'
    both = link(article(start, cell("b = Langevin(2)", folded=True), solution, cell("c = Langevin(3)")))
    assert places(both)[1:] == [("Langevin", "c =")]
    hidden = link(article(start, solution, cell("b = Langevin(2)", folded=True)))
    assert places(hidden)[1:] == [("Langevin", "a =")]


@pytest.mark.parametrize(
    "source",
    [
        "LangevinWalk = 1; my_Langevin = 2; x = 'Langevin'  # Langevin",  # parts of names, strings, comments
        "x = model.sample(3); y = models.Langevin(1)",  # of something else
        "run(sample=3, fit=4)",  # words of a call
        "def walk(sample, *, fit=None):\n    return sample + fit",  # parameters
        "def walk():\n    sample = 1\n    return sample",  # local
        "a = [sample for sample in x]; f = lambda fit: fit",
        "class Walk:\n    sample: int = 3",
        "for sample in range(3):\n    print(sample)",
        "with walk() as sample:\n    print(sample)",
    ],
)
def test_what_only_looks_like_a_public_name_is_no_use(source):
    start = cell("from gen_utils.samplers import Langevin, sample\nfrom gen_utils.training import fit\n")
    assert [before for _, before in places(link(article(start, cell(source))))] == [
        "from gen_utils.samplers import",
        "from gen_utils.samplers import Langevin,",
        "from gen_utils.training import",
    ]


def test_a_variable_before_the_import_or_in_its_place_is_not_the_public_name():
    early = cell("sample = 3\nprint(sample)\n")
    start = cell("from gen_utils.samplers import sample\n")
    late = cell("sample = sample(energy)\nprint(sample)\n")
    assert places(link(article(early, start, late)))[1:] == [("sample", "sample =")]
    assert len(places(link(article(early, start, cell("def sample(): pass\n"), cell("sample()"))))) == 1
    assert places(link(article(cell("from other import sample\n"), cell("sample()")))) == []


def test_an_import_in_a_cell_that_the_page_leaves_out_counts():
    assert places(link(article(cell("x = sample(1)")), sample=BY_NAME["sample"])) == [("sample", "x =")]


def test_names_of_an_imported_module():
    start = cell("from gen_utils import checkpoints\n")
    page = article(start, cell("x = other.load(1); y = checkpoints.load('λ')\n"), inline("checkpoints.load"))
    assert places(link(page, **{"checkpoints.load": BY_NAME["load"]})) == [
        ("load", "x = other.load(1); y = checkpoints.")
    ]


def test_positions_are_right_behind_other_letters_and_entities():
    start = cell("from gen_utils.samplers import Langevin\n")
    page = link(article(start, cell("β, s = 'λ<&>', \"ü\"; k = Langevin(β)\n")))
    assert places(page)[-1] == ("Langevin", "β, s = 'λ<&>', \"ü\"; k =")


def test_inline_code_that_is_a_name_is_linked_in_the_text_alone():
    start = cell("from gen_utils.samplers import Langevin\n", folded=True)
    heading, anchor = f"<h2>{inline('Langevin')}</h2>", f'<a href="x">{inline("Langevin")}</a>'
    texts = "Langevins", "x = Langevin", "Langevin(0.1, noise=None)", "Langevin"
    text = f"<p>{' '.join(map(inline, texts))}</p>"
    page = link(article(heading, anchor, start, text, cell("k = Langevin(1)")))
    assert [shown for shown, _ in places(page)] == ["Langevin", "Langevin(0.1, noise=None)"]
    assert f'title="{BY_NAME["Langevin"].sentence}"><code class=' in page
    before = link(article(f"<p>{inline('Langevin')}</p>", start, cell("k = Langevin(1)")))
    assert before.index("api-name") < before.index("details")  # the text may speak of it before the import


def test_outputs_and_the_sidebar_are_left_alone():
    start = cell("from gen_utils.samplers import Langevin\n", folded=True)
    page = link(
        article(start, cell("Langevin(1)", kind="cell_output"), "<p>an <i>unclosed<br> output", cell("Langevin(2)"))
    )
    assert len(places(page)) == 2 and page.startswith(f"<nav>{inline('Langevin')}</nav>")


def test_the_chapters_of_a_book(tmp_path):
    path = notebook(tmp_path, "from gen_utils.samplers import Langevin\n", "k = Langevin(1)\n")
    before = path.read_bytes()
    page = tmp_path / "html" / "notebooks" / "02_ebm_mnist.html"
    page.parent.mkdir(parents=True)
    page.write_text(
        article(cell("from gen_utils.samplers import Langevin\n"), cell("k = Langevin(1)\n")), encoding="utf-8"
    )
    for _ in range(2):
        links.link_chapters(tmp_path / "html", {"02_ebm_mnist": path, "03_not_built": path})
        assert page.read_text(encoding="utf-8").count('class="api-name"') == 2 and path.read_bytes() == before
