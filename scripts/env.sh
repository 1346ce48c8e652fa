# Sourced by the Makefile's recipes and scripts: where things are, and the flags that crate, tests and notebooks share.
# Nothing here installs anything; scripts/setup.sh does.

# --- where things are -----------------------------------------------------------------------------------------------------
JZ_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
JZ_TORCH=2.13.0    # what tch 0.26 links against
JZ_EVCXR=0.22.0    # the Rust kernel of the notebooks
JZ_CACHE=${JARZYNSKI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jarzynski}
case $JZ_CACHE in /*) ;; *) JZ_CACHE=$JZ_ROOT/$JZ_CACHE ;; esac
# "x86_64-unknown-linux-gnu 1.95.0"; empty without Rust, which setup.sh and doctor.sh say
read -r JZ_HOST JZ_RUSTC < <(rustc -vV 2> /dev/null | sed -nE 's/^(host|release): //p' | paste -sd' ' -) || true

# --- libtorch -------------------------------------------------------------------------------------------------------------
case ${LIBTORCH:-} in "$JZ_CACHE"/libtorch-*) unset LIBTORCH ;; esac    # this file, sourced before
if [ -z "${LIBTORCH:-}" ] && [ -z "${LIBTORCH_USE_PYTORCH:-}" ]; then
  JZ_TORCH_OURS=1    # no install was named: setup.sh provides one
  export LIBTORCH=$JZ_CACHE/libtorch-$JZ_TORCH-cpu
  if [ -d "$JZ_CACHE/libtorch-$JZ_TORCH-cuda" ] || [ "${CUDA:-}" = 1 ]; then LIBTORCH=$JZ_CACHE/libtorch-$JZ_TORCH-cuda; fi
fi
export JZ_TORCH_LIB=${LIBTORCH_LIB:-${LIBTORCH:-}}/lib
JZ_TORCH_INCLUDE=${LIBTORCH_INCLUDE:-${LIBTORCH:-}}/include
if [ -n "${LIBTORCH_USE_PYTORCH:-}" ]; then    # found without importing it, which takes seconds; `python` in a venv is what torch-sys asks
  JZ_TORCH_PKG=$("$([ -n "${VIRTUAL_ENV:-}" ] && echo python || echo python3)" -c \
    'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' 2>/dev/null) || true
  JZ_TORCH_LIB=$JZ_TORCH_PKG/lib JZ_TORCH_INCLUDE=$JZ_TORCH_PKG/include
fi
# a notebook's cells load Rust's own standard library too (-Cprefer-dynamic): evcxr moves them, which breaks their rpath
JZ_LIBS=$JZ_TORCH_LIB:$(rustc --print target-libdir 2>/dev/null || true)
export LD_LIBRARY_PATH=$JZ_LIBS${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

# --- one build for the library, its tests, the experiments and the notebooks ------------------------------------------------
# evcxr builds for an explicit target with -Cprefer-dynamic in EVCXR_TMPDIR/target; building everything else
# in the same place with the same flags means that nothing (polars above all) is compiled twice.
JZ_BUILD=$JZ_CACHE/build-rust$JZ_RUSTC-torch$JZ_TORCH
export EVCXR_TMPDIR=$JZ_BUILD
export CARGO_BUILD_BUILD_DIR=$JZ_BUILD/target CARGO_BUILD_TARGET=$JZ_HOST
export CARGO_TARGET_DIR=$JZ_ROOT/target    # holds finished binaries and docs only: one clone must not run another's
export RUSTFLAGS=-Cprefer-dynamic
unset CARGO_ENCODED_RUSTFLAGS    # would win over RUSTFLAGS
# cargo names a workspace's own artefacts by package and profile, not by folder: two clones in one build folder would
# overwrite each other's test binaries. A setting with a number per clone keeps them apart; above the crate's number of
# modules, the number of codegen units has no other effect. (It cannot be set through the environment.)
JZ_UNITS=$((1000 + $(printf %s "$JZ_ROOT" | cksum | cut -d' ' -f1) % 9000))
cargo() {
  command cargo --config "profile.dev.package.jarzynski.codegen-units=$JZ_UNITS" \
    --config "profile.dev.package.jarzynski-experiments.codegen-units=$JZ_UNITS" "$@"
}
# Tests check the assertions and arithmetic of these crates; their dependencies stay those of the shared build.
JZ_CHECKED="--config profile.dev.package.jarzynski.debug-assertions=true --config profile.dev.package.jarzynski.overflow-checks=true"
JZ_CHECKED="$JZ_CHECKED --config profile.dev.package.jarzynski-experiments.debug-assertions=true"
# Not optimised across code units: building all tests after a change takes two thirds of the time. (Level 1 would take .4, but
# hides what is allocated through the shared standard library from the tests that watch memory.)
jz_test() {
  RUSTC_WORKSPACE_WRAPPER=$JZ_ROOT/scripts/rustc-for-tests.sh cargo test --workspace $JZ_CHECKED "$@"
}
# --- threads --------------------------------------------------------------------------------------------------------------
# libtorch's OpenMP threads would otherwise spin between operations and starve the library's own (5 times slower when busy).
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
# Spinning for some microseconds all the same spares a wake-up where one operation follows the other (training steps of a
# small net or RBM: up to 1.4 times faster), and starves nobody.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-10000}

# --- the notebooks' kernel, and environments of Python ----------------------------------------------------------------------
JZ_KERNEL=$JZ_CACHE/evcxr-$JZ_EVCXR-rust$JZ_RUSTC
JZ_JUPYTER=$JZ_CACHE/jupyter
JZ_RUST_SRC=$JZ_CACHE/rust-src-$JZ_RUSTC

# The Python environment of a list of pinned packages: keyed by Python's version and the list's content.
jz_venv() {
  echo "$JZ_CACHE/python$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')-$1-$(cksum < "$JZ_ROOT/scripts/requirements-$1.txt" | cut -d' ' -f1)"
}
