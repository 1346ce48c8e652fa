#!/usr/bin/env bash
# Builds the documentation's site into site/html: `site.sh [build | serve [PORT] | test]`; the last two build it first.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh
scripts/setup.sh site

python=$(jz_venv site)/bin/python
export JZ_ROOT JZ_DOC=$CARGO_TARGET_DIR/$CARGO_BUILD_TARGET/doc PYTHONDONTWRITEBYTECODE=1
"$python" scripts/site/stage.py site/pages
rm -rf site/html    # what was read is kept; a page that is gone must not stay
# a warning is an error: a link that leads nowhere, a page without a title or one that no other lists
"$python" -m sphinx -q -W --keep-going -b html -d site/doctrees site/pages site/html ||
  { rm -rf site/doctrees; exit 1; }    # what was read is kept: the next build would not warn again
if [ -e "$JZ_DOC/jarzynski/index.html" ]; then cp -r "$JZ_DOC" site/html/api; fi    # by `make doc`

case ${1:-build} in
  build) echo "$JZ_ROOT/site/html/index.html" ;;
  serve) exec "$python" -m http.server --bind 127.0.0.1 --directory site/html "${2:-8000}" ;;
  test)
    "$python" scripts/site/test_check.py
    "$python" scripts/site/check.py site/html
    "$python" scripts/site/browse.py site/html
    ;;
  *) echo "site.sh: unknown part $1: expected build, serve or test" >&2; exit 1 ;;
esac
