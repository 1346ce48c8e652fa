"""Make tables of the site from the results' own files and from the list of experiments: no number is typed twice."""
import csv
import importlib.util
import math
import re
import statistics
import subprocess
from pathlib import Path

# columns that tell runs apart, in the order in which they are shown; the seed is what is averaged over
KEYS = ["data", "noise", "binarisation", "hidden", "walkers", "method", "by", "levels", "update", "case"]


def package(name):
    """The folder of an installed package, whose name need not be an identifier."""
    return Path(importlib.util.find_spec(name).submodule_search_locations[0])


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def fixed(value, decimals):
    return f"{value:.{decimals}f}".replace("-", "−") if math.isfinite(value) else "–"


def shown(values):
    """Mean ± one standard error over seeds, not broken into lines, the error with two digits; a single value with about four."""
    values = [v for v in values if math.isfinite(v)]
    if not values:
        return "–"
    mean = statistics.fmean(values)
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    scale = error if error > 0 else abs(mean) / 100
    decimals = 0 if scale == 0 else min(8, max(0, 1 - math.floor(math.log10(scale))))
    return fixed(mean, decimals) + (f"\u00a0±\u00a0{fixed(error, decimals)}" if error > 0 else "")


def sentence(text):
    return text[:1].upper() + text[1:]


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def grouped(rows, names):
    """Rows by the values of the columns `names`, in the order in which they come."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[n] for n in names), []).append(row)
    return groups


class Shape(ValueError):
    """A table has another shape than a summary of it takes: averages of it could mix different runs."""


def over_seeds(rows, quantities):
    """One line per setting: means over seeds of `quantities`. Columns that are the same everywhere are said once, above."""
    keys = [k for k in KEYS if k in rows[0] and k not in quantities]
    same = [k for k in keys if len({r[k] for r in rows}) == 1]
    keys = [k for k in keys if k not in same]
    lines = []
    for values, group in grouped(rows, keys).items():
        seeds = len({r["seed"] for r in group})
        if seeds != len(group):
            raise Shape(f"{len(group)} rows of {seeds} seeds at {values}")
        lines.append([*(v if math.isfinite(number(v)) else f"`{v}`" for v in values), seeds, *(shown([number(r[q]) for r in group]) for q in quantities)])
    said = ", ".join(f"`{k}` {rows[0][k]}" for k in same)
    text = table([f"`{k}`" for k in keys] + ["seeds"] + [f"`{q}`" for q in quantities], lines)
    return (f"All rows: {said}.\n\n" if said else "") + text


def long_form(rows):
    """A table with columns `quantity` and `value`: one column per quantity."""
    if unknown := set(rows[0]) - {*KEYS, "seed", "quantity", "value", "se"}:
        raise Shape(f"columns {sorted(unknown)}")
    wide, names = {}, []
    for row in rows:
        key = tuple((k, v) for k, v in row.items() if k not in ("quantity", "value", "se"))
        line = wide.setdefault(key, dict(key))
        if row["quantity"] in line:
            raise Shape(f"{row['quantity']} twice at {key}")
        line[row["quantity"]] = row["value"]
        if row["quantity"] not in names:
            names.append(row["quantity"])
    wide = [{**dict.fromkeys(names, ""), **row} for row in wide.values()]
    return "Means over seeds, ± one standard error over them.\n\n" + over_seeds(wide, names)


def last_rows(rows, place, quantities, what):
    """The end of every run, then means over seeds."""
    keys = [k for k in KEYS if k in rows[0] and k != place] + ["seed"]
    runs = grouped(rows, keys).values()
    for run in runs:
        places = [number(r[place]) for r in run]
        if places not in (sorted(set(places)), sorted(set(places), reverse=True)):
            raise Shape(f"{place} goes back and forth: more than one run")
    ends = [run[-1] for run in runs]
    quantities = [q for q in quantities if any(math.isfinite(number(r[q])) for r in ends)]
    return f"{what} Means over seeds, ± one standard error over them.\n\n" + over_seeds(ends, quantities)


def likelihoods(rows):
    for row in rows:
        row["log_z_monitor − log_z_bar"] = number(row["log_z_monitor"]) - number(row["log_z_bar"])
    quantities = [q for q in ("log_lik_test", "log_lik_train", "log_lik_lower", "log_lik_upper", "seconds", "log_z_monitor − log_z_bar", "ess", "round_trips")
                  if q in rows[0]]
    return last_rows(rows, "update", quantities, "The last row of every run; likelihoods in nats per image.")


def distances(rows):
    """Half the sum of |model − data| over the labels: the total variation distance."""
    # `data` is a mass here
    keys = [k for k in KEYS if k in rows[0] and k != "data"] + ["seed"]
    lines = []
    for values, group in grouped(rows, keys).items():
        if len({r["label"] for r in group}) != len(group):
            raise Shape(f"a label twice at {values}")
        distance = sum(abs(number(r["model"]) - number(r["data"])) for r in group) / 2
        lines.append({**dict(zip(keys, values)), "distance": distance})
    return ("Total variation distance of the masses of the classes from the data's. Means over seeds, ± one standard error over them.\n\n"
            + over_seeds(lines, ["distance"]))


def of_file(path):
    """What a page shows of one table."""
    rows = read(path)
    columns = set(rows[0]) if rows else set()
    try:
        if {"quantity", "value", "seed"} <= columns:
            return long_form(rows)
        if {"label", "model", "data", "seed"} <= columns:
            return distances(rows)
        if {"log_lik_test", "log_z_monitor", "log_z_bar", "update", "seed"} <= columns:
            return likelihoods(rows)
        if {"sigma", "ess", "seed"} <= columns:
            return last_rows(rows, "sigma", ["sigma", "ess"], "The end of every way down the ladder.")
    except Shape:
        pass
    return "No summary: this page knows how to average other tables than this one."


def changed(root, folder):
    """When the files of a folder were committed last, and in which revision; nothing outside a clone."""
    done = subprocess.run(["git", "-C", root, "log", "-1", "--format=%cs, revision %h", "--", folder], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def pages(root):
    """One page for each folder of docs/results/: (name, text)."""
    about = {row[0]: row[1] for row in experiments(root)}
    for folder in sorted(p for p in (root / "docs/results").iterdir() if p.is_dir()):
        name, when = folder.name, changed(root, folder)
        parts = [f"# Tables of `{name}`", f"{sentence(about[name])}. `make figure-{name}` runs the experiment." if name in about else "",
                 "Every number on this page is computed from the files named here when the site is built." +
                 (f" They were committed on {when}." if when else "") + " What was concluded from them: [results](measured.md)."]
        for path in sorted(folder.glob("*.csv")):
            parts += [f"## `{path.name}`", of_file(path), f"[{path.name}]({name}/{path.name}): {len(read(path)):,} rows."]
        figures = sorted((root / "docs/figures").glob(f"{name}.png")) + sorted((root / "docs/figures").glob(f"{name}-*.png"))
        parts += ["## Figures" if figures else ""] + [f"![Figure {f.stem} of the experiment {name}](../images/{f.name})" for f in figures if owner(f.stem, about) == name]
        yield f"results/{name}.md", "\n\n".join(p for p in parts if p) + "\n"


def index(root):
    """The pages of the folders of docs/results/, as entries of a table of contents."""
    names = sorted(p.name for p in (root / "docs/results").iterdir() if p.is_dir())
    return "```{toctree}\n:maxdepth: 1\n\nWhat the experiments measured <measured>\n" + "".join(f"{n}\n" for n in names) + "```"


def experiments(root):
    """The list that the program writes from its registry: name, what it shows, how long it takes, data to download, when it runs."""
    text = (root / "experiments/README.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", text, re.M)
    if not rows:
        raise SystemExit("experiments/README.md: expected a table of the experiments")
    return rows


def owner(stem, names):
    """The experiment that a figure belongs to: the longest name that its own begins with."""
    return max((n for n in names if stem == n or stem.startswith(f"{n}-")), key=len, default=None)


def gallery(root):
    """A card for each experiment, with its figure where one is committed."""
    rows = experiments(root)
    names = [row[0] for row in rows]
    cards = []
    for name, about, takes, data, when in rows:
        figures = sorted(f.name for f in (root / "docs/figures").glob(f"{name}*.png") if owner(f.stem, names) == name)
        # the figure that is called as the experiment comes before its details
        figures.sort(key=lambda f: f != f"{name}.png")
        image = f":img-top: images/{figures[0]}\n:img-alt: Figure of the experiment {name}\n" if figures else ""
        notes = [f"about {takes}"] + (["on request: `make figures` leaves it out"] if when != "yes" else [])
        notes += [f"needs the data set `{data}`, which the command fetches"] if data != "–" else []
        notes += ["" if image else "its figure is not in the repository: the command makes it"]
        link = f"\n\n{{doc}}`Its tables <results/{name}>`" if (root / "docs/results" / name).is_dir() else ""
        cards.append(f":::{{grid-item-card}} {name}\n{image}\n{sentence(about)}\n\n`make figure-{name}`{link}\n\n"
                     + " · ".join(n for n in notes if n) + "\n:::")
    return "::::{grid} 1 1 2 2\n:gutter: 3\n\n" + "\n\n".join(cards) + "\n::::"


def layers(root):
    """The modules of the library in the order of their layers, as the test holds it, with the sentence that opens each."""
    text = (root / "tests/it/layers.rs").read_text()
    rows = []
    for level, names in enumerate(re.findall(r"&\[(.*?)\]", re.search(r"const LAYERS.*?= \[(.*?)\n\];", text, re.S)[1]), 1):
        for name in re.findall(r'"(\w+)"', names):
            file = next((f for f in (root / f"src/{name}/mod.rs", root / f"src/{name}.rs", root / f"{name}/src/lib.rs") if f.exists()), None)
            if file:
                first = re.match(r"//! (.+)", file.read_text())[1]
                rows.append([level, f"`{file.relative_to(root).as_posix().removesuffix('/mod.rs')}`", first])
    return table(["layer", "module", "what it does"], rows)
