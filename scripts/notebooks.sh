#!/usr/bin/env bash
# Executes notebooks with the real kernel: `notebooks.sh [--check] [NAME ...]`, all of notebooks/ by default, in place unless --check.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
scripts/setup.sh notebooks

# Jupyter's own files go to the cache and the user's settings play no part
export JUPYTER_PATH=$JZ_JUPYTER JUPYTER_DATA_DIR=$JZ_JUPYTER JUPYTER_CONFIG_DIR=$JZ_JUPYTER/config JUPYTER_RUNTIME_DIR=$JZ_JUPYTER/runtime
RUST_BACKTRACE=0 JZ_ROOT=$JZ_ROOT JZ_CACHE=$JZ_CACHE exec "$(jz_venv notebooks)/bin/python" scripts/run_notebooks.py "$@"
