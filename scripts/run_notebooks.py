"""Executes notebooks, fails when a cell fails, and writes them back without any path of this machine.

Called by notebooks.sh, which provides the kernel and the environment. The engine (nbclient) is that of `nbconvert
--execute`; it is called directly to print each cell's time and to write nothing when a cell fails.
"""
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(os.environ["JZ_ROOT"])
MAX_BYTES = 1_000_000
# longest first: the cache and the clone may lie inside the home folder
PLACES = sorted({str(Path(p).resolve()): name for p, name in [
    (ROOT, "."), (os.environ["JZ_CACHE"], "$JARZYNSKI_CACHE"), (Path.home(), "~"), (os.environ.get("CARGO_HOME", Path.home() / ".cargo"), "~/.cargo"),
] if len(str(Path(p).resolve())) > 1}.items(), key=lambda place: -len(place[0]))


def portable(value):
    """The same outputs with this machine's folders replaced; images in base64 hold none and stay."""
    if isinstance(value, str):
        for place, name in PLACES:
            value = re.sub(re.escape(place) + r"(?![\w-])", lambda _: name, value)
        return value
    if isinstance(value, list):
        return [portable(v) for v in value]
    if isinstance(value, dict):
        return {k: v if k.startswith("image/") and not k.endswith("xml") else portable(v) for k, v in value.items()}
    return value


def first_failure(nb):
    """What the first failed cell printed, and its error. A `?` on an Err only prints to stderr: that counts as failed too."""
    for cell in nb.cells:
        outputs = cell.get("outputs", [])
        printed = "".join(out.text for out in outputs if out.output_type == "stream")[:2000]    # a panic's message comes first
        for out in outputs:
            if out.output_type == "error":
                return "\n".join([cell.source, "---", printed, f"{out.ename}: {out.evalue}", *out.traceback])
            if out.output_type == "stream" and out.name == "stderr" and re.search(r"\?\s*(;|\.|\)|$)", cell.source, re.M):
                return "\n".join([cell.source, "---", printed, "A cell with `?` wrote to stderr: taken for an early return on an Err, which evcxr does not report."])
    return None


def execute(path, check):
    nb = nbformat.read(path, as_version=4)
    source = "\n".join(c.source for c in nb.cells)
    for place, _ in PLACES:
        if re.search(re.escape(place) + r"(?![\w-])", source):
            raise SystemExit(f"{path}: a cell's source holds {place}, which is a folder of this machine only")
    started = cell_started = time.time()

    def before(cell, cell_index, **_):
        nonlocal cell_started
        cell_started = time.time()

    def after(cell, cell_index, **_):
        head = next((line for line in cell.source.splitlines() if line.strip()), "")
        print(f"  {time.time() - cell_started:6.1f} s  [{cell_index}] {head[:90]}", flush=True)

    client = NotebookClient(nb, timeout=None, startup_timeout=600, kernel_name="rust", record_timing=False,
                            resources={"metadata": {"path": str(path.parent)}}, on_cell_execute=before, on_cell_executed=after)
    print(f"{path}:", flush=True)
    try:
        client.execute()
        failure = first_failure(nb)
    except (CellExecutionError, CellTimeoutError, DeadKernelError, RuntimeError) as e:    # RuntimeError: the kernel did not start
        failure = first_failure(nb) or str(e)
    if failure:
        print(failure, file=sys.stderr)
        print(f"{path}: FAILED, nothing written", file=sys.stderr, flush=True)
        return False

    for cell in nb.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:
            cell.outputs = [nbformat.from_dict(portable(out)) for out in cell.outputs]
    text = nbformat.writes(nb) + "\n"
    if len(text.encode()) > MAX_BYTES:
        print(f"{path}: {len(text.encode()):,} bytes with outputs, more than {MAX_BYTES:,}: rasterise the dense figures", file=sys.stderr)
        return False
    if not check:
        part = path.with_suffix(".part")
        part.write_text(text)
        part.replace(path)
    print(f"{path}: ok in {time.time() - started:.0f} s, {len(text.encode()) // 1000} kB{', not written' if check else ''}", flush=True)
    return True


def main(args):
    check = "--check" in args
    names = [a for a in args if a != "--check"]
    # a name of notebooks/, with or without its ending, or a path
    paths = [Path(n) if Path(n).is_file() else ROOT / "notebooks" / (n.removesuffix(".ipynb") + ".ipynb") for n in names]
    paths = paths or sorted((ROOT / "notebooks").glob("*.ipynb"))
    missing = [str(p) for p in paths if not p.is_file()]
    if missing or not paths:
        known = ", ".join(p.stem for p in sorted((ROOT / "notebooks").glob("*.ipynb"))) or "none"
        raise SystemExit(f"no notebook {', '.join(missing) or 'in notebooks/'}; there are: {known}")
    results = [execute(p.resolve(), check) for p in paths]
    sys.exit(0 if all(results) else 1)


main(sys.argv[1:])
