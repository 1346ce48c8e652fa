# Sourced by setup.sh and doctor.sh, after env.sh: what a machine must have. Each function prints one line that says what is
# wrong and how to mend it, or nothing.

fault_command() { command -v "$1" > /dev/null || echo "$1 is missing: install it with the system's package manager"; }

fault_cxx() {
  command -v "${CXX:-c++}" > /dev/null || echo "a C++ compiler is missing (${CXX:-c++}): on Debian and Ubuntu, the package g++"
}

fault_rust() {
  if [ -z "$JZ_RUSTC" ] || ! command -v cargo > /dev/null; then echo "cargo and rustc are missing: a stable Rust toolchain, 1.89 or newer (https://rustup.rs)"
  elif [ "$(printf '%s\n' 1.89 "$JZ_RUSTC" | sort -V | head -1)" != 1.89 ]; then echo "rustc is $JZ_RUSTC, 1.89 or newer is needed: rustup update stable"; fi
}

fault_python() {
  if ! command -v python3 > /dev/null; then echo "python3 is missing, 3.11 or newer"; return; fi
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || echo "python3 is $(python3 -V | cut -d' ' -f2), 3.11 or newer is needed"
}

fault_pip() { python3 -m pip --version > /dev/null 2>&1 || echo "pip for python3 is missing: on Debian and Ubuntu, the package python3-pip"; }

fault_venv() { python3 -c 'import venv, ensurepip' 2> /dev/null || echo "venv for python3 is missing: on Debian and Ubuntu, the package python3-venv"; }

# The version that libtorch's headers name.
torch_version() {
  cat "$JZ_TORCH_INCLUDE"/torch/{headeronly,csrc/api/include/torch}/version.h 2> /dev/null |
    sed -nE 's/^#define TORCH_VERSION_(MAJOR|MINOR|PATCH) +([0-9]+).*/\2/p' | head -3 | paste -sd. -
}

fault_libtorch() {
  local named lost version hint
  if [ -n "${LIBTORCH_USE_PYTORCH:-}" ]; then
    named="LIBTORCH_USE_PYTORCH=$LIBTORCH_USE_PYTORCH"
    [ -n "$JZ_TORCH_PKG" ] || { echo "$named, but python has no package torch. Install torch==$JZ_TORCH there, or unset the variable to have libtorch installed in the cache."; return; }
  else named="LIBTORCH=$LIBTORCH"; fi
  hint="Expected: the folder of libtorch $JZ_TORCH with include/ and lib/. Unset the variable to have one installed in the cache."
  if [ -n "${JZ_TORCH_OURS:-}" ]; then hint="Remove $LIBTORCH and run make setup."; fi
  [ -f "$JZ_TORCH_LIB/libtorch_cpu.so" ] || [ -f "$JZ_TORCH_LIB/libtorch_cpu.dylib" ] || { echo "$named: no libtorch there ($JZ_TORCH_LIB/libtorch_cpu.so is missing). $hint"; return; }
  [ -f "$JZ_TORCH_INCLUDE/torch/csrc/api/include/torch/torch.h" ] || { echo "$named: no headers there ($JZ_TORCH_INCLUDE/torch is missing or incomplete). $hint"; return; }
  version=$(torch_version) || true
  [ "$version" = "$JZ_TORCH" ] || [ -n "${LIBTORCH_BYPASS_VERSION_CHECK:-}" ] || { echo "$named is version ${version:-unknown}, but tch needs $JZ_TORCH. $hint"; return; }
  if command -v ldd > /dev/null; then
    lost=$(ldd "$JZ_TORCH_LIB"/libtorch.so 2> /dev/null | awk '/not found/ { print $1 }' | sort -u | paste -sd' ' -) || true
    [ -z "$lost" ] || echo "$named: libtorch is there, but the libraries that it loads are not: $lost. $hint"
  fi
}

# The standard library's source, which the notebooks' kernel reads: its folder, or nothing.
rust_src() {
  local sysroot place
  sysroot=$(rustc --print sysroot 2> /dev/null) || true
  for place in "${RUST_SRC_PATH:-}" "$sysroot/lib/rustlib/src/rust/library" "$JZ_RUST_SRC/library"; do
    if [ -n "$place" ] && [ -e "$place/core/src/lib.rs" ]; then echo "$place"; return; fi
  done
}
