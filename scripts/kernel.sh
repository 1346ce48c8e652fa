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
      # with cargo's own locks, so that no build is copied half-way; times are kept, because cargo decides by them
      mkdir "$EVCXR_TMPDIR/target.part"
      (
        cd "$shared/target"
        for lock in debug/.cargo-lock */debug/.cargo-lock; do if [ -e "$lock" ]; then exec {fd}< "$lock"; flock "$fd"; fi; done
        tar -cf - --exclude=incremental --exclude=doc --exclude='libcode_*' . | tar -xpf - -C "$EVCXR_TMPDIR/target.part"
      )
      mv "$EVCXR_TMPDIR/target.part" "$EVCXR_TMPDIR/target"
    fi
    export EVCXR_TMPDIR
  fi
fi
exec "$JZ_EVCXR_BIN" --control_file "$1"
