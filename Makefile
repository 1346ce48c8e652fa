# The commands of this project; every recipe takes its settings from scripts/env.sh and first sets up what is missing.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

READY := scripts/setup.sh build; . scripts/env.sh
# builds the program and says where it is; the experiments are those that it lists
PROGRAM := $(READY); cargo build --quiet -p jarzynski-experiments; jarzynski=$$CARGO_TARGET_DIR/$$CARGO_BUILD_TARGET/debug/jarzynski
NAMES = $(patsubst notebooks/%.ipynb,%,$(wildcard notebooks/*.ipynb))

.PHONY: help setup doctor install uninstall quick package figures test test-ignored check bench bench-peers interop notebooks lab site site-serve site-test doc datasets mnist clean clean-cache

help: ## this list
	@grep -hE '^[a-zA-Z%-]+:.*## ' Makefile | sed -E 's/:.*## /\t/; s/%/NAME/' | awk -F'\t' '{ printf "  make %-15s %s\n", $$1, $$2 }'
	@echo "  Options: ARGS='...' is passed on (make figure-mixture ARGS='--seed 7'), CUDA=1 takes libtorch with CUDA."

doctor: ## say what this machine lacks, and how to mend it
	@bash scripts/doctor.sh

quick: figure-quick ## a first training: log Z with its error, in seconds

install: ## the program jarzynski and the notebooks' kernel for your account, below PREFIX=~/.local (KERNEL=0: without the kernel)
	@scripts/install.sh install

uninstall: ## remove what make install put there
	@scripts/install.sh uninstall

setup: ## install everything in the cache folder now: libtorch, the notebooks' kernel (CUDA=1: libtorch with CUDA)
	@scripts/setup.sh notebooks

figures: ## the main job: run the experiments, the shortest first, write figures and tables to results/
	@$(PROGRAM); plan=$$($$jarzynski list plan); count=$$(wc -l <<< "$$plan"); left=$$(awk '{ s += $$2 } END { print s }' <<< "$$plan"); n=0; \
	in_words() { if [ $$1 -lt 100 ]; then echo "$$1 s"; else echo "$$((($$1 + 30) / 60)) min"; fi; }; \
	while read -r name seconds <&3; do \
		n=$$((n + 1)); printf '\n[%d of %d] %s takes about %s; all that is left about %s. See results/index.html.\n' $$n $$count $$name "$$(in_words $$seconds)" "$$(in_words $$left)"; \
		$(MAKE) --no-print-directory figure-$$name; left=$$((left - seconds)); \
	done 3<<< "$$plan"; \
	printf '\nAll figures, tables and numbers: results/index.html\n'

mnist:
	@python3 scripts/datasets.py mnist

figure-%: ## one experiment: ula-bias, mixture, digits, divergences, mnist, flow-exact, ...
	@$(PROGRAM); \
	for set in $$($$jarzynski list data | sed -n 's/^$* //p'); do python3 scripts/datasets.py $$set; done; \
	$$jarzynski $* $(ARGS)

test: ## all tests
	@$(READY); jz_test $(ARGS)

test-ignored: ## the tests that need what not every machine has: a GPU, R, pandas, MNIST, a minute
	@$(READY); jz_test $(ARGS) -- --ignored

check: ## formatting, clippy and documentation without warnings
	@$(READY)
	cargo fmt --all --check
	@. scripts/env.sh; set -x; cargo clippy --workspace --all-targets -- -D warnings
	@. scripts/env.sh; set -x; RUSTDOCFLAGS='-D warnings' cargo doc --workspace --lib --no-deps

bench: ## benchmarks, as ratios measured in one run
	@$(READY); cargo bench --profile dev --bench '*' $(ARGS)

bench-peers: ## RBMs against rbms and scikit-learn, in an environment of their own (downloads torch)
	@$(READY); python3 benches/peers.py $(ARGS)

interop: ## tables, checkpoints and walkers opened in pandas, polars, DuckDB and ArviZ, in an environment of their own
	@$(READY); home=$$JZ_CACHE/python-interop; \
	[ -e $$home/ready ] || { for python in python3.14 python3.13 python3.12 python3; do $$python -c '' 2> /dev/null && break; done; \
		$$python -m venv --clear $$home; $$home/bin/pip install -q pandas pyarrow polars duckdb arviz safetensors; touch $$home/ready; }; \
	JZ_CACHE=$$JZ_CACHE cargo test --test interop $$(Rscript -e 'library(nanoparquet)' > /dev/null 2>&1 || Rscript -e 'library(arrow)' > /dev/null 2>&1 || echo python) -- --ignored --nocapture

notebooks: ## execute all notebooks in place with the real kernel
	@scripts/notebooks.sh

notebook-%: ## execute one notebook in place
	@scripts/notebooks.sh $*

lab: ## JupyterLab with the Rust kernel, in notebooks/
	@scripts/lab.sh $(ARGS)

site: ## the documentation as web pages, in site/html; prints where it is
	@scripts/site.sh build

site-serve: ## builds the site and serves it on port 8000 of this machine (ARGS=8080: another port)
	@scripts/site.sh serve $(ARGS)

site-test: ## builds the site and tests it: links, titles, alternative texts, every page in headless Chromium
	@scripts/site.sh test

package: ## what would be published, and docs.rs's own build: documentation without libtorch
	@scripts/package.sh

doc: ## the library's documentation; prints where it is
	@$(READY); cargo doc --no-deps && echo "$$CARGO_TARGET_DIR/$$CARGO_BUILD_TARGET/doc/jarzynski/index.html"

datasets: ## get MNIST and Fashion-MNIST, checksummed
	@python3 scripts/datasets.py $(ARGS)

clean: ## remove results/, site/ and this crate's own build; the cache stays
	@. scripts/env.sh; cargo clean --quiet -p jarzynski -p jarzynski-experiments; rm -rf results site target notebooks/.ipynb_checkpoints

clean-cache: ## remove all that setup and the builds put in the cache folder
	@. scripts/env.sh; cd "$$JZ_CACHE" 2> /dev/null || exit 0; \
	rm -rf libtorch-* build-rust* evcxr-* rust-src-* python* jupyter datasets logs; \
	cd ..; rmdir "$$JZ_CACHE" 2> /dev/null && echo "removed $$JZ_CACHE" || echo "emptied $$JZ_CACHE of what is ours"
