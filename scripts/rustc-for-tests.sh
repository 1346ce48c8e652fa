#!/bin/sh
# Cargo's RUSTC_WORKSPACE_WRAPPER for tests: compiles these crates without optimisation across a crate's own code units, so
# that a changed function recompiles its file and not every file that calls it. (A profile's `lto` would do the same, and have
# all dependencies compiled once more.)
case " $* " in
  *" --test "*) exec "$@" ;;    # a test's own binary is small
  *) exec "$@" -Clto=off ;;
esac
