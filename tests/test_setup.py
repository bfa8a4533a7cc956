"""The set-up: one list of dependencies, one lock made from it, and a Makefile that installs it."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import venv
import zipfile
from itertools import product
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import nnlib
from nnlib.sources import DATASETS, FILES

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
TARGETS = ["env", "report", "test", "test-slow", "lab", "notebooks", "bench", "languages",
           "results", "lock", "clean", "help"]  # fmt: skip
COMMANDS = ["data", "train", "test", "predict", "export", "search", "report"]
PEERS = {"torch", "torchvision", "jax", "jaxlib", "flax", "tensorflow", "tensorflow-cpu", "keras"}
SYSTEMS = [
    {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": platform,
        "platform_system": {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[platform],
        "os_name": "nt" if platform == "win32" else "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for python, platform in product(("3.11", "3.12", "3.13", "3.14"), ("linux", "darwin", "win32"))
]


def read_lock() -> list[tuple[Requirement, list[str]]]:
    """Return what the lock asks for, each with its hashes."""
    entries = []
    for entry in LOCK.replace("\\\n", " ").splitlines():
        requirement, *hashes = entry.split(" --hash=")
        entries.append((Requirement(requirement.strip()), [text.strip() for text in hashes]))
    return entries


def asked(*extras: str) -> list[Requirement]:
    """Return what pyproject.toml asks for with those extras, the extras that they name included."""
    lists = [PROJECT["dependencies"], *map(PROJECT["optional-dependencies"].get, extras)]
    wanted = [Requirement(text) for texts in lists for text in texts]
    nested = {extra for entry in wanted if entry.name == "nnlib" for extra in entry.extras}
    if not nested <= set(extras):
        return asked(*{*extras, *nested})
    return [entry for entry in wanted if entry.name != "nnlib"]


def locked_versions(system: dict[str, str]) -> dict[str, list[str]]:
    """Return the versions that the lock installs on a system, by name."""
    versions: dict[str, list[str]] = {}
    for requirement, _ in read_lock():
        if requirement.marker is None or requirement.marker.evaluate(system):
            version = str(requirement.specifier).removeprefix("==")
            versions.setdefault(canonicalize_name(requirement.name), []).append(version)
    return versions


# ---------------------------------------------------------------- the lock and pyproject.toml


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda s: f"{s['python_version']}-{s['os_name']}")
def test_lock_satisfies_every_dependency_on_every_system(system):
    versions = locked_versions(system)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
    for wanted in asked("dev"):
        if wanted.marker and not wanted.marker.evaluate(system):
            continue
        [version] = versions.get(canonicalize_name(wanted.name), ["0"])
        assert Version(version) in wanted.specifier, f"{wanted}: run `make lock`"


def test_extras_hold_what_the_core_does_without_and_all_of_them_are_locked():
    extras = PROJECT["optional-dependencies"]
    names = ("notebook", "search", "report", "sklearn", "postgres", "export")
    assert set(extras) == {*names, "all", "dev"}
    core = {entry.name for entry in asked()}
    for name in names:
        assert {Requirement(text).name for text in extras[name]}.isdisjoint(core)
        assert set(map(str, asked(name))) <= set(map(str, asked("all")))
    assert set(map(str, asked("all"))) < set(map(str, asked("dev")))


def test_build_backend_is_locked_since_the_project_is_built_without_isolation():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    for text in pyproject["build-system"]["requires"]:
        assert text in PROJECT["optional-dependencies"]["dev"]


def test_lock_holds_pinned_and_hashed_names_alone_and_so_names_no_host():
    name, version = r"[a-z0-9][a-z0-9._-]*(\[[a-z0-9,_-]+\])?", r"[0-9][a-z0-9.+!]*"
    entry = re.compile(name + "==" + version + r"( ; [\w .'<>=!()*-]+)? \\")
    hashed = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    lines = LOCK.splitlines()
    assert [line for line in lines if not (entry.fullmatch(line) or hashed.fullmatch(line))] == []
    assert all(hashes for _, hashes in read_lock())


def test_lock_names_the_extras_that_its_packages_ask_of_each_other():
    """An older pip takes the newest release, and has no hash for it, where they are left out."""
    extras = {canonicalize_name(entry.name): entry.extras for entry, _ in read_lock()}
    for name in locked_versions({}):
        for text in importlib.metadata.requires(name) or ():
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                assert wanted.extras <= extras[canonicalize_name(wanted.name)], f"{name}: {text}"


def test_benchmark_peers_stay_out_of_the_lock():
    names = {canonicalize_name(requirement.name) for requirement, _ in read_lock()}
    assert names & PEERS == set()


def test_this_environment_is_the_locked_one():
    here = locked_versions({})
    installed = {name: [importlib.metadata.version(name)] for name in here}
    assert installed == here


def test_pythons_agree():
    [floor] = SpecifierSet(PROJECT["requires-python"])
    assert floor.operator == ">="
    conda = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    assert f"python>={floor.version}" in conda["dependencies"]
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]
    assert ruff["target-version"] == f"py{floor.version.replace('.', '')}"
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mypy"]
    assert mypy["python_version"] == floor.version
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert f"sys.version_info < ({floor.version.replace('.', ', ')})" in makefile
    assert f"--python-version {floor.version} " in makefile
    assert f"Python {floor.version} or newer" in (ROOT / "README.md").read_text("utf-8")


def test_environment_yml_is_no_second_list_of_versions():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    assert conda["name"] == "nnlib"
    assert [re.split(r"[<>=! ]", line)[0] for line in conda["dependencies"]] == [
        "python", "make", "pip"]  # fmt: skip


def test_version_stands_in_two_places_that_agree():
    assert PROJECT["version"] == nnlib.__version__ == importlib.metadata.version("nnlib")


# ---------------------------------------------------------------- commands and papers


def test_console_script_and_module_are_the_same_command():
    script = Path(sys.executable).parent / "nnlib"
    answers = [
        subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
        for command in ([script], [sys.executable, "-m", "nnlib"])
    ]
    assert answers[0] == answers[1]
    for command in COMMANDS:
        assert re.search(rf"^\s+{command}\s", answers[0], re.MULTILINE), command


def test_readme_names_every_notebook_and_every_file_it_links_to_exists():
    readme = (ROOT / "README.md").read_text("utf-8")
    for notebook in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        assert f"notebooks/{notebook.name}" in readme
    both = readme + (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", both)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_data_readme_gives_the_sums_that_are_checked():
    text = (ROOT / "data" / "README.md").read_text("utf-8")
    stated = dict(re.findall(r"^\| (\S+)\.gz \| ([0-9a-f]{64}) \|$", text, re.MULTILINE))
    assert stated == {
        f"{name}/{file}": digest
        for name, known in DATASETS.items()
        for file, digest in zip(
            [known.archive.removesuffix(".gz")] if known.archive else FILES,
            known.sums,
            strict=False,  # digits has none
        )
    }


def test_containers_and_binder_come_from_the_lock():
    """They name a Python and a command, and no package."""
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    assert container["postCreateCommand"] == "make env"
    script = ROOT / "binder" / "postBuild"
    assert script.stat().st_mode & 0o111 == 0o111
    assert "--require-hashes -r requirements.lock" in script.read_text("utf-8")
    [floor] = SpecifierSet(PROJECT["requires-python"])
    for text in (container["image"], (ROOT / "binder" / "runtime.txt").read_text("utf-8")):
        assert Version(re.search(r"3\.\d+", text)[0]) >= Version(floor.version)
    assert sorted(p.name for p in (ROOT / "binder").iterdir()) == ["postBuild", "runtime.txt"]


def test_the_citation_has_the_version_and_what_its_schema_wants():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


# ---------------------------------------------------------------- the Makefile
#
# Installing takes a while, so these let `make` call a Python that writes down what it is asked to
# install; `test_fresh_copy_sets_itself_up`, behind the slow marker, does it in earnest.

RECORDER = """#!/bin/sh
PATH=/usr/bin:/bin
case "$*" in
  -V) echo Python 3.12.1 ;;
  -c*) ;;
  "-m venv --clear .venv") rm -rf .venv/* .venv/.[!.]*; mkdir -p .venv/bin
    for name in python lint-imports; do cp "$0" .venv/bin/$name; done ;;
  *config*) printf '%s\\n' "$PIP_SAYS" ;;
esac
case "$0" in *lint-imports) set -- -m lint-imports "$@" ;; esac
case "$*" in -m*)
  echo "$*" >>"$LOG"
  echo "$PYTHONPATH$PYTHONHOME$PIP_TARGET$UV_TARGET$UV_NO_VERIFY_HASHES" >>"$LOG.env" ;;
esac
case "$*" in "-m uv"*) env | grep ^UV_ | LC_ALL=C sort >"$LOG.uv" ;; esac
case "$*" in *"$FAIL_AT"*) echo "no luck" >&2; exit 1 ;; esac
"""
PIP = "-m pip install --quiet --no-input --no-deps"
WITH_PIP = f"{PIP} --require-hashes -r requirements.lock"
LOCKED = ["-m venv --clear .venv",
          f"{PIP} --only-binary :all: --require-hashes -r .venv/uv.lock",
          "-m pip config list",
          "-m uv pip install --quiet --compile-bytecode --python .venv/bin/python --no-deps "
          "--require-hashes -r requirements.lock"]  # fmt: skip
INSTALLED = [f"{PIP} --no-build-isolation --editable ."]


class Make:
    """A copy of the Makefile in a folder of its own, with only the given Pythons on PATH."""

    def __init__(self, folder: Path):
        self.folder = folder / "a project"
        self.bin = folder / "bin"
        self.log = folder / "log"
        self.environment = {"LOG": str(self.log), "FAIL_AT": "nothing"}
        self.bin.mkdir()
        self.folder.mkdir()
        for name in ("Makefile", "pyproject.toml", "requirements.lock"):
            shutil.copy(ROOT / name, self.folder)
        for tool in ("touch", "rm", "awk", "sed", "sort"):
            (self.bin / tool).symlink_to(shutil.which(tool))

    def add_python(self, name: str, script: str = RECORDER) -> None:
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run make; `self.calls` then lists what it asked Python to run."""
        self.log.unlink(missing_ok=True)
        environment = {"PATH": str(self.bin), "HOME": str(self.folder), **self.environment}
        return subprocess.run([shutil.which("make"), *arguments], cwd=self.folder, text=True,
                              env=environment, capture_output=True)  # fmt: skip

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def touch(self, name: str) -> None:
        ahead = (self.folder / ".venv/.installed").stat().st_mtime + 2
        os.utime(self.folder / name, (ahead, ahead))


@pytest.fixture
def make(tmp_path):
    if shutil.which("make") is None or os.name == "nt":
        pytest.skip("needs make and a POSIX shell")
    return Make(tmp_path)


@pytest.fixture
def made(make):
    """A copy in which `make env` has been run."""
    make.add_python("python3")
    assert make("env").returncode == 0
    return make


def complaint(run: subprocess.CompletedProcess) -> str:
    """Return the one line that a failed `make` says beside its own."""
    assert run.returncode == 2
    [line] = [line for line in run.stderr.splitlines() if not line.startswith("make")]
    return line


def old(version: str) -> str:
    return f'#!/bin/sh\n[ "$1" = -V ] && echo Python {version} || exit 1\n'


def test_help_is_the_default_and_lists_every_target(make):
    run = make()
    assert [line.split()[1] for line in run.stdout.splitlines()] == ["help", *TARGETS[:-1]]
    assert not (make.folder / ".venv").exists()


def test_missing_python_gets_one_line(make):
    assert "python3 is missing" in complaint(make("test"))


def test_old_python_gets_one_line_that_names_it(make):
    make.add_python("python3", old("3.9.2"))
    line = complaint(make("report"))
    assert line.startswith("Python 3.11 or newer is needed, and python3 is Python 3.9.2: install")
    assert not (make.folder / ".venv").exists()


def test_python_asked_for_is_not_silently_replaced(make):
    make.add_python("python3")
    make.add_python("old python", old("3.10.1"))
    python = str(make.bin / "old python")
    assert f"{python} is Python 3.10.1" in complaint(make("env", f"PYTHON={python}"))
    assert "nowhere is missing" in complaint(make("env", "PYTHON=nowhere"))


def test_missing_venv_gets_one_line_that_names_the_package(make):
    script = '#!/bin/sh\ncase "$*" in -V) echo Python 3.11.2 ;; *ensurepip*) exit 1 ;;'
    make.add_python("python3", f"{script} *-venv*) echo python3.11-venv ;; esac\n")
    line = complaint(make("env"))
    assert "python3 lacks the module venv: install the package python3.11-venv" in line


def test_newer_python_is_found_under_its_own_name(make):
    make.add_python("python3", old("3.9.2"))
    make.add_python("python3.12")
    assert make("env").returncode == 0
    assert make.calls == LOCKED + INSTALLED


def test_env_is_made_once_with_one_line_of_progress(make):
    make.add_python("python3")
    run = make("--jobs=4", "env", "bench", "test-slow")
    assert make.calls[:5] == LOCKED + INSTALLED
    assert sorted(make.calls[5:]) == ["-m nnlib bench", "-m pytest -m slow"]
    assert run.stderr == ("Making .venv from requirements.lock with Python 3.12.1; "
                          "this takes half a minute.\n")  # fmt: skip
    make("env")
    assert make.calls == []


def test_changed_project_is_installed_again_and_changed_lock_anew(made):
    made.touch("pyproject.toml")
    made("env")
    assert made.calls == INSTALLED
    made.touch("requirements.lock")
    made("env")
    assert made.calls == LOCKED + INSTALLED


def test_uv_comes_out_of_the_lock_with_its_hashes(made):
    entry = LOCK[LOCK.index("\nuv==") + 1 :]
    lines = (made.folder / ".venv/uv.lock").read_text().splitlines(keepends=True)
    assert entry.startswith("".join(lines))
    assert re.match(r"\S+==", entry[len("".join(lines)) :])  # the next package's
    assert len(lines) > 10


@pytest.mark.parametrize("step", [LOCKED[1], LOCKED[3]])
def test_pip_alone_is_the_way_out_where_uv_cannot_run(make, step):
    make.add_python("python3")
    make.environment["FAIL_AT"] = step
    run = make("env")
    assert run.returncode == 0
    assert make.calls == [*LOCKED[: LOCKED.index(step) + 1], WITH_PIP, *INSTALLED]
    assert run.stderr.splitlines()[1:] == [
        "uv cannot be used here, so pip goes on, in some minutes: no luck"
    ]


def test_where_pip_finds_packages_is_handed_on_to_uv(make):
    make.add_python("python3")
    make.environment["PIP_SAYS"] = "\n".join([
        ":env:.index-url='file:///mine/simple'", ":env:.no-input='1'",
        "global.extra-index-url='\\nfile:///a/simple\\nfile:///b/simple'",
        "global.find-links='/a folder'", "global.index-url='file:///ours/simple'",
        "global.constraint=\"it's\"", "global.timeout='60'; echo a trap",
    ])  # fmt: skip
    run = make("env")
    assert (run.returncode, len(run.stderr.splitlines())) == (0, 1)
    assert Path(f"{make.log}.uv").read_text().splitlines() == [
        "UV_DEFAULT_INDEX=file:///mine/simple", "UV_FIND_LINKS=/a folder",
        "UV_INDEX= file:///a/simple file:///b/simple", "UV_INDEX_STRATEGY=unsafe-best-match",
    ]  # fmt: skip


@pytest.mark.parametrize("step", [LOCKED[0], WITH_PIP, *INSTALLED])
def test_interrupted_set_up_is_repaired(make, step):
    make.add_python("python3")
    make.environment["FAIL_AT"] = step if step != WITH_PIP else "-r requirements.lock"  # uv too
    assert make("test").returncode == 2
    assert make.calls[-1] == step
    make.environment["FAIL_AT"] = "nothing"
    assert make("env").returncode == 0
    assert make.calls == (INSTALLED if [step] == INSTALLED else LOCKED + INSTALLED)


def test_moved_folder_lost_python_or_another_python_make_it_anew(made):
    made.folder = made.folder.rename(made.folder.with_name("moved"))
    made("env")
    assert made.calls == LOCKED + INSTALLED
    (made.folder / ".venv/bin/python").unlink()
    (made.folder / ".venv/bin/python").symlink_to("/gone/python")
    made("env")
    assert made.calls == LOCKED + INSTALLED
    made.add_python("python3.13")
    made("env", "PYTHON=python3.13")
    assert made.calls == LOCKED + INSTALLED
    made("env")
    assert made.calls == []


def test_an_environment_elsewhere_that_venv_leads_to_is_not_emptied(made):
    shared = (made.folder / ".venv").rename(made.folder.with_name("shared"))
    (made.folder / ".venv").symlink_to(shared)
    before = sorted(shared.rglob("*"))
    made.touch("requirements.lock")
    assert made("env").returncode == 0
    assert made.calls == LOCKED + INSTALLED
    assert sorted(shared.rglob("*")) == before
    assert not (made.folder / ".venv").is_symlink()


def test_what_the_shell_holds_for_other_projects_stays_out(make):
    make.add_python("python3")
    names = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "UV_TARGET", "UV_NO_VERIFY_HASHES")
    make.environment |= dict.fromkeys(names, "/other")
    assert make("env").returncode == 0
    assert set(Path(f"{make.log}.env").read_text()) == {"\n"}


def test_test_runs_linters_types_imports_and_tests(made):
    assert made("test").returncode == 0
    assert made.calls == ["-m ruff check .", "-m ruff format --check .", "-m mypy",
                          "-m lint-imports --no-cache --no-logo",
                          "-m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder",
                          ]  # fmt: skip


@pytest.mark.parametrize("step", ["ruff check", "ruff format", "mypy", "lint-imports", "pytest"])
def test_test_fails_with_each_of_its_steps(made, step):
    made.environment["FAIL_AT"] = step
    assert made("test").returncode == 2
    assert step in made.calls[-1]


def test_report_passes_its_settings_on(made):
    made("report")
    assert made.calls == ["-m nnlib report --profile standard --out report"]
    made("report", "PROFILE=quick", "OUT=my report", "DATASET=digits")
    assert made.calls == ["-m nnlib report --profile quick --dataset digits --out my report"]
    made("report", "LANGUAGE=zh")
    assert made.calls[-1].endswith("--out report --language zh")


def test_clean_keeps_data_and_runs(made):
    for name in ("runs/a", "data/mnist", "report", "nnlib/__pycache__", "tests", "experiments"):
        (made.folder / name).mkdir(parents=True)
    (made.bin / "find").symlink_to(shutil.which("find"))
    assert made("clean").returncode == 0
    left = {path.relative_to(made.folder).as_posix() for path in made.folder.glob("*")}
    assert {"runs", "data", "nnlib"} <= left
    assert left.isdisjoint({".venv", "report"})
    assert list((made.folder / "nnlib").iterdir()) == []


def test_ci_uses_the_data_beside_the_checkout(tmp_path):
    checkout = tmp_path / "a checkout"
    (checkout / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", checkout / ".ci")
    (tmp_path / "make").write_text('#!/bin/sh\necho "$* $NNLIB_DATA"\n')
    (tmp_path / "make").chmod(0o755)

    def run(**more: str) -> str:
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run([checkout / ".ci" / "run"], env={"PATH": path, **more}, text=True,
                              capture_output=True, check=True).stdout  # fmt: skip

    assert run() == "test \n"
    (tmp_path / "shared" / "data").mkdir(parents=True)
    assert run() == f"test {tmp_path}/shared/data\n"
    assert run(NNLIB_DATA="/mine") == "test /mine\n"


def fresh_copy(folder: Path) -> Path:
    """Copy what a commit of the project's folder as it stands would hold."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, capture_output=True, text=True, check=True)  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def bare_environment(home: Path) -> dict[str, str]:
    """Return the environment of a machine with nothing of the user's but where packages are."""
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_"))}
    return kept | {"PATH": os.environ["PATH"], "HOME": str(home)}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("by", ["uv", "pip"])
def test_fresh_copy_sets_itself_up(tmp_path, by):
    """The real installation, in a path with a space, an empty home and a shell full of traps."""
    copy, trap = fresh_copy(tmp_path / "a copy"), tmp_path / "trap"
    trap.mkdir()
    (trap / "json.py").write_text("raise RuntimeError('another project')")
    environment = bare_environment(tmp_path / "home")
    environment |= {"PYTHONPATH": str(trap), "PIP_REQUIRE_VIRTUALENV": "1"}
    if by == "pip":
        environment["UV_CONFIG_FILE"] = "/nowhere/uv.toml"
    start = time.monotonic()
    run = subprocess.run(["make", "env"], cwd=copy, env=environment, check=True, text=True,
                         stderr=subprocess.PIPE)  # fmt: skip
    python = copy / ".venv" / "bin" / "python"
    subprocess.run([copy / ".venv" / "bin" / "nnlib", "--help"], check=True, cwd=tmp_path)
    assert ("so pip goes on" in run.stderr) == (by == "pip")
    assert by == "pip" or time.monotonic() - start < 40
    where = "import nnlib, os; print(os.path.dirname(nnlib.__file__))"
    found = subprocess.run([python, "-c", where], cwd=tmp_path, capture_output=True, text=True)
    assert found.stdout.strip() == str(copy / "nnlib")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_wheel_brings_the_core_and_the_command_names_what_is_missing(tmp_path, own_folder):
    """Built, installed and used where no checkout is in sight."""
    copy, environment = fresh_copy(tmp_path / "copy"), bare_environment(tmp_path / "home")
    venv.create(tmp_path / "venv", with_pip=True)
    bin_, run = tmp_path / "venv" / "bin", tmp_path / "run"

    def do(*words: object, status: int = 0) -> subprocess.CompletedProcess:
        done = subprocess.run(list(map(str, words)), cwd=tmp_path, env=environment, text=True,
                              capture_output=True)  # fmt: skip
        assert done.returncode == status, done.stderr
        return done

    do(sys.executable, "-m", "uv", "build", "--no-build-isolation", "--out-dir", "dist", copy)
    [wheel], [_] = (tmp_path / "dist").glob("*.whl"), (tmp_path / "dist").glob("*.tar.gz")
    ours = {p.relative_to(copy).as_posix() for p in (copy / "nnlib").rglob("*") if p.is_file()}
    assert ours == {name for name in zipfile.ZipFile(wheel).namelist() if name[:6] == "nnlib/"}
    assert wheel.stat().st_size < 5e6  # of which the hanzi are 3
    shutil.rmtree(copy)
    hashless = re.sub(r" \\\n.*?--hash=\S+|\[.*\]", "", LOCK)  # constraints take neither
    (tmp_path / "constraints").write_text(hashless)
    install = bin_ / "python", "-m", "pip", "install", "--constraint", tmp_path / "constraints"
    do(*install, wheel)
    names = {canonicalize_name(entry["name"]) for entry in json.loads(
        do(bin_ / "python", "-m", "pip", "list", "--format=json").stdout)}  # fmt: skip
    assert {"numpy", "scipy", "safetensors", "threadpoolctl", "nnlib"} <= names
    assert names.isdisjoint({"matplotlib", "pandas", "optuna", "distributed", "jupyterlab"})
    do(bin_ / "nnlib", "train", "--dataset", own_folder, "--epochs", 3, "--out", run)
    assert json.loads(do(bin_ / "nnlib", "test", run, "--json").stdout)["n"] == 100
    do(bin_ / "nnlib", "export", run, "--to", "c")
    for verb, words, extra in (
        ("search", ["--dataset", own_folder, "--trials", 2], "search"),
        ("train", ["--dataset", "digits"], "notebook"),
        ("export", [run, "--to", "onnx"], "export"),
        ("report", [], "report"),
    ):
        missing = do(bin_ / "nnlib", verb, *words, status=1).stderr
        assert missing.endswith(f'pip install "nnlib[{extra}]"\n')
        assert missing.count("\n") == 1
    assert "run this in a checkout" in do(bin_ / "nnlib", "bench", status=2).stderr
    do(*install, "scikit-learn")
    do(bin_ / "nnlib", "train", "--dataset", "digits", "--epochs", 1, "--out", tmp_path / "digits")
