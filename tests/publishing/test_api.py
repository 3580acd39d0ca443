"""The reference: every public name has an entry, and docstrings come through Markdown unharmed."""

import ast
import importlib
import re

import pytest
from docutils.nodes import make_id
from markdown_it import MarkdownIt

from gen_utils.base.places import BOOK, ROOT
from gen_utils.publishing import api
from gen_utils.publishing.pages import fill

ENTRIES = {(entry.module, entry.name): entry for entry in api.entries()}
CONTRACT = {
    "samplers": "Langevin MALA HMC ProximalLangevin sample UniformStart ReplayBuffer GaussianStart "
    "constant power_decay geometric",
    "data": "load_images",
    "models": "LinearGaussianVAE",
    "evaluation.likelihood": "importance_weighted posterior_density annealed_importance bits_per_dim",
    "evaluation.frechet": "frechet_distance",
    "training": "fit",
    "checkpoints": "load save",
    "report": "record",
    "profiles": "choose",
}


def html(markdown):
    return MarkdownIt("commonmark").render(markdown)


def shown(markdown):
    """What a reader sees of it."""
    return re.sub(r"<[^>]+>", "", html(markdown)).strip()


def unescaped(text):
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")


@pytest.mark.parametrize("module", CONTRACT)
def test_the_names_of_the_contract_have_an_entry_and_are_where_it_says(module):
    for name in CONTRACT[module].split():
        entry = ENTRIES[module, name]
        assert getattr(importlib.import_module(f"gen_utils.{module}"), name) is entry.value
        assert (ROOT / entry.file).is_file()


@pytest.mark.parametrize("module", ["samplers", "data", "models", "training", "evaluation.likelihood"])
def test_all_that_a_package_lists_has_one_entry(module):
    values = [entry.value for entry in api.entries()]
    package = importlib.import_module(f"gen_utils.{module}")
    for name in package.__all__:
        assert sum(value is getattr(package, name) for value in values) == 1, name


def test_no_two_entries_share_a_place():
    anchors = [entry.anchor for entry in api.entries()]
    assert len(set(anchors)) == len(anchors) > 120
    assert all(entry.anchor.endswith(f"#{make_id(entry.label)}") for entry in api.entries())  # as Sphinx makes it
    assert ENTRIES["samplers", "warm_up"].anchor == "api/samplers.html#api-samplers-warm-up"


def test_a_name_is_documented_where_it_is_defined():
    assert ("evaluation.likelihood", "weight_ess") not in ENTRIES
    assert ENTRIES["evaluation.intervals", "weight_ess"].file.as_posix() == "gen_utils/evaluation/intervals.py"
    assert ENTRIES["evaluation.likelihood", "sigmoid_betas"].file.as_posix() == "gen_utils/evaluation/annealing.py"
    assert "From here, too: [`log_mean_exp`](#api-evaluation-log_mean_exp)" in api.page("evaluation")


@pytest.mark.parametrize("entry", api.entries(), ids=lambda entry: f"{entry.module}.{entry.name}")
def test_every_entry_says_what_it_is_in_readable_python(entry):
    told = api.signature(entry)
    assert entry.name in told and "'Tensor" not in told and "ForwardRef" not in told and "object at 0x" not in told
    assert str(ROOT) not in told
    ast.parse(
        f"def {told}: ..."
        if re.match(r"\w+\(", told) and "->" in told
        else f"{told}: ..."
        if told.startswith("class")
        else "0"
    )
    assert entry.sentence and "``" not in entry.sentence


def test_a_short_signature_is_one_line_and_a_long_one_has_a_parameter_a_line():
    assert api.signature(ENTRIES["samplers", "geometric"]) == "geometric(start: float, end: float)"
    lines = api.signature(ENTRIES["samplers", "sample"]).split("\n")
    assert lines[0] == "sample(" and lines[-1] == ") -> Chain"
    assert "    keep_every: int | None = None," in lines and lines.index("    *,") == 5
    assert all(line.startswith("    ") and line.endswith(",") for line in lines[1:-1])


def test_signatures_without_parameters_worth_showing():
    assert api.signature(ENTRIES["samplers", "ChainDiverged"]) == "class ChainDiverged(RuntimeError)"
    assert api.signature(ENTRIES["samplers", "Kernel"]) == "class Kernel(Protocol)"
    assert api.signature(ENTRIES["samplers", "Energy"]) == "Energy = Callable[[Tensor], Tensor]"
    assert "folder: str | os.PathLike = 'checkpoints'" in api.signature(ENTRIES["checkpoints", "save"])
    assert "kernel: Langevin = Langevin(step_size=10.0" in api.signature(ENTRIES["training", "EBMConfig"])


