#!/usr/bin/env bash
# Starts JupyterLab in notebooks/ with the Rust kernel registered; arguments go to JupyterLab.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
scripts/setup.sh lab

# Jupyter's own files go to the cache: nothing else of the user's account is changed
export JUPYTER_PATH=$JZ_JUPYTER JUPYTER_DATA_DIR=$JZ_JUPYTER JUPYTER_CONFIG_DIR=$JZ_JUPYTER/config JUPYTER_RUNTIME_DIR=$JZ_JUPYTER/runtime
export JUPYTERLAB_SETTINGS_DIR=$JZ_JUPYTER/lab/settings JUPYTERLAB_WORKSPACES_DIR=$JZ_JUPYTER/lab/workspaces IPYTHONDIR=$JZ_JUPYTER/ipython
if [ "$(id -u)" = 0 ]; then set -- --allow-root "$@"; fi    # containers; JupyterLab refuses otherwise
exec "$(jz_venv lab)/bin/python" -m jupyterlab --notebook-dir=notebooks "$@"
