#!/usr/bin/env bash
# Installs in the cache folder what is missing: `setup.sh check | build | notebooks | lab` (each includes the ones before it),
# `setup.sh kernel [DIR]`, the notebooks' kernel without Python packages, registered in DIR; or `setup.sh site`, which needs
# Python alone.
#
# Every step installs to NAME.part and renames it when it is complete, so a finished name is the stamp and an
# interrupted set-up goes on where it was. What is there already costs a fraction of a second.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. "$(dirname "$0")/checks.sh"

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# --- what the machine must have -------------------------------------------------------------------------------------
# Ends with every fault that the named checks find.
need() {
  local check bad=0 found
  for check in "$@"; do
    found=$(fault_$check) || true
    if [ -n "$found" ]; then say "$found"; bad=1; fi
  done
  [ $bad = 0 ] || exit 1
}
fault_git() { fault_command git; }
fault_make() { fault_command make; }

# --- one step: TARGET, what is said, the function that fills TARGET.part ----------------------------------------------
step() {
  local target=$1 what=$2 fill=$3 log rc
  [ -e "$target" ] && return
  mkdir -p "$JZ_CACHE/logs"
  log=$JZ_CACHE/logs/$(basename "$target").log
  # two clones may set up at once: the second waits and finds the work done
  if command -v flock > /dev/null; then
    exec 8> "$JZ_CACHE/logs/$(basename "$target").lock"
    flock -n 8 || { say "another set-up is busy with this: $what"; flock 8; }
    [ -e "$target" ] && return
  fi
  say "$what"
  # not `fill || ...`: bash ignores `set -e` inside a function that is part of a condition
  set +e
  (set -e; part=$target.part; $fill) > "$log" 2>&1 < /dev/null
  rc=$?
  set -e
  if [ $rc != 0 ]; then tail -n 15 "$log" >&2; die "failed: $what (all of it: $log). Run the same command again to go on."; fi
  mv "$target.part" "$target"
  exec 8>&-
}

# --- libtorch -----------------------------------------------------------------------------------------------------------
# --no-deps and the two CUDA runtime wheels: libtorch_cpu.so of this build needs libcudart and libcupti, nothing else of
# CUDA. The wheel is asked for by the oldest Python it supports, because only its C++ part is used.
fill_libtorch_cpu() {
  rm -rf "$part"; mkdir -p "$part/lib"
  python3 -m pip install --no-cache-dir --no-compile --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 \
    --target "$part/wheels" "torch==$JZ_TORCH" 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cupti==13.0.*'
  rm -f "$part"/wheels/torch/lib/libtorch_cuda*.so    # 0.5 GB that nothing loads
  ln -s wheels/torch/include "$part/include"
  local f
  for f in libtorch_cpu.so libc10.so libgomp.so.1 libtorch_global_deps.so; do ln -s "../wheels/torch/lib/$f" "$part/lib/$f"; done
  for f in libcudart.so.13 libcupti.so.13; do ln -s "../wheels/nvidia/cu13/lib/$f" "$part/lib/$f"; done
  ln -s libtorch_cpu.so "$part/lib/libtorch.so"    # the real one is a stub that pulls in libtorch_cuda.so
}

fill_libtorch_cuda() {
  rm -rf "$part"; mkdir -p "$part/lib"
  python3 -m pip install --no-cache-dir --no-compile --disable-pip-version-check --target "$part/wheels" "torch==$JZ_TORCH"
  ln -s wheels/torch/include "$part/include"
  local f
  (cd "$part/lib" && find ../wheels/torch/lib ../wheels/nvidia ../wheels/nvshmem ../wheels/cusparselt -name '*.so*' -exec ln -sf {} . \; 2> /dev/null || true)
  test -e "$part/lib/libtorch_cuda.so"
}

setup_libtorch() {
  if [ -n "${JZ_TORCH_OURS:-}" ] && [ ! -e "$LIBTORCH" ]; then
    [ "$JZ_HOST" = x86_64-unknown-linux-gnu ] || die "on $JZ_HOST no libtorch can be installed from here: get libtorch $JZ_TORCH and set LIBTORCH to its folder"
    need pip
    case $LIBTORCH in
      *-cuda) step "$LIBTORCH" "libtorch $JZ_TORCH with CUDA (4.4 GB: 2 to 10 minutes)" fill_libtorch_cuda ;;
      *) step "$LIBTORCH" "libtorch $JZ_TORCH for CPU (0.5 GB: about a minute)" fill_libtorch_cpu ;;
    esac
  fi
  need libtorch
}

# --- the notebooks' kernel ------------------------------------------------------------------------------------------------
# Its own target folder and none of the shared flags: it is a program of its own, and the folder is what makes an
# interrupted build go on. opt-level 1 builds in two thirds of the time; a notebook takes 5 % longer.
fill_evcxr() {
  env -u RUSTFLAGS -u CARGO_BUILD_TARGET -u CARGO_BUILD_BUILD_DIR CARGO_TARGET_DIR="$JZ_KERNEL.build" CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
    cargo install --locked evcxr_jupyter --version "$JZ_EVCXR" --root "$part"
  rm -rf "$JZ_KERNEL.build"
}

