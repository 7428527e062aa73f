"""What models cost: `kpi prices | reprice`."""

from typing import Annotated

import kpi
from kpi.cli.command import FINE
from kpi.cli.options import GivenDataset, Json, NamedDataset, chosen, option
from kpi.cli.output import fields, print_json, progress, records, say, say_receipt, show

PANEL = "Prices and keys"
COMMANDS = {
    "prices": ("kpi prices --dataset sample", "kpi prices --init"),
    "reprice": ("kpi reprice --dataset sample",),
}


def prices(
    given: GivenDataset = None,
    dataset: NamedDataset = None,
    init: Annotated[bool, option("--init", None, "Write a commented prices.toml into the state folder.")] = False,
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
    count, value = kpi.wording.format_count, kpi.wording.format_value
    return show(
        json, {**fields(state, "version day units"), "models": records(found)},
        ("model", "provider", "requests", "unpriced", "input", "cached", "output", "source"),
        ((r.model, r.provider or "–", count(r.requests), count(r.unpriced),
          *(value(v, "usd") for v in (r.input_usd, r.cached_usd, r.output_usd)), r.source or "no price")
         for r in found.itertuples()),
        f"Price table {state.version} of {state.day}, {state.own} rows of your own. USD per million tokens.",
    )  # fmt: skip


def reprice(given: GivenDataset = None, dataset: NamedDataset = None, json: Json = False) -> int:
    """Compute the costs of a data set again, after prices changed."""
    name = chosen(given, dataset)
    with progress() as shown:
        receipt = kpi.reprice(name, progress=shown)
    if json:
        told = fields(receipt, "dataset version requests"), fields(receipt, "unpriced unpriced_models prices")
        print_json({**told[0], "changed": receipt.loaded, **told[1]})
    else:
        say_receipt(receipt)
    return FINE
