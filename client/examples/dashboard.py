"""Which recipe has the best worst group in this lab, and how sure is that?

Data: every finished run of a server, or of one dataset there. Nothing is computed: the dashboard reads what is stored,
as `penult web` does, and is the place to start from for a view of one's own, on the client alone.

What the answer means: a bar is the mean over seeds of the worst group's accuracy on the chosen split, its line reaches
from the smallest to the largest seed. Recipes whose ranges overlap are not told apart by these seeds.

    python dashboard.py --store store   # prints the table
    panel serve dashboard.py            # the same, live in a browser (pip install panel)

Expected: a row for each recipe with the number of seeds, the mean, the smallest and the largest worst group, best
first. With panel the table is read again every 5 seconds. PENULT_ADDRESS and PENULT_TOKEN name the server, or --store.
"""

import argparse
import importlib.util
from collections import defaultdict
from statistics import fmean
from typing import Any

import penult

EVERY_MS = 5000


def main() -> None:
    options = arguments()
    opened = penult.connect() if options.store is None else penult.local(options.store)
    with opened as client:
        print(f"{'recipe':<60}{'seeds':>6}{'mean':>8}{'least':>8}{'most':>8}")
        for recipe, values in table(client, options.dataset, options.split):
            print(f"{recipe:<60}{len(values):>6}{fmean(values):>8.3f}{min(values):>8.3f}{max(values):>8.3f}")


def table(client: penult.Client, dataset: str | None, split: str) -> list[tuple[str, list[float]]]:
    """The worst group's accuracy of every run after its last epoch, by recipe; the best mean first."""
    found: dict[str, list[float]] = defaultdict(list)
    for run in client.runs.list(dataset=dataset):
        spec = run.spec
        if any(entry.split == split for entry in run.history):
            recipe = f"{spec.dataset}, {spec.backbone}, {spec.balance}, {spec.epochs} epochs"
            found[recipe].append(run.metrics(split).worst_group_accuracy)
    return sorted(found.items(), key=lambda pair: -fmean(pair[1]))


def page(client: penult.Client) -> Any:
    """The table for `panel serve`, read again and again."""
    panel = importlib.import_module("panel")

    def shown() -> Any:
        rows = [(name, len(one), fmean(one), min(one), max(one)) for name, one in table(client, None, "test")]
        lines = [f"| {name} | {n} | {mean:.3f} | {low:.3f} to {high:.3f} |" for name, n, mean, low, high in rows]
        return panel.pane.Markdown("\n".join(["| recipe | seeds | mean | range |", "|---|---|---|---|", *lines]))

    body = panel.Column("# Worst groups", shown())
    panel.state.add_periodic_callback(lambda: body.__setitem__(1, shown()), period=EVERY_MS)
    return body


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", help="directory of the store; by default the server that PENULT_ADDRESS names")
    parser.add_argument("--dataset", help="of this dataset alone")
    parser.add_argument("--split", default="test")
    return parser.parse_args()


if __name__ == "__main__":
    main()
elif __name__.startswith("bokeh_app") and importlib.util.find_spec("panel") is not None:
    page(penult.connect()).servable()
