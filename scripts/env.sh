# Sourced by the Makefile's recipes and scripts: where things are, and the flags that crate, tests and notebooks share.
# Nothing here installs anything; scripts/setup.sh does.

JZ_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
JZ_TORCH=2.13.0    # what tch 0.26 links against
JZ_EVCXR=0.22.0    # the Rust kernel of the notebooks
JZ_CACHE=${JARZYNSKI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jarzynski}
JZ_RUSTC=$(rustc -V | cut -d' ' -f2)
JZ_HOST=$(rustc -vV | sed -n 's/^host: //p')

if [ -z "${LIBTORCH:-}" ] && [ -z "${LIBTORCH_USE_PYTORCH:-}" ]; then
  export LIBTORCH=$JZ_CACHE/libtorch-$JZ_TORCH-cpu
  [ -d "$JZ_CACHE/libtorch-$JZ_TORCH-cuda/lib" ] && LIBTORCH=$JZ_CACHE/libtorch-$JZ_TORCH-cuda
fi
JZ_TORCH_LIB=${LIBTORCH_LIB:-${LIBTORCH:-}}/lib
if [ -n "${LIBTORCH_USE_PYTORCH:-}" ]; then
  JZ_TORCH_LIB=$(python3 -c 'import torch, os; print(os.path.join(os.path.dirname(torch.__file__), "lib"))' 2>/dev/null || true)
fi
export LD_LIBRARY_PATH=$JZ_TORCH_LIB${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

# evcxr builds for an explicit target with -Cprefer-dynamic in EVCXR_TMPDIR/target; building everything else
# in the same place with the same flags means that nothing (polars above all) is compiled twice.
JZ_BUILD=$JZ_CACHE/build-rust$JZ_RUSTC-torch$JZ_TORCH
export EVCXR_TMPDIR=$JZ_BUILD
export CARGO_TARGET_DIR=$JZ_BUILD/target CARGO_BUILD_BUILD_DIR=$JZ_BUILD/target CARGO_BUILD_TARGET=$JZ_HOST
export RUSTFLAGS=-Cprefer-dynamic
export CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false
JZ_KERNEL=$JZ_CACHE/evcxr-$JZ_EVCXR-rust$JZ_RUSTC
JZ_JUPYTER=$JZ_CACHE/jupyter
JZ_RUST_SRC=$JZ_CACHE/rust-src-$JZ_RUSTC
