"""The trained models: listed, trained, measured again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .options import DataRoot, Profile, Seed, cards, data_folder, headless

app = typer.Typer(help="List the trained models, train one, or measure one again.", add_completion=False)


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the trained models, train one, or measure one again."""
    if context.invoked_subcommand is None:
        for name, card in cards():
            figures = card.get("metrics", {}).items()
            measured = ", ".join(f"{key.replace('_', ' ')} {value['value']}" for key, value in figures)
            told = f"{card.get('profile', '–'):7} {card.get('data', 'unnamed data')}: {measured or 'not measured'}"
            typer.echo(f"{name:18} {told}")


@app.command()
def train(
    name: str,
    profile: Profile = "laptop",
    data: DataRoot = None,
    seed: Seed = 0,
    script: Annotated[
        bool, typer.Option("--script", help="without Jupyter (chosen by itself where it is missing)")
    ] = False,
) -> None:
    """Train a model (an unfinished run goes on), write it to checkpoints/ and its numbers to results/."""
    import importlib.util

    from .. import checkpoints
    from ..base.places import BUILD
    from ..kept_runs import LONG
    from ..publishing.execute import execute, run_as_script
    from ..publishing.keep import keep_outputs
    from ..publishing.results import keep_records, keep_results
    from ..shipped.registry import lookup

    model = lookup(name)
    if model.part is None:
        model.train(data_folder(data), seed=seed)
    else:
        headless()
        settings: dict[str, Any] = dict(profile=profile, data_root=data_folder(data), seed=seed, ship=True)
        # Either way the model and the numbers shown beside it come from one run.
        if script or any(importlib.util.find_spec(need) is None for need in ("papermill", "jupytext", "ipykernel")):
            keep_records(run_as_script(model.part, **settings))
        else:
            path, _ = execute(model.part, out=BUILD / profile / "notebooks", force=True, **settings)
            if profile in LONG:
                keep_outputs(path)
            keep_results(path)
    typer.echo(f"wrote checkpoints/{name}: {checkpoints.read_card(name)['metrics']}")


@app.command()
def evaluate(
    name: Annotated[str, typer.Argument(help="of a trained model, or all")],
    data: DataRoot = None,
    images: Annotated[
        int | None, typer.Option(help="at most so many; else as many as the card's figures stand for")
    ] = None,
    seed: Annotated[int, typer.Option(help="of everything drawn")] = 1,
    write: Annotated[bool, typer.Option("--write", help="put the figures and a grid of samples on the card")] = False,
) -> None:
    """Measure the figures of a model's card again, from its weights and real data, and compare."""
    from .. import checkpoints
    from ..shipped.compare import compare, measure
    from ..shipped.pictures import save_picture
    from ..shipped.registry import MODELS

    if write and images is not None:
        raise ValueError("--write wants the full number of images; leave --images out")
    differ = 0
    wanted = checkpoints.names() if name == "all" else [name]
    for stray in [each for each in wanted if each not in MODELS and name == "all"]:
        typer.echo(f"{stray}: left out, it has no row in gen_utils/shipped/registry.py")
        wanted.remove(stray)
    for each in wanted:
        card = checkpoints.read_card(each)
        found = measure(each, data_folder(data), images=images, seed=seed)
        typer.echo(f"{each} ({card['data']})")
        for row in compare(card, found):
            interval = (
                "" if row["interval"] is None else f"  95 %: {row['interval'][0]:.4g} to {row['interval'][1]:.4g}"
            )
            said = "not on the card" if row["card"] is None else f"card {row['card']:.5g}"
            verdict = {True: "agrees", False: "DIFFERS", None: ""}[row["agrees"]]
            typer.echo(f"  {row['figure']:22} {row['now']:.5g}  {said}  {verdict}{interval}")
            differ += row["agrees"] is False
        if write:
            metrics = {key: value.entry() for key, value in found.items()}
            again = f"python -m gen_utils models evaluate {each} --data path/to/data"
            checkpoints.rewrite_card(each, {"metrics": metrics, "measured": {"seed": seed, "command": again}})
            save_picture(each, data_folder(data))
    if differ and not write:
        raise ValueError(f"{differ} figures differ by more than chance")