# The kernel infers the types of `let` from the standard library's source. Debian packages it; apt is pointed at a state
# folder of our own, so that neither root nor a change of the system is needed.
fill_rust_src() {
  rm -rf "$part"; mkdir -p "$part"/apt/lists/partial "$part"/apt/cache/archives/partial "$part/deb"
  touch "$part/apt/status"
  local apt=(-o "Dir::State=$part/apt" -o "Dir::State::Lists=$part/apt/lists" -o "Dir::State::status=$part/apt/status" -o "Dir::Cache=$part/apt/cache"
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Languages=none -o Acquire::Retries=3)
  cd "$part/deb"
  apt-get "${apt[@]}" update || true    # a list that cannot be had may be one that is not needed
  apt-get "${apt[@]}" download rust-web-src || apt-get "${apt[@]}" download rust-src
  dpkg-deb --fsys-tarfile ./*.deb | tar -x --wildcards './usr/src/*/library'
  mv ./usr/src/*/library "$part/library"
  test -e "$part/library/core/src/lib.rs"
  cd "$part" && rm -rf apt deb
}

setup_rust_src() {
  RUST_SRC_PATH=$(rust_src)
  [ -z "$RUST_SRC_PATH" ] || return 0
  if ! { command -v apt-get && command -v dpkg-deb; } > /dev/null; then
    die "missing: the standard library's source, which the notebooks' kernel needs. Run: rustup component add rust-src"
  fi
  (step "$JZ_RUST_SRC" "the standard library's source, for the notebooks' kernel (under a minute)" fill_rust_src) ||
    die "Or run: rustup component add rust-src"
  RUST_SRC_PATH=$JZ_RUST_SRC/library
}

# What Jupyter reads of the kernel, in the folder $1. Written every time: it is where a changed LIBTORCH reaches the kernel.
write_kernel_spec() {
  local dir=$1 own=$JZ_JUPYTER/kernels/rust
  mkdir -p "$JZ_JUPYTER/evcxr" "$dir"
  [ -e "$own/version.txt" ] || JUPYTER_PATH=$JZ_JUPYTER "$JZ_KERNEL/bin/evcxr_jupyter" --install > /dev/null    # logos, editor helpers
  [ "$dir" = "$own" ] || cp "$own"/version.txt "$own"/*.svg "$own"/*.png "$own"/*.js "$dir" 2> /dev/null || true
  cp "$JZ_ROOT/scripts/kernel.sh" "$dir/kernel.sh"
  # Run by the kernel when it starts, after it has overwritten its Cargo.lock: with the notebook's project's lock beside
  # it, `:dep` takes the versions that are built already. The system's linker, because another changes the flags.
  printf '%s\n' ':linker system' '!if [ -f ../Cargo.lock ]; then cp ../Cargo.lock "$EVCXR_TMPDIR/Cargo.lock"; fi' > "$JZ_JUPYTER/evcxr/init.evcxr"
  cp "$JZ_ROOT/notebooks/evcxr.toml" "$JZ_JUPYTER/evcxr/evcxr.toml"
  # evcxr has a profile of its own, to which these two make it the library's
  CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false \
    EVCXR_CONFIG_DIR=$JZ_JUPYTER/evcxr LD_LIBRARY_PATH=$JZ_LIBS JZ_EVCXR_BIN=$JZ_KERNEL/bin/evcxr_jupyter RUST_SRC_PATH=${RUST_SRC_PATH:-} python3 - "$dir" <<'PY'
import json, os, sys
names = ("LIBTORCH LIBTORCH_USE_PYTORCH LIBTORCH_INCLUDE LIBTORCH_LIB LIBTORCH_BYPASS_VERSION_CHECK LD_LIBRARY_PATH RUST_SRC_PATH EVCXR_TMPDIR "
         "EVCXR_CONFIG_DIR JZ_EVCXR_BIN CARGO_PROFILE_DEV_DEBUG_ASSERTIONS CARGO_PROFILE_DEV_OVERFLOW_CHECKS OMP_WAIT_POLICY GOMP_SPINCOUNT").split()
name = "Rust" if os.path.basename(sys.argv[1]) == "rust" else "Rust (" + os.path.basename(sys.argv[1]) + ")"
spec = {"argv": ["bash", "{resource_dir}/kernel.sh", "{connection_file}"], "display_name": name, "language": "rust", "interrupt_mode": "message",
        "env": {n: os.environ[n] for n in names if os.environ.get(n)}}
part = sys.argv[1] + "/kernel.json.part"
with open(part, "w") as f:
    json.dump(spec, f, indent=1)
os.replace(part, sys.argv[1] + "/kernel.json")
PY
}

fill_venv() {
  rm -rf "$part"; python3 -m venv "$part"
  "$part/bin/python" -m pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: -r "$JZ_ROOT/scripts/requirements-$venv.txt"
}
setup_venv() {
  local venv=$1
  [ -e "$(jz_venv "$venv")" ] || need venv
  step "$(jz_venv "$venv")" "Python packages to $2 (under a minute)" fill_venv
}

kernel_step="the notebooks' Rust kernel, evcxr $JZ_EVCXR (compiled once: 9 to 15 minutes on 2 cores)"

# --- parts ------------------------------------------------------------------------------------------------------------------
if [ "${1:-build}" = site ]; then need python; else need git make cxx rust python; fi
case ${1:-build} in
  check) need libtorch ;;
  build)
    setup_libtorch
    [ -e "$JZ_BUILD/target" ] || say "the first build compiles all dependencies: 10 to 15 minutes on 2 cores, once per version of Rust"
    ;;
  notebooks | lab)
    setup_libtorch
    setup_rust_src
    setup_venv notebooks "run notebooks"
    [ "$1" = notebooks ] || setup_venv lab "start JupyterLab"
    step "$JZ_KERNEL" "$kernel_step" fill_evcxr
    write_kernel_spec "$JZ_JUPYTER/kernels/rust"
    ;;
  kernel)
    setup_libtorch
    setup_rust_src
    step "$JZ_KERNEL" "$kernel_step" fill_evcxr
    write_kernel_spec "${2:-$JZ_JUPYTER/kernels/rust}"
    ;;
  site) setup_venv site "build the documentation's site" ;;
  *) die "unknown part $1: expected check, build, notebooks, lab, kernel or site" ;;
esac
