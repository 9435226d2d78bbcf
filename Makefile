# The commands of the project. `make demo` and `make test` work on a fresh machine with Python 3.10+ and Node 20+.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUNDLE := attnwidget/widget/static/widget.js
PIP := $(BIN)/pip --quiet --disable-pip-version-check

.PHONY: demo build install check test test-python test-js test-browser hosts docs pictures bench sweep dist smoke clean help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

demo: $(VENV)/.installed-demo  ## open JupyterLab on the quickstart notebook, with a model that comes along
	$(BIN)/python scripts/demo.py

build: $(BUNDLE)  ## build the front end into the package

install: $(VENV)/.installed-dev  ## everything that development needs, in .venv and node_modules

check: $(VENV)/.installed-dev $(BUNDLE)  ## lint and types, Python and TypeScript
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	npm run --silent check

test: check test-js test-python test-browser  ## everything: lint, types, Python, TypeScript, browser

test-python: $(VENV)/.installed-dev $(VENV)/.packages $(VENV)/.ipywidgets7 $(BUNDLE)
	$(BIN)/pytest tests --ignore=tests/browser --ignore=tests/packages
	$(BIN)/pytest tests/packages
	PYTHONPATH="$(abspath $(VENV))/ipywidgets7" $(BIN)/pytest tests/widget

test-js: $(BUNDLE)
	npm test --silent
	npm run --silent size

test-browser: $(VENV)/.browser $(VENV)/.firefox $(VENV)/.ipywidgets7 $(BUNDLE)
	CHROMIUM_PATH="$$(cat $(VENV)/.browser)" IPYWIDGETS7_PATH="$(abspath $(VENV))/ipywidgets7" \
		$(BIN)/pytest tests/browser --ignore=tests/browser/test_firefox.py
	FIREFOX_PATH="$$(cat $(VENV)/.firefox)" PYTHONPATH="$(abspath $(VENV))/firefox" \
		$(BIN)/pytest tests/browser/test_firefox.py tests/browser/test_hosts_table.py

docs: $(VENV)/.installed-dev $(BUNDLE)  ## build the site with its live gallery, into build/docs
	$(BIN)/sphinx-build -q -W --keep-going -n docs build/docs

hosts: $(VENV)/.browser $(VENV)/.firefox $(VENV)/.ipywidgets7 $(BUNDLE)  ## run the tests of all notebook hosts; writes README's table of them
	rm -f test-results/hosts.json
	CHROMIUM_PATH="$$(cat $(VENV)/.browser)" IPYWIDGETS7_PATH="$(abspath $(VENV))/ipywidgets7" \
		$(BIN)/pytest tests/browser -m host --ignore=tests/browser/test_firefox.py --deselect tests/browser/test_hosts_table.py
	FIREFOX_PATH="$$(cat $(VENV)/.firefox)" PYTHONPATH="$(abspath $(VENV))/firefox" $(BIN)/pytest tests/browser/test_firefox.py
	$(BIN)/python scripts/hosts.py

pictures: $(VENV)/.browser $(BUNDLE)  ## take the pictures of README and gallery again
	CHROMIUM_PATH="$$(cat $(VENV)/.browser)" $(BIN)/python scripts/pictures.py

bench: $(VENV)/.browser $(BUNDLE)  ## measure: capture against plain and eager, long contexts, measures, and the view in a browser
	$(BIN)/python benchmarks/capture.py
	$(BIN)/python benchmarks/long_context.py
	$(BIN)/python benchmarks/measures.py
	CHROMIUM_PATH="$$(cat $(VENV)/.browser)" $(BIN)/python benchmarks/view.py
	CHROMIUM_PATH="$$(cat $(VENV)/.browser)" $(BIN)/python benchmarks/long_view.py

sweep: $(VENV)/.installed-dev $(VENV)/.packages  ## every architecture of transformers against its own eager attention; writes docs/architectures.md
	OMP_NUM_THREADS=1 PYTHONPATH=tests:. $(BIN)/python -m sweep --docs docs/architectures.md

dist: $(VENV)/.installed-build $(BUNDLE)  ## build sdist and wheel into dist/, and check what is in them
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python scripts/check_release.py dist

smoke:  ## install the wheel in dist/ into an environment of its own, and use it there without Node
	rm -rf build/smoke
	$(PYTHON) -m venv build/smoke
	build/smoke/bin/pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	build/smoke/bin/pip install --quiet --disable-pip-version-check dist/*.whl
	env -i HOME="$$HOME" PATH=build/smoke/bin build/smoke/bin/python scripts/smoke.py

clean:  ## remove what was built and installed here
	rm -rf $(VENV) node_modules attnwidget/widget/static dist build test-results

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "attnwidget needs Python 3.10 or newer; call make with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

node_modules/.package-lock.json: package.json package-lock.json
	npm ci --silent --no-audit --no-fund
	@touch $@

$(BUNDLE): $(shell find js/src js/scripts -type f 2>/dev/null) package.json node_modules/.package-lock.json
	npm run --silent build
	@touch $@

# The package is installed in place; the bundle is built first, so that installing it has nothing left to build.
$(VENV)/.installed-demo: $(VENV)/bin/python $(BUNDLE) pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e ".[demo]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python $(BUNDLE) pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/.installed-demo

$(VENV)/.installed-build: $(VENV)/bin/python constraints.txt
	$(PIP) install -c constraints.txt build
	@touch $@

# Apart from the rest, and without what they would bring along. torchvision's build for the registry does not import
# beside a CPU build of torch without help (tests/packages/conftest.py), and transformers would import it wherever it
# finds it. What compat is compared with: BertViz, and TransformerLens with the least that it imports.
$(VENV)/.packages: $(VENV)/.installed-dev
	rm -rf $(VENV)/packages
	$(PIP) install -c constraints.txt --no-deps --target $(VENV)/packages torchvision timm bertviz \
		transformer-lens datasets dill jaxtyping multiprocess pyarrow wadler-lindig xxhash
	@touch $@

$(VENV)/.browser: $(VENV)/.installed-dev scripts/install_browser.py
	$(BIN)/python scripts/install_browser.py chromium $@

# With a Playwright of its own: from 1.65 on it sends Firefox a command that Debian's firefox-esr, 153, does not know, and
# before 1.65 it keeps Chromium from freeing views that are gone.
$(VENV)/.firefox: $(VENV)/.installed-dev scripts/install_browser.py
	$(PIP) install --upgrade --target $(VENV)/firefox playwright==1.64.0
	PYTHONPATH="$(abspath $(VENV))/firefox" $(BIN)/python scripts/install_browser.py firefox $@

# As in Colab, apart: found before the one of .venv where PYTHONPATH names it.
$(VENV)/.ipywidgets7: $(VENV)/.installed-dev
	$(PIP) install --upgrade --no-deps --target $(VENV)/ipywidgets7 ipywidgets==7.7.1 ipython_genutils==0.2.0
	@touch $@
