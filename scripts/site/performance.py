"""Make the tables of the performance page from the files that the benches write."""
import tables

# heading and sentence for each bench, in the order of the page
ABOUT = {
    "steps": ("Training steps", "One step of a training, over the same passes written in bare tch."),
    "rbm": ("Restricted Boltzmann machines", "Updates and sweeps, over the matrix products that none can do without; trainings over each other."),
    "flows": ("Flows", "Flow matching, and steps along flows, over the bare evaluations of the networks."),
    "checkpoint_overhead": ("Runs that are kept", "Trainings that write rows and checkpoints, over those that do not."),
    "gpu": ("On a GPU", "Training steps over the same passes in bare tch."),
}


def page(root):
    """One section for each bench that has a committed table."""
    files = sorted((root / "docs/benches").glob("*.csv"), key=lambda f: [*ABOUT].index(f.stem))
    if not files:
        raise SystemExit("docs/benches: expected the tables that `make bench` writes to results/bench")
    parts = []
    for path in files:
        rows = tables.read(path)
        if not rows:
            raise SystemExit(f"{path}: no rows")
        measured = sorted({(r["date"], r["revision"], r["processor"], r["cores"]) for r in rows})
        when = "; ".join(f"{date}, revision {revision}, {processor}, {cores} core{'s' if cores != '1' else ''}" for date, revision, processor, cores in measured)
        lines = [[r["row"].replace("|", "\\|"), f"{float(r['wall']):.2f}", f"{float(r['lower']):.2f} to {float(r['upper']):.2f}", f"{float(r['cpu']):.2f}",
                  r["goal"] or "–", f"{float(r['a_ms']):.2f}", r["turns"]] for r in rows]
        heading, about = ABOUT[path.stem]
        parts += [f"## {heading}", f"{about} Measured {when}.",
                  tables.table(["A / B", "time on the wall", "quartiles", "processor time", "goal", "A / ms", "turns"], lines),
                  f"[{path.name}](../docs/benches/{path.name})"]
    return "\n\n".join(parts)
