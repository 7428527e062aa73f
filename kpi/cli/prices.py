"""What models cost: `kpi prices | reprice`."""

from __future__ import annotations

from typing import Annotated

import typer

import kpi
from kpi.cli.command import FINE, add
from kpi.cli.options import GivenDataset, Json, NamedDataset, chosen
from kpi.cli.output import print_json, print_table, progress, records, say


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    panel = "Prices and keys"
    add(app, "prices", prices, "kpi prices --dataset sample", "kpi prices --init", panel=panel)
    add(app, "reprice", reprice, "kpi reprice --dataset sample", panel=panel)


def prices(
    given: GivenDataset = None,
    dataset: NamedDataset = None,
    init: Annotated[bool, typer.Option("--init", help="Write a commented prices.toml into the state folder.")] = False,
    json: Json = False,
) -> int:
    """List the models of a data set with their price, or begin a price file."""
    name = chosen(given, dataset)
    if init:
        path = kpi.init_prices()
        if json:
            print_json({"path": path})
        else:
            say(f"Written: {path}. Add prices there, then: kpi reprice DATASET")
        return FINE
    found = kpi.model_prices(kpi.open(name))
    state = kpi.price_state()
    if json:
        print_json({"version": state.version, "day": state.day, "units": state.units, "models": records(found)})
        return FINE
    say(f"Price table {state.version} of {state.day}, {state.own} rows of your own. USD per million tokens.")
    count, value = kpi.wording.format_count, kpi.wording.format_value
    print_table(
        ("model", "provider", "requests", "unpriced", "input", "cached", "output", "source"),
        [
            (r.model, r.provider or "–", count(r.requests), count(r.unpriced),
             *(value(v, "usd") for v in (r.input_usd, r.cached_usd, r.output_usd)), r.source or "no price")
            for r in found.itertuples()
        ],
    )  # fmt: skip
    return FINE


def reprice(given: GivenDataset = None, dataset: NamedDataset = None, json: Json = False) -> int:
    """Compute the costs of a data set again, after prices changed."""
    name = chosen(given, dataset)
    with progress() as shown:
        receipt = kpi.reprice(name, progress=shown)
    if json:
        print_json({
            "dataset": receipt.dataset, "version": receipt.version, "requests": receipt.requests,
            "changed": receipt.loaded, "unpriced": receipt.unpriced, "unpriced_models": receipt.unpriced_models,
            "prices": receipt.prices,
        })  # fmt: skip
        return FINE
    for sentence in kpi.wording.receipt_sentences(receipt):
        say(sentence, indent=2)
    return FINE
