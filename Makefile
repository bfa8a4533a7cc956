# Every target but help and clean first makes .venv: the project and its locked dependencies.
# What a target takes is written behind it, all of it optional:
#
#   make report PROFILE=quick OUT=report DATASET=digits LANGUAGE=zh
#   make env PYTHON=/path/to/python3.12        the Python that .venv is made from
#   make lab ARGS=--no-browser                 ARGS end the command of test-slow, lab, bench, languages, results
#   make lock UPGRADE=1                        the newest of everything, not just what has to change

PROFILE ?= standard
OUT     ?= report
LANGUAGE :=
PYTHONS := python3 python python3.14 python3.13 python3.12 python3.11
BIN     := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY      := $(BIN)/python
INSTALL := $(PY) -m pip install --quiet --no-input --no-deps
LOCKED  := --require-hashes -r requirements.lock

# What the shell holds for other projects must not reach into this one.
unexport PYTHONPATH PYTHONHOME PIP_REQUIRE_VIRTUALENV PIP_TARGET PIP_PREFIX PIP_CONSTRAINT
unexport UV_CONSTRAINT UV_OVERRIDE UV_EXCLUDE UV_EXCLUDE_NEWER UV_NO_VERIFY_HASHES UV_OFFLINE
unexport UV_PYTHON UV_SYSTEM_PYTHON UV_TARGET UV_PREFIX UV_PROJECT UV_WORKING_DIR
export PIP_USER := 0
export PIP_REQUIRE_HASHES := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# .venv/.locked is written last, and holds where .venv stands and which Python made it. A .venv that
# was cut short, moved, lost its Python, or came from another than PYTHON now names is made anew; a
# link to an environment elsewhere is let go of, for to clear it would empty that one.
STALE := $(shell { read -r folder && read -r python; } 2>/dev/null <.venv/.locked && [ -x $(PY) ] \
	&& [ "$$folder" = "$$(pwd -P)" ] && [ "$$python" = "$(or $(PYTHON),$$python)" ] || echo stale)

# uv, which the lock pins as well, installs the rest of it in a tenth of pip's time. It does not read
# pip's settings, so that where to find packages is handed on to it; of several indexes, any may hold
# the file that has the hash. As pip does, it compiles what it installs: where Python is told to keep
# no bytecode, every process would do that for itself. Whatever keeps uv from it, pip alone installs
# everything.
PIP_TO_UV := sort -r | sed -n -e 's/\\n/ /g' \
  -e 's/^[^=]*[.]index-url=/export UV_DEFAULT_INDEX=/' \
  -e 's/^[^=]*[.]extra-index-url=/export UV_INDEX=/' \
  -e 's/^[^=]*[.]find-links=/export UV_FIND_LINKS=/' \
  -e 's/^[^=]*[.]cert=/export SSL_CERT_FILE=/' \
  -e 's/^[^=]*[.]proxy=/export ALL_PROXY=/' \
  -e "/^export [A-Z_]*='[^']*'$$/p"
define WITH_UV
awk '/^uv==/,!/\\$$/' requirements.lock >.venv/uv.lock \
  && $(INSTALL) --only-binary :all: --require-hashes -r .venv/uv.lock \
  && eval "$$($(PY) -m pip config list | $(PIP_TO_UV))" \
  && UV_INDEX_STRATEGY=unsafe-best-match $(PY) -m uv pip install --quiet --compile-bytecode --python $(PY) --no-deps $(LOCKED)
endef

.PHONY: help env report test test-slow lab notebooks bench languages results lock clean stale

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

env: .venv/.installed  ## .venv with the project and its locked dependencies

.venv/.locked: requirements.lock $(STALE)
	@old=; for python in $(if $(PYTHON),"$(PYTHON)",$(PYTHONS)); do \
	  version=$$("$$python" -V 2>&1) || { python=; continue; }; \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' && break; \
	  old=$${old:-$$python is $$version}; python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Python 3.11 or newer is needed, and $${old:-$(or $(PYTHON),python3) is missing}:" \
	    "install one, or name it, as in make PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  package=$$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	  echo "$$python lacks the module venv: install the package $$package (its name on Debian and" \
	    "Ubuntu), then run make again" >&2; exit 1; \
	fi; \
	echo "Making .venv from requirements.lock with $$version; this takes half a minute." >&2; \
	[ ! -L .venv ] || rm .venv; "$$python" -m venv --clear .venv || exit 1; \
	reason=$$({ $(WITH_UV); } 2>&1) || { \
	  echo "uv cannot be used here, so pip goes on, in some minutes:" $$reason >&2; \
	  $(INSTALL) $(LOCKED); \
	} && printf '%s\n' "$$(pwd -P)" "$$python" >$@

.venv/.installed: .venv/.locked pyproject.toml
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

report: env  ## compute the report and publish it: report/index.html
	$(PY) -m nnlib report --profile "$(PROFILE)" $(if $(DATASET),--dataset "$(DATASET)") --out "$(OUT)" \
	  $(if $(LANGUAGE),--language "$(LANGUAGE)")

test: env  ## linters, types, imports and all tests, the quick report among them: five minutes
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(PY) -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder

test-slow: env  ## the long proofs
	$(PY) -m pytest -m slow $(ARGS)

lab: env  ## open the notebooks in JupyterLab, its figures with a font for Chinese
	PYTHONSTARTUP="$${PYTHONSTARTUP:-$$PWD/nnlib/notebook/fonts.py}" $(PY) -m jupyterlab --FileContentsManager.preferred_dir=notebooks $(ARGS)

notebooks: env  ## execute the committed notebooks in place: notebooks/, figures/
	$(PY) -m experiments.refresh
	$(PY) -m experiments.refresh --language zh

bench: env  ## the benchmark table
	$(PY) -m nnlib bench $(ARGS)

languages: env  ## bring the catalogues of other languages up to date, and say what they lack
	$(PY) -m experiments.languages $(ARGS)

results: env  ## recompute every stored long run: data/results/, data/models/ (hours)
	$(PY) -m experiments $(ARGS)

lock: env  ## make requirements.lock from pyproject.toml, for every system
	$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-strip-extras $(if $(UPGRADE),--upgrade) --extra dev pyproject.toml \
	  -o requirements.lock

clean:  ## remove .venv, report/ and caches; data/ and runs/ stay
	rm -rf .venv report .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
	find nnlib tests experiments -name __pycache__ -exec rm -rf {} +