@pytest.mark.parametrize(
    "text",
    [
        "‖∇E(x)‖² over (B, *event) and (M, *event), |x| < 1 and x_1 > x_2 where a_b_c",
        "p(y | x) ∝ exp f(x)[y], {a: 1}, $GEN_RUNS and ~/data, #3, a^b, <tag>, a & b, `one tick`",
        "- a dash in the beginning",
        "1. a number in the beginning",
        "+ plus, and a \\ backslash",
        ": a colon",
        "% a comment for MyST",
        "=== a rule",
    ],
)
def test_what_markdown_would_take_for_markup_is_kept(text):
    rendered = api.render(text)
    assert unescaped(shown(rendered)) == text
    assert html(rendered).startswith("<p>") and "<em>" not in html(rendered)


def test_code_stays_code_and_public_names_are_links():
    told = api.render(
        "Made by ``fit``, in ``a_b | *c``; see ``GaussianStart.fit(x)`` and ``report.table``, *upper* bounds of x'."
    )
    assert "`a_b | *c`" in told and "*upper* bounds of x′" in told
    assert (
        "[`GaussianStart.fit(x)`](#api-samplers-GaussianStart)" in told
        and "[`report.table`](#api-report-table)" in told
    )
    assert "[`fit`](#api-training-fit)" in told
    assert "[" not in api.render("Runs ``sample``.", ENTRIES["samplers", "sample"])  # not to itself


def test_sections_become_lists():
    doc = """\
Does it.

    energy = 1  # | kept as it is

Args:
    x, z: images; codes: (B, d),
        which go on here. beta: the weight.
    rest: what is left; nothing: of note.

Returns:
    (B,) nats.

Raises:
    ValueError: no. OSError: never.

Its gradient is large. Source: Burda et al. (2016),
equation 8.
Source of the rest: none."""
    told = api.render(doc, parameters=frozenset({"x", "z", "codes", "beta", "rest"}))
    assert "```text\nenergy = 1  # | kept as it is\n```" in told
    assert "Arguments\n: - `x`, `z`: images\n  - `codes`: (B, d), which go on here\n  - `beta`: the weight." in told
    assert "  - `rest`: what is left; nothing: of note." in told  # "nothing" is no parameter
    assert "Returns\n: (B,) nats." in told
    assert "Raises\n: - `ValueError`: no\n  - `OSError`: never." in told
    assert "Its gradient is large.\n\nSource\n: Burda et al. (2016), equation 8." in told
    assert "Source of the rest\n: none." in told


def test_fields_and_methods_are_listed():
    page = api.page("samplers")
    chain = page.split("(api-samplers-Chain)=")[1].split("(api-")[0]
    assert r"- `x`: (B, \*event) last states" in chain and chain.rstrip().endswith("`gen_utils/samplers/chain.py`.")
    start = page.split("(api-samplers-GaussianStart)=")[1].split("(api-")[0]
    assert "- `draw(n, *, labels=None, generator=None)`: " in start
    assert "- `posterior(x)`: " in api.page("models").split("(api-models-ConvVAE)=")[1].split("(api-")[0]


@pytest.mark.parametrize("name", [*api.PAGES, "index"])
def test_every_page_is_in_the_book_and_filled(name):
    page = fill((BOOK / "api" / f"{name}.md").read_text(encoding="utf-8"), {})
    assert "<!-- made" not in page and f"- file: book/api/{name}\n" in (ROOT / "_toc.yml").read_text(encoding="utf-8")
    labels = {entry.label for entry in api.entries()}
    assert set(re.findall(r"\]\(#([\w-]+)\)", page)) <= labels
    if name != "index":
        assert re.findall(r"^\(([\w-]+)\)=$", page, re.M) == [
            entry.label for module in api.PAGES[name] for entry in api.entries() if entry.module == module
        ]


def test_the_first_sentence():
    assert api.first_sentence("Mean of f; a.b is 3.5 wide. Source: X.\n\nMore.") == "Mean of f; a.b is 3.5 wide."
    assert api.first_sentence("One\nline of two") == "One line of two"
