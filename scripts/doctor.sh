#!/usr/bin/env bash
# Says what this machine has, what it lacks and how to mend it; ends with 1 where something is missing that is needed.
#
# `make doctor` runs it before anything is built, `jarzynski doctor` with what the program itself sees: JZ_PROGRAM_VERSION,
# JZ_PROGRAM_GPUS.
set -uo pipefail
. "$(dirname "$0")/env.sh"
. "$(dirname "$0")/checks.sh"

bad=0 notes=0
line() { printf '  %-7s %-17s %s\n' "$1" "$2" "$3"; }
mend() { printf '  %-7s %-17s -> %s\n' '' '' "$1"; }
# WHAT, its fault or nothing, what it is where there is no fault: needed for everything
needed() {
  if [ -z "$2" ]; then line ok "$1" "$3"; else bad=$((bad + 1)); line MISSING "$1" "$2"; fi
}
# not needed by all: WHAT, what is so, how to change it
note() { notes=$((notes + 1)); line note "$1" "$2"; [ -z "${3:-}" ] || mend "$3"; }
ok() { line ok "$1" "$2"; }
gigabytes() { awk -v k="$1" 'BEGIN { printf "%.1f GB", k / 1048576 }'; }

echo "Tools"
for tool in git make; do needed $tool "$(fault_command $tool)" "$($tool --version 2> /dev/null | head -1)"; done
needed "C++ compiler" "$(fault_cxx)" "$("${CXX:-c++}" --version 2> /dev/null | head -1)"
needed Rust "$(fault_rust)" "rustc $JZ_RUSTC for $JZ_HOST"
python_fault=$(fault_python)
needed Python "$python_fault" "$(python3 -V 2>&1)"
if [ -z "$python_fault" ]; then
  # libtorch comes by pip; only notebooks and the site need venv
  if [ -n "${JZ_TORCH_OURS:-}" ] && [ ! -e "$LIBTORCH" ]; then needed pip "$(fault_pip)" "there"; fi
  fault=$(fault_venv); if [ -z "$fault" ]; then ok venv "there"; else note venv "$fault" "notebooks and the site need it"; fi
fi

echo "libtorch"
if [ -n "${JZ_TORCH_OURS:-}" ] && [ ! -e "$LIBTORCH" ]; then
  if [ "$JZ_HOST" = x86_64-unknown-linux-gnu ]; then note libtorch "not there yet" "make setup installs $JZ_TORCH in $JZ_CACHE (0.6 GB), as every command that needs it does"
  elif [ -z "$JZ_HOST" ]; then note libtorch "not there yet" "install Rust first"
  else needed libtorch "none can be installed by itself on $JZ_HOST: get libtorch $JZ_TORCH and set LIBTORCH to its folder" ""; fi
else
  needed libtorch "$(fault_libtorch)" "$(torch_version) in $JZ_TORCH_LIB"
fi
if [ -e "$JZ_TORCH_LIB/libtorch_cuda.so" ]; then built_for=CUDA; else built_for=CPU; fi

echo "GPU"
gpus=$(nvidia-smi -L 2> /dev/null | grep -c '^GPU') || true
if [ "${gpus:-0}" = 0 ]; then ok GPU "none that nvidia-smi names: computing on the CPU"
elif [ $built_for = CPU ]; then note GPU "$gpus, but libtorch is built for the CPU" "make setup CUDA=1 installs the other one (4.5 GB)"
elif [ "${JZ_PROGRAM_GPUS:-$gpus}" = 0 ]; then note GPU "$gpus, but libtorch sees none" "the driver is too old for this CUDA: nvidia-smi names the version that it knows"
else ok GPU "$gpus, libtorch with CUDA: --device cuda:0"; fi

echo "Program"
if [ -n "${JZ_PROGRAM_VERSION:-}" ]; then ok jarzynski "version $JZ_PROGRAM_VERSION"; fi
if found=$(command -v jarzynski); then ok "on the PATH" "$found"
else note "on the PATH" "no program jarzynski" "make install puts it in ~/.local/bin; that folder must be on the PATH"; fi
if [ -d "$JZ_BUILD/target" ]; then ok dependencies "compiled for this version of Rust"
else note dependencies "not compiled yet" "the first command that builds takes 10 to 15 minutes on two cores"; fi

echo "Notebooks"
if [ -x "$JZ_KERNEL/bin/evcxr_jupyter" ]; then ok kernel "evcxr $JZ_EVCXR"
else note kernel "evcxr $JZ_EVCXR is not compiled for this version of Rust" "make install, make lab and make notebooks do it (9 to 15 minutes)"; fi
source_path=$(rust_src)
if [ -n "$source_path" ]; then ok "library source" "$source_path"
else note "library source" "the source of Rust's standard library is missing" "rustup component add rust-src; on Debian, make lab fetches it"; fi
# every place where Jupyter looks for a user's kernels
found=
for dir in "${JUPYTER_DATA_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/jupyter}" /usr/local/share/jupyter /usr/share/jupyter; do
  for spec in "$dir"/kernels/{rust,jarzynski}/kernel.json; do
    if [ -z "$found" ] && grep -q JZ_EVCXR_BIN "$spec" 2> /dev/null; then found=$spec; fi
  done
done
if [ -z "$found" ]; then note registered "JupyterLab and VS Code find no kernel of ours" "make install registers it; make lab needs no registration"
else
  gone=$(python3 - "$found" << 'PY'
import json, os, sys
env = json.load(open(sys.argv[1])).get("env", {})
print(" ".join(f"{k}={env[k]}" for k in ("JZ_EVCXR_BIN", "LIBTORCH", "RUST_SRC_PATH") if k in env and not os.path.exists(env[k])))
PY
  )
  if [ -z "$gone" ]; then ok registered "$found"; else note registered "$found names what is no longer there: $gone" "make install writes it anew"; fi
fi

echo "Machine"
cores=$(nproc 2> /dev/null || getconf _NPROCESSORS_ONLN)
ok cores "$cores"
if [ -r /proc/meminfo ]; then
  free=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)
  if [ "$free" -lt 3145728 ] && [ ! -d "$JZ_BUILD/target" ]; then note memory "$(gigabytes "$free") free; the first build takes 3 GB" "CARGO_BUILD_JOBS=1 compiles one crate at a time"
  else ok memory "$(gigabytes "$free") free"; fi
fi
place=$JZ_CACHE
while [ ! -d "$place" ]; do place=$(dirname "$place"); done
room=$(df -Pk "$place" | awk 'NR == 2 { print $4 }')
if [ -d "$JZ_BUILD/target" ]; then least=1048576; else least=5242880; fi
if [ "$room" -lt $least ]; then needed disk "$(gigabytes "$room") free in $JZ_CACHE, $(gigabytes $least) are needed: JARZYNSKI_CACHE names another folder" ""
else ok disk "$(gigabytes "$room") free in $JZ_CACHE"; fi

echo
if [ $bad = 0 ]; then echo "Nothing is missing that is needed$([ $notes = 0 ] || echo "; the notes say what else can be had")."; exit 0; fi
echo "$bad missing, see above."
exit 1
