#!/usr/bin/env bash
# Checks what would be published: the list of files, its size, and the build of docs.rs, where there is no libtorch.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

files=$(cargo package -p jarzynski --list --allow-dirty)
echo "$files"
for file in README.md LICENSE CHANGELOG.md src/lib.rs datasets/digits.csv.gz; do
  grep -qx "$file" <<< "$files" || { echo "package: $file is not part of it" >&2; exit 1; }
done
size=$(printf '%s\n' "$files" | while read -r f; do [ ! -f "$f" ] || stat -c %s "$f"; done | awk '{ s += $1 } END { print s }')
echo "$(wc -l <<< "$files") files, $((size / 1000)) kB before compression (crates.io takes 10 MB compressed)"
[ "$size" -lt 10000000 ] || { echo "package: too large" >&2; exit 1; }

# As [package.metadata.docs.rs] in Cargo.toml says, with no libtorch named and none installed by us in sight.
features=$(python3 -c 'import tomllib; print(",".join(tomllib.load(open("Cargo.toml", "rb"))["package"]["metadata"]["docs"]["rs"]["features"]))')
env -u LIBTORCH -u LIBTORCH_USE_PYTORCH -u LIBTORCH_LIB -u LIBTORCH_INCLUDE -u JZ_TORCH_LIB -u LD_LIBRARY_PATH RUSTDOCFLAGS='-D warnings' \
  cargo doc -p jarzynski --lib --no-deps --no-default-features --features "$features"
echo "documentation without libtorch, features $features: built"
