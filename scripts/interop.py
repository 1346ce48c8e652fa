"""Open what the library writes with pandas, polars, DuckDB and ArviZ: `interop.py FOLDER`, called by tests/interop.rs."""

import json
import pathlib
import sys
import warnings

warnings.filterwarnings("ignore")
folder = pathlib.Path(sys.argv[1])
expected = json.loads((folder / "expected.json").read_text())


def check(what, got, wanted):
    assert got == wanted, f"{what}: {got!r} is not {wanted!r}"
    print(f"{what}: ok")


for table in ("run/stats", "table/steps"):
    path, want = str(folder / f"{table}.parquet"), expected[table]

    import pandas
    import pyarrow.parquet

    frame = pandas.read_parquet(path)
    check(f"pandas, {table}: columns", list(frame.columns), want["columns"])
    check(f"pandas, {table}: log_z", [float(v) for v in frame["log_z"]], want["log_z"])
    # null where there is nothing, not NaN: an integer column stays one
    check(f"pandas, {table}: steps are integers", str(frame["step"].dtype), "int64")
    card = json.loads(pyarrow.parquet.read_metadata(path).metadata[b"jarzynski"])
    check(f"pyarrow, {table}: seed in the footer", card["seed"], want["seed"])

    import polars

    frame = polars.read_parquet(path)
    check(f"polars, {table}: columns", frame.columns, want["columns"])
    check(f"polars, {table}: log_z", frame["log_z"].to_list(), want["log_z"])
    check(f"polars, {table}: footer", json.loads(polars.read_parquet_metadata(path)["jarzynski"])["seed"], want["seed"])

    import duckdb

    rows = duckdb.sql(f"select log_z from '{path}' order by step").fetchall()
    check(f"DuckDB, {table}: log_z", [row[0] for row in rows], want["log_z"])

frame = pandas.read_csv(folder / "run/stats.csv", float_precision="round_trip")
check("pandas, rows as they come: log_z", [float(v) for v in frame["log_z"]], expected["run/stats"]["log_z"])

import os
import re

# the page on Python is executed as it stands; where ArviZ is older than 1.0, with the line for it that the page gives
import arviz

page = (pathlib.Path(__file__).resolve().parents[1] / "docs/python.md").read_text()
lines = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
assert len(lines) == 4, f"{len(lines)} blocks of Python on the page"
if hasattr(arviz, "from_json"):
    print(f"ArviZ {arviz.__version__} is older than 1.0, which needs Python 3.12: its lines for 1.0 are NOT TESTED")
    lines[1] = "import arviz, json, numpy\nwalkers = arviz.from_json('walkers.json')\n"
os.chdir(folder)
page = {}
for block in lines:
    exec(block, page)
walkers = page["walkers"]
check("polars, as on the page: rows", page["rows"]["log_z"].to_list(), expected["run/stats"]["log_z"])
check("ArviZ: draws", dict(walkers.posterior.sizes)["draw"], expected["walkers"])
mean = float((page["weight"] @ page["x"])[0])
assert abs(mean - expected["mean"]) < 1e-12, (mean, expected["mean"])
check("ArviZ: draws by weight", page["drawn"].sizes["sample"], 200)

import safetensors.numpy

state = safetensors.numpy.load_file("run/checkpoint.safetensors")
check("safetensors: walkers", list(state["walkers.x"].shape), expected["shape"])
