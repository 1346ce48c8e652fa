#!/usr/bin/env bash
# Installs the program and the notebooks' kernel for the user: `install.sh install | uninstall`, below PREFIX (~/.local).
#
# KERNEL=0 leaves out the kernel. The files are listed in PREFIX/lib/jarzynski/installed, by which they are removed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

PREFIX=${PREFIX:-$HOME/.local}
case $PREFIX in /*) ;; *) PREFIX=$PWD/$PREFIX ;; esac
home=$PREFIX/lib/jarzynski list=$PREFIX/lib/jarzynski/installed

# Folders are removed where nothing is left in them.
uninstall() {
  if [ ! -e "$list" ]; then echo "nothing to remove: jarzynski is not installed below $PREFIX"; return; fi
  local file
  sort -u "$list" > "$list.sorted"
  while read -r file; do rm -f "$PREFIX/$file"; done < "$list.sorted"
  # from the inside out
  while read -r file; do
    file=$(dirname "$file")
    while [ "$file" != . ]; do rmdir "$PREFIX/$file" 2> /dev/null || break; file=$(dirname "$file"); done
  done < <(sort -r "$list.sorted")
  rm -f "$list" "$list.sorted"
  rmdir "$home" "$PREFIX/lib" 2> /dev/null || true
}

# A file of ours: FROM (- for what comes in), TO below PREFIX, MODE.
put() {
  mkdir -p "$(dirname "$PREFIX/$2")"
  if [ "$1" = - ]; then cat > "$PREFIX/$2.part"; else cp "$1" "$PREFIX/$2.part"; fi
  chmod "$3" "$PREFIX/$2.part"
  mv "$PREFIX/$2.part" "$PREFIX/$2"
  echo "$2" >> "$list"
}

quoted() { printf "'%s'" "${1//\'/\'\\\'\'}"; }

wrapper() {
  cat << EOF
#!/bin/sh
# Written by \`make install\` of the library jarzynski; \`make uninstall\` removes it.
home=$(quoted "$home")
torch=$(quoted "$JZ_TORCH_LIB")
export JARZYNSKI_SCRIPTS="\$home/scripts" JARZYNSKI_CACHE="\${JARZYNSKI_CACHE:-$(printf %s "$JZ_CACHE" | sed 's/["\\$`]/\\&/g')}"
$([ -n "${JZ_TORCH_OURS:-}" ] || echo "export LIBTORCH=\"\${LIBTORCH:-$(printf %s "${LIBTORCH:-}" | sed 's/["\\$`]/\\&/g')}\"")
# libtorch's idle threads would spin and take time from the library's own; read when the program is loaded
export OMP_WAIT_POLICY="\${OMP_WAIT_POLICY:-passive}" GOMP_SPINCOUNT="\${GOMP_SPINCOUNT:-10000}"
if [ ! -e "\$torch/libtorch_cpu.so" ]; then
  if [ "\${1:-}" = doctor ]; then exec bash "\$home/scripts/doctor.sh"; fi
  echo "jarzynski: libtorch is no longer in \$torch" >&2
  echo "hint: run \\\`make install\\\` in the library's folder again; \\\`jarzynski doctor\\\` says what else is missing" >&2
  exit 1
fi
exec "\$home/jarzynski" "\$@"
EOF
}

install() {
  scripts/setup.sh build
  cargo build --quiet -p jarzynski-experiments
  local built=$CARGO_TARGET_DIR/$CARGO_BUILD_TARGET/debug/jarzynski file kernel
  uninstall > /dev/null
  mkdir -p "$home"
  put "$built" lib/jarzynski/jarzynski 755
  # its own copy of Rust's standard library: the toolchain may be updated
  for file in "$(rustc --print target-libdir)"/libstd-*.so; do put "$file" "lib/jarzynski/$(basename "$file")" 644; done
  for file in env.sh checks.sh doctor.sh; do put "scripts/$file" "lib/jarzynski/scripts/$file" 644; done
  wrapper | put - bin/jarzynski 755
  "$built" completions bash | put - share/bash-completion/completions/jarzynski 644
  "$built" completions zsh | put - share/zsh/site-functions/_jarzynski 644
  "$built" completions fish | put - share/fish/vendor_completions.d/jarzynski.fish 644
  echo "installed: $PREFIX/bin/jarzynski"
  case :$PATH: in *:"$PREFIX/bin":*) ;; *) echo "$PREFIX/bin is not on the PATH of this shell: add it, or call the program by its whole name" ;; esac

  [ "${KERNEL:-1}" != 0 ] || return 0
  kernel=share/jupyter/kernels/rust
  # a kernel of that name that somebody else installed stays
  if [ -e "$PREFIX/$kernel" ]; then kernel=share/jupyter/kernels/jarzynski; fi
  scripts/setup.sh kernel "$PREFIX/$kernel"
  for file in "$PREFIX/$kernel"/*; do echo "$kernel/$(basename "$file")" >> "$list"; done
  echo "installed: the notebooks' kernel, $PREFIX/$kernel"
  if [ "$(basename "$kernel")" != rust ]; then echo "a kernel called rust was there before and stays: choose the kernel Rust (jarzynski) in the notebook's menu"; fi
}

case ${1:-install} in
  install) install ;;
  uninstall)
    uninstall
    echo "libtorch, compiled dependencies and the kernel's program stay in $JZ_CACHE: make clean-cache removes them"
    ;;
  *) echo "install.sh: unknown part $1: expected install or uninstall" >&2; exit 1 ;;
esac
