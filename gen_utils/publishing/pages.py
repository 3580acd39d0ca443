"""Pages of the book that are made while it is built: from cards, kept results, executed notebooks and docstrings.

A page in ``book/`` says where with a mark, ``<!-- made: NAME -->``; nothing of it is typed in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from .. import checkpoints
from ..base.places import CHECKPOINTS, NOTEBOOKS
from ..report import COMPARISON, KIND
from . import api, benchmark_tables, openings
from .exercises import all_exercises, exercises_of
from .parts import parts, title_of
from .teaching import exam, plans, quizzes, self_test, slips

_TOLD = {"name", "model", "parameters", "part", "data", "images", "profile", "steps", "seconds", "seed", "metrics",
         "known_faults"}  # fmt: skip
MARK = re.compile(r"^<!-- made: (\w+) -->$", re.M)


def fill(text: str, executed: Mapping[str, Path]) -> str:
    """A page with its marks replaced.

    Args:
        executed: part -> the notebook that the book shows.

    Raises:
        ValueError: a mark that nobody makes.
    """

    def made(match: re.Match) -> str:
        if match[1] not in MAKERS:
            raise ValueError(f"no maker for {match[0]}; known: {', '.join(MAKERS)}")
        return MAKERS[match[1]](executed)

    return MARK.sub(made, text)


def trained_models(executed: Mapping[str, Path]) -> str:
    """A section for each model that ships: its card, in words. A model that somebody has saved beside them has none."""
    cards = [checkpoints.read_card(name) for name in checkpoints.names()]
    return "\n".join(_model(card) for card in cards if card.keys() >= _TOLD)


def _model(card: dict) -> str:
    part = card["part"] if card["part"] in parts() else None
    used = f"[{title_of(part)}](../notebooks/{part}.ipynb)" if part else card["part"]
    size = (CHECKPOINTS / f"{card['name']}.safetensors").stat().st_size / 1e6
    minutes = card["seconds"] / 60
    lines = [
        f"- network: `{card['model']}`, {card['parameters']:,} weights, {size:.1f} MB",
        f"- trained on {card['images']:,} images: {card['data']}",
        f"- run: profile `{card['profile']}`, {card['steps']:,} steps, {minutes:.1f} minutes, seed {card['seed']}"
        + _where(card),
        *(f"- {_metric(name, entry)}" for name, entry in card["metrics"].items()),
        f"- made for: {used}",
        f"- known faults: {card['known_faults']}",
        f"- train it again: `{card['command']}`" if "command" in card else "",
        f"- measure it again: `{card['measured']['command']}`" if "measured" in card else "",
    ]
    picture = ""
    if (CHECKPOINTS / f"{card['name']}.png").exists():
        kind = "Held-out images and reconstructions" if card["name"].startswith("vqvae") else "Samples, not selected"
        shown = f"{kind} of {card['name']}, trained on {card['data']}"
        caption = f"{kind}: `{card['name']}`, {card['data']}."
        picture = f"```{{figure}} _static/models/{card['name']}.png\n:alt: {shown}\n:width: 100%\n\n{caption}\n```\n\n"
    return f"## `{card['name']}`\n\n" + picture + "\n".join(line for line in lines if line) + "\n"


def _where(card: Mapping) -> str:
    """ ", on so many threads of such a processor, commit such": what the card knows of it."""
    told = ""
    if "machine" in card:
        machine = card["machine"]
        told += f", {machine.get('gpu') or str(machine['threads']) + ' thread(s) of ' + machine['cpu']}"
    return told + (f", commit {card['commit']}" if card.get("commit") else "")


def _metric(name: str, entry: Mapping) -> str:
    """ "test accuracy: **0.994** (0.992 to 0.995; images: 10000)": the value, and everything that qualifies it."""
    rest = ", ".join(
        f"{key.replace('_', ' ')}: {value}" for key, value in entry.items() if key not in ("value", "interval_95")
    )
    if "interval_95" in entry:
        rest = f"95 %: {entry['interval_95'][0]} to {entry['interval_95'][1]}" + (f"; {rest}" if rest else "")
    return f"{name.replace('_', ' ')}: **{entry['value']}**{f' ({rest})' if rest else ''}"


def results(executed: Mapping[str, Path]) -> str:
    """The table reported / shipped / this run of every part, as its notebook made it."""
    sections = []
    for part, path in executed.items():
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", ()):
                if output.get("metadata", {}).get(KIND) == COMPARISON:
                    text = "".join(output["data"]["text/markdown"])
                    sections.append(f"## [{title_of(part)}](../notebooks/{part}.ipynb)\n\n{text}\n")
    return "\n".join(sections) or "No part has been run, and no long run is kept.\n"


def timing(executed: Mapping[str, Path]) -> str:
    """How long every part takes: measured in this build, and what its chapter says of the longer profiles."""
    rows = ["| part | this build | `laptop` | `full` |", "|---|---|---|---|"]
    for part, path in executed.items():
        run = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("gen_utils")
        source = (NOTEBOOKS / f"{part}.py").read_text(encoding="utf-8")
        said = [re.findall(rf"^# \| `{name}` \|.*\| ([^|]+) \|$", source, re.M)[0] for name in ("laptop", "full")]
        measured = f"`{run['profile']}`: {run['seconds']:.0f} s" if run else "not run"
        rows.append(f"| {part[:2]} · {title_of(part)} | {measured} | {' | '.join(said)} |")
    return "\n".join(rows)


def exercises(executed: Mapping[str, Path]) -> str:
    """What students write, part by part: each exercise's number, title, function, goal, minutes and points."""
    every = all_exercises()
    sections = [
        f"{len(every)} exercises, {sum(e.points for e in every)} points, about "
        f"{sum(e.minutes for e in every) / 60:.0f} hours of writing and thinking; the minutes are estimates."
    ]
    for part in parts():
        rows = ["| | exercise | function | what it is for | minutes | points |", "|--:|---|---|---|--:|--:|"]
        for each in exercises_of(part):
            goal = re.sub(r"{eq}`[^`]+`", "the equation above it", each.goal).replace("|", r"\|")
            rows.append(f"| {each.number} | {each.title} | `{each.name}` | {goal} | {each.minutes} | {each.points} |")
        sections.append(f"### {part[:2]} · {title_of(part)}\n\n" + "\n".join(rows) + "\n")
    return "\n\n".join(sections)


MAKERS: dict[str, Callable[[Mapping[str, Path]], str]] = {
    "trained_models": trained_models,
    "results": results,
    "timing": timing,
    "exercises": exercises,
    "part_cards": openings.cards,
    "self_test": self_test.page,
    "teaching_hours": plans.hours,
    "twelve_weeks": plans.twelve,
    "six_weeks": plans.six,
    "quizzes": quizzes.page,
    "exam_bank": exam.page,
    "misconceptions": slips.page,
    "performance": lambda executed: benchmark_tables.page(),
    "api_index": lambda executed: api.index(),
    **{f"api_{name}": lambda executed, name=name: api.page(name) for name in api.PAGES},
}
