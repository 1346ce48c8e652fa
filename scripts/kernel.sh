#!/usr/bin/env bash
# Starts the notebooks' kernel on a connection file, in a build folder that no other kernel uses at the same time.
#
# Two kernels in one EVCXR_TMPDIR overwrite each other's code. The first takes the shared build; one that starts while
# another runs gets a copy of it (about 1 GB, seconds), kept for the next time. The lock ends with the kernel.
set -euo pipefail
shared=$EVCXR_TMPDIR
mkdir -p "$shared"

if command -v flock > /dev/null; then
  exec 9> "$shared/kernel.lock"
  # a kernel that is being restarted needs a moment to go
  if ! flock -w 5 9; then
    for ((n = 2; ; n++)); do
      EVCXR_TMPDIR=$shared-kernel$n
      mkdir -p "$EVCXR_TMPDIR"
      exec 9> "$EVCXR_TMPDIR/kernel.lock"
      if flock -n 9; then break; fi
    done
    if [ ! -e "$EVCXR_TMPDIR/target" ]; then
      echo "kernel $n: copying the build folder once" >&2
      rm -rf "$EVCXR_TMPDIR/target.part"
      # -a: cargo decides by times; not the incremental state, which belongs to tests and binaries
      (cd "$shared/target" && tar -cf - --exclude=incremental --exclude=doc .) | (mkdir "$EVCXR_TMPDIR/target.part" && tar -xpf - -C "$EVCXR_TMPDIR/target.part")
      mv "$EVCXR_TMPDIR/target.part" "$EVCXR_TMPDIR/target"
    fi
    export EVCXR_TMPDIR
  fi
fi
exec "$JZ_EVCXR_BIN" --control_file "$1"
