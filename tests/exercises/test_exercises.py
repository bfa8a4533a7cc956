"""The exercises: solutions pass, what stands there at first does not, each mistake has its hint.

The cells are those of the committed notebooks, so that exercises and tests cannot drift apart.
"""

import functools
import re
import symtable
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from conftest import needs_official, striped
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import CapturedIO, capture_output
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from nnlib import Split, exercises, layers, losses
from nnlib.exercises import data, training, verdicts
from nnlib.network import MLP
from nnlib.report.document import Document
from nnlib.report.execute import quick_values
from nnlib.report.exporter import tags_of
from nnlib.report.page import Page

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / "notebooks").glob("0[1-6]_*.ipynb"))
KINDS = {words: kind for kind, (_, words) in verdicts.LOOKS.items()}

every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


# ---------------------------------------------------------------- as they stand in the notebooks


@dataclass
class Exercise:
    """An exercise: its number, text and cells, in the order of the notebook."""

    number: str
    text: str
    before: list[NotebookNode] = field(default_factory=list)
    answer: list[NotebookNode] = field(default_factory=list)
    solution: list[NotebookNode] = field(default_factory=list)


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def section(nb: NotebookNode) -> list[NotebookNode]:
    """The cells from the heading of the exercises up to that of the summary."""
    heads = [c.source.split("\n")[0] if c.cell_type == "markdown" else "" for c in nb.cells]
    return nb.cells[heads.index("## Exercises") : heads.index("## Summary")]


def exercises_of(nb: NotebookNode) -> list[Exercise]:
    found: list[Exercise] = []
    for cell in section(nb)[1:]:
        if head := re.match(r"### Exercise (\d\.\d): \S", cell.source):
            found.append(Exercise(head[1], cell.source))
            continue
        tags = tags_of(cell)
        kind = "solution" if "solution" in tags else "answer" if "exercise" in tags else "before"
        getattr(found[-1], kind).append(cell)
    return found


def checks_in(cells: list[NotebookNode]) -> list[str]:
    return [name for cell in cells for name in re.findall(r"exercises\.(check_\w+)\(", cell.source)]


@every_notebook
def test_each_notebook_ends_with_exercises(path: Path):
    found = exercises_of(read(path))
    assert [e.number for e in found] == [f"{int(path.stem[:2])}.{i + 1}" for i in range(len(found))]
    assert 2 <= len(found) <= 4
    for exercise in found:
        assert len(exercise.text.split()) > 40, exercise.number
        assert len(exercise.answer) == 1, exercise.number
        assert [cell.cell_type for cell in exercise.solution] == ["markdown", "code"]
        assert checks_in(exercise.answer) == checks_in(exercise.solution[1:])
        assert not checks_in(exercise.before)


def test_every_check_has_its_exercise():
    used = {name for path in PATHS for name in checks_in(section(read(path)))}
    assert used == {name for name in vars(exercises) if name.startswith("check_")}


@every_notebook
def test_solutions_are_folded_and_their_first_line_tells_nothing(path: Path):
    for exercise in exercises_of(read(path)):
        why, code = exercise.solution
        assert why.metadata["jupyter"] == {"source_hidden": True}
        assert code.metadata["jupyter"] == {"source_hidden": True, "outputs_hidden": True}
        assert why.source.startswith(f"<!-- Solution {exercise.number}: ")  # Lab shows this line
        assert code.source.startswith(f"# Solution {exercise.number}: the code\n")


@every_notebook
def test_cells_are_short(path: Path):
    for cell in section(read(path)):
        lines = cell.source.splitlines()
        if cell.cell_type == "code":
            assert len(lines) <= 15, cell.id
            assert max(map(len, lines)) <= 88, cell.id


def bound(source: str) -> set[str]:
    """The names that a cell gives a meaning in the notebook."""
    symbols = symtable.symtable(source, "cell", "exec").get_symbols()
    return {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()} - {"_"}


def used(source: str) -> set[str]:
    """The names of the notebook that a cell reads, in its functions too."""

    def read_in(table: symtable.SymbolTable) -> Iterator[str]:
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (top or symbol.is_global()):
                yield symbol.get_name()
        for inner in table.get_children():
            yield from read_in(inner)

    return set(read_in(symtable.symtable(source, "cell", "exec")))


@every_notebook
def test_exercises_leave_the_notebooks_own_names_alone(path: Path):
    nb = read(path)
    mine = {cell.id for cell in section(nb)}
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    own = set().union(*(bound(c.source) | used(c.source) for c in code if c.id not in mine))
    taken = set().union(*(bound(c.source) for c in code if c.id in mine))
    assert not taken & own


# ---------------------------------------------------------------- run


def needed(nb: NotebookNode) -> list[NotebookNode]:
    """The code cells that the exercises rest on, and the exercises: found backwards by name."""
    mine, wanted, kept = {cell.id for cell in section(nb)}, set(), []
    for cell in reversed([cell for cell in nb.cells if cell.cell_type == "code"]):
        given = bound(cell.source)
        if cell.id in mine or given & wanted or "parameters" in tags_of(cell):
            wanted = (wanted - given) | used(cell.source)
            kept.append(cell)
    return kept[::-1]


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """What runs a notebook's cells, in this process."""
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def run(path: Path, dataset: str, shell: InteractiveShell) -> dict[str, CapturedIO]:
    """What the exercises' cells show by id, in a run with the quick profile."""
    nb, shown = read(path), {}
    for cell in needed(nb):
        with capture_output() as shown[cell.id]:
            shell.run_cell(cell.source).raise_error()
        if "parameters" in tags_of(cell):
            shell.push(quick_values(nb) | {"dataset": dataset})
    return shown


def verdicts_of(shown: CapturedIO) -> Iterator[str]:
    assert not shown.stdout
    for output in shown.outputs:
        text = output.data.get("text/markdown", "")
        if found := re.match(r'<div class="alert alert-\w+">\n\n\*\*(.+?)\*\* \S', text):
            yield KINDS[found[1]]


@pytest.mark.parametrize(
    "dataset",
    [
        "digits",
        "own",
        pytest.param("mnist", marks=[pytest.mark.slow, needs_official]),
        pytest.param("fashion-mnist", marks=[pytest.mark.slow, needs_official]),
    ],
)
@every_notebook
def test_solutions_pass_and_first_forms_do_not(
    path: Path, dataset: str, tmp_path: Path, own_folder: Path, shell: InteractiveShell, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shown = run(path, str(own_folder) if dataset == "own" else dataset, shell)
    for exercise in exercises_of(read(path)):
        (answer,), solution = exercise.answer, exercise.solution[-1]
        first = list(verdicts_of(shown[answer.id]))
        assert first == ["open" if "None" in answer.source else "wrong"], exercise.number
        told = [str(output.data) for output in shown[solution.id].outputs]
        assert list(verdicts_of(shown[solution.id])) == ["right"], (exercise.number, told)


# ---------------------------------------------------------------- each mistake has its hint


@functools.cache
def solution(number: str) -> str:
    """The code of a solution, from the notebook, without the call of its check."""
    path = next(p for p in PATHS if p.stem.startswith(f"0{number[0]}"))
    code = next(e.solution[-1] for e in exercises_of(read(path)) if e.number == number)
    return code.source.rpartition("exercises.check_")[0]


def made(source: str, *faults: tuple[str, str], **names: Any) -> Any:
    """What a cell defines last, with faults planted into it."""
    for right, wrong in faults:
        assert right in source, right
        source = source.replace(right, wrong)
    space = {"np": np, "losses": losses, "layers": layers} | names
    exec(source, space)
    return list(space.values())[-1]


def hint(verdict: verdicts.Verdict, part: str) -> None:
    assert verdict.kind == "wrong", verdict
    assert part in verdict.text, verdict.text


SOME = striped(20, 4, (6, 5), 1)
FAULTS = {  # what of a solution is replaced, by what, and a part of the hint
    "1.1": [
        ("return np.concatenate", "return 10_000 + np.concatenate", "between 0 and"),
        ("[: round(share * len(rows))]", "[round(share * len(rows)) :]", "rows to learn from"),
        ("rng.permutation(np.flatnonzero(y == k))", "np.flatnonzero(y == k)", "different seeds"),
        ("rng.permutation(np", "np.random.default_rng().permutation(np", "same seed"),
        ("round(share * len(rows))", "round(share * len(y))", "of each class"),
        ("(share * len(rows))] for", "(share * len(rows))].repeat(2) for", "more than once"),
    ],
    "2.2": [
        ("G /= len(y)", "pass", "**W2**: its data part is 6 times too large"),
        ("gW2 = A.T @ G + decay", "gW2 = A.T @ G + 2 * decay", "**W2**: the penalty counts twice"),
        ("gW2 = A.T @ G + decay * W2", "gW2 = A.T @ G", "**W2**: the penalty is missing"),
        ("gW2 = A.T @ G", "gW2 = -A.T @ G", "**W2**: its data part has the wrong sign"),
        ("gW2 = A.T @ G", "gW2 = G.T @ A", "**W2**: it is no multiple"),
        ("gb2 = G.sum", "gb2 = G.mean", "**b2**: it is 6 times too small"),
        ("G @ W2.T", "G @ W2", "**W1**: the gradient takes the wrong way"),
        ("A > 0", "A >= 0", "**W1**: units that are off"),
        ("G @ W2.T", "G @ W2", "A > 0", "A >= 0", "**W1**: the gradient takes the wrong way"),
        ("x.T @ G + decay", "x.T @ G + 3 * decay", "**W1**: the penalty adds 3 λ W"),
        ('"b1": G.sum(axis=0)', '"b1": G.mean(axis=0)', "**b1**: it is 6 times too small"),
        ("gb2 = G.sum(axis=0)", "gb2 = G.sum(axis=1)", "; b2 has (4,)"),
        ('"b2": gb2', '"B2": gb2', "W1, b1, W2 and b2"),
        ("G /= len(y)", "G /= 0 * len(y)", "not finite"),
        ("x.T @ G", "x @ G", "Your code stopped in line 10"),
    ],
    "3.3": [
        ("0.5 * peak", "peak", "2 times the peak"),
        ("(steps - 1 - warmup)", "(steps - warmup)", "how many lie between"),
        ("(step - warmup) / (steps - 1 - warmup)", "(step - warmup) / steps", "At the last step"),
        ("peak * step / warmup", "peak * (step + 1) / warmup", "the line begins at 0"),
        ("peak * step / warmup", "peak * (step / warmup) ** 2", "straight line"),
        ("(1 + np.cos(np.pi * way))", "2 * (1 - way)", "half a cosine"),
        ("return 0.5", "return np.array([1, 1]) * 0.5", "single number"),
    ],
    "5.1": [
        ('"W1": arrays["W1"][:, order],', '"W1": arrays["W1"],', "W1 is as it was"),
        ('arrays["W1"][:, order]', 'arrays["W1"][:, ::-1]', "not stand in the given order"),
        ('"b1": arrays["b1"][order],', "", "left behind"),
        ('"W2": arrays["W2"][order],', "", "what in W2 belongs"),
        ('arrays["W2"][order]', 'arrays["W2"][np.argsort(order)]', "inverse"),
        ('arrays["W2"][order]', 'arrays["W2"][::-1]', "W2 is not"),
        ("arrays | moved", "moved", "all of W1"),
        ("arrays | moved", "None", "Return a dictionary"),
    ],
    "5.2": [
        (
            "says * (listened[:, answer[row]] - listened[:, rival[row]])",
            "says",
            "what each unit says",
        ),
        ("says * (", "(", "how each unit is listened to"),
        (" - listened[:, rival[row]]", "", "the answer alone"),
        ("says * (", "-says * (", "other way round"),
        ("return says *", "return abs(says) * abs", "signs are gone"),
        ("hidden(x[[row]])[-1]", "hidden(x[[row]])[0]", "Your code stopped"),
        ("hidden(x[[row]])[-1]", "hidden(x[[row + 1]])[-1]", "They add up to"),
        (
            "return says * (listened[:, answer[row]] - listened[:, rival[row]])",
            "return 1.0",
            "8 numb",
        ),
    ],
}


@pytest.fixture(scope="module")
def net() -> MLP:
    model, rng = MLP([30, 12, 8, 4], seed=2), np.random.default_rng(1)
    for name in ("b1", "b2", "b3"):
        model.parameters[name] += rng.normal(0, 0.3, model.parameters[name].shape)
    return model


@pytest.mark.parametrize(
    ("number", "fault"), [(number, fault) for number in FAULTS for fault in FAULTS[number]]
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_fault_in_a_solution(number: str, fault: tuple[str, ...], net: MLP):
    check, *inputs = {
        "1.1": (exercises.check_stratified, striped(600, 4, (6, 5), 1).y),
        "2.2": (exercises.check_backward,),
        "3.3": (exercises.check_schedule, 50, 5, 0.1),
        "5.1": (exercises.check_permutation, net, SOME.x),
        "5.2": (exercises.check_contributions, net, SOME.x, *ranked(net)),
    }[number]
    *faults, part = fault
    answer, rival = ranked(net)
    names = {"after": net, "x": SOME.x, "answer": answer, "rival": rival, "hidden": (12, 8)}
    code = made(solution(number), *zip(faults[::2], faults[1::2], strict=True), **names)
    hint(check.judge(code, *inputs), part)


def ranked(net: MLP) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest class of each image, and the next."""
    order = np.argsort(-net.predict_proba(SOME.x), axis=1)
    return order[:, 0], order[:, 1]


def leak(pool: Split) -> tuple[str, np.ndarray]:
    """The letter of the split that leaks, and the rows."""
    suspects = data._suspects(pool, 4).items()
    return next((k, rows) for k, (_, _, kind, rows) in suspects if kind == data.KINDS[2])


def test_leak():
    pool = striped(1500, 4, (6, 5), 1)
    letter, copies = leak(pool)
    others = [other for other in "ABC" if other != letter]
    told = [exercises.check_leak.judge(other, copies, pool, 4) for other in others]
    assert sorted("within" in v.text or "twice" in v.text for v in told) == [False, True]
    for verdict in told:
        hint(verdict, "closer than")
    assert exercises.check_leak.judge(letter.lower(), list(copies), pool, 4).kind == "right"
    apart = np.isin(np.arange(100), copies)
    assert exercises.check_leak.judge(letter, apart, pool, 4).kind == "right"
    for rows, part in (
        (copies + 1, "from 0"),
        (copies[:-5], "copies are missing"),
        ([], "copies are missing"),
        (np.arange(100), "have no copy"),
        ([*copies, 900], "hold 900"),
        (copies / 2, "whole numbers"),
    ):
        hint(exercises.check_leak.judge(letter, rows, pool, 4), part)
    hint(exercises.check_leak.judge("D", copies, pool, 4), "one of A, B, C")


@pytest.mark.parametrize("in_colour", [False, True])
def test_splits_are_what_they_are_said_to_be(in_colour: bool):
    pool = striped(1500, 4, (6, 5), 1)
    if in_colour:
        pool = Split(np.stack([pool.images] * 3, axis=-1), pool.y)
    for letter, (learned, judged) in exercises.three_splits(pool, 4).items():
        apart = data.nearest_distance(judged, learned)
        near = np.flatnonzero(apart < 8)
        own = leak(pool)
        assert np.array_equal(near, own[1] if letter == own[0] else [])
        assert (
            not (judged.images[:, None] == learned.images)
            .reshape(*apart.shape, len(learned), -1)
            .all(axis=2)
            .any()
        )


def test_zero_start(batch: tuple[np.ndarray, np.ndarray]):
    for names, part in (
        (["W1", "b1", "W2", "b2"], "what are the activations"),
        (["b2", "W2"], "what are the activations"),
        (["b1", "b2"], "come back through W2"),
        ([], "whom does it reach"),
        (["w1"], "is no parameter"),
        ("b1", "whom does it reach"),
    ):
        hint(exercises.check_zero_start.judge(names, [5, 4, 3], *batch), part)
    assert exercises.check_zero_start.judge(["b2"], [5, 4, 3], *batch).kind == "right"
    hint(exercises.check_zero_start.judge(["b1"], [5, 3], *batch), "without a hidden layer")
    assert exercises.check_zero_start.judge(["b1", "W1"], [5, 3], *batch).kind == "right"


def parabola(rate: float) -> list[float]:
    """Losses of gradient descent on x², whose steps are stable below a rate of 1."""
    return [(1 - 2 * rate) ** (2 * step) for step in range(20)]


def test_stable_rate():
    judge = exercises.check_stable_rate.judge
    assert judge(0.95, parabola).kind == judge(np.float32(1.1), parabola).kind == "right"
    hint(judge(2.0, parabola), "Too large: at 1.7, which is 15% less")
    hint(judge(0.5, parabola), "It may be larger: at 0.575")
    hint(judge(-1, parabola), "more than 0")
    hint(judge(1.0, lambda rate: [1.0, np.nan]), "for the first time in step 1")


def test_patients():
    ward = training._ward(3)
    assert exercises.check_patients.judge(ward, 3).kind == "right"
    for letter in ward:
        other = next(cause for cause in training.CAUSES if cause != ward[letter])
        verdict = exercises.check_patients.judge(ward | {letter: other}, 3)
        hint(verdict, f"5 of 6 are right. Patient {letter}: {training.CAUSES[ward[letter]]}")
        assert ward[letter] not in verdict.text
    hint(exercises.check_patients.judge({"A": "healthy"}, 3), "for each of A, B")
    hint(exercises.check_patients.judge(ward | {"A": "ill"}, 3), "not on the list")


def test_shares():
    setting = (0.001, 1.0), 0.01, 3
    uniform, log = (0.03 - 0.01 / 3) / 0.999, np.log(9) / np.log(1000)
    judge = exercises.check_shares.judge
    assert judge(uniform, log, *setting).kind == "right"
    for given, part in (
        ((log, uniform), "changed places"),
        ((100 * uniform, log), "uniform range: those are percent"),
        ((uniform, 100 * log), "log range: those are percent"),
        ((log, log), "other scale"),
        ((uniform, log / 2), "above the best alone"),
        ((uniform, 0.2), "log range it is more: length of the zone over length of the range, both "
         "as logarithms"),
        ((0.5, log), "uniform range it is less"),
    ):  # fmt: skip
        hint(judge(*given, *setting), part)
    uncut = np.log(9) / np.log(10)
    hint(judge(0.9, uncut, (0.1, 1.0), 0.9, 3), "uniform range")
    hint(judge((1 - 0.3) / 0.9, uncut, (0.1, 1.0), 0.9, 3), "outside")


def test_seeds():
    judge = exercises.check_seeds.judge  # sd 1, difference 0.5: 2 · (2 · 2)² = 32
    assert judge(32, 1.0, 0.5).kind == judge(33, 1.0, 0.5).kind == "right"
    assert judge(2, 0.0, 0.5).kind == judge(250, 2.0, 0.358).kind == "right"
    for answer, part in (
        (16, "one mean"),
        (6, "square root"),
        (8, "one standard error"),
        (100, "fewer"),
        (20, "more"),
        (1, "two at least"),
        (31.5, "rounded"),
    ):
        hint(judge(answer, 1.0, 0.5), part)
    hint(judge(11, 0.3, 0.25), "Rounded down")  # 11.52


def test_permutation_by_columns_and_backwards(net: MLP):
    square, judge = MLP([30, 8, 8, 4], seed=2), exercises.check_permutation.judge
    columns = made(solution("5.1"), ('arrays["W2"][order]', 'arrays["W2"][:, order]'))
    hint(judge(columns, square, SOME.x), "columns of W2")
    backwards = made(solution("5.1"), ("    moved", "    order = np.argsort(order)\n    moved"))
    assert judge(backwards, net, SOME.x).kind == "right"


def test_test_size():
    judge, n = exercises.check_test_size.judge, 1.96**2 * 0.9 * 0.1 / 0.005**2
    assert judge(n, 0.9, 0.005).kind == judge(14_000, 0.9, 0.005).kind == "right"
    for answer, part in ((4 * n, "either side"), (n / 1.96**2, "one standard deviation"),
                         (n / 1.96, "outside the square root"), (n**0.5, "and square"),
                         (n / 1e4, "in points"), (1.96**2 / 4 / 0.005**2, "how sure one is"),
                         (2 * n, "fewer"), (n / 3, "more"), (True, "single number")):  # fmt: skip
        hint(judge(answer, 0.9, 0.005), part)


@pytest.mark.parametrize("mistakes", [0, 400])
def test_rivals(mistakes: int):
    y = np.random.default_rng(1).integers(4, size=2000)
    answer = np.where(np.arange(2000) < mistakes, (y + 1) % 4, y)
    ours, made_up, tries = exercises.rivals(answer, y, 3)
    assert (ours != y).sum() == max(mistakes, 33)
    judge, real = exercises.check_rivals.judge, {}
    for letter, answers in made_up.items():
        assert (answers == y).sum() > (ours == y).sum()
        real[letter] = bool(exercises.results._mcnemar(answers, ours, y)[2] * tries[letter] < 0.05)
    assert sorted(real.values()) == [False, False, True]
    assert judge(real, ours, made_up, tries, y).kind == "right"
    for letter in real:
        parts = {True: "same images", False: "coin unfair"}
        part = "were thrown" if tries[letter] > 1 else parts[real[letter]]
        hint(judge(real | {letter: not real[letter]}, ours, made_up, tries, y), part)
    hint(judge([True], ours, made_up, tries, y), "True or False for each")


# ---------------------------------------------------------------- whatever the answer


def judged(check: str, answer: Any) -> verdicts.Verdict:
    """The verdict of a check on an answer given wherever one is asked for."""
    train, net = striped(400, 4, (6, 5), 1), MLP([30, 12, 4], seed=2)
    x, y = train.x, train.y
    more = {
        "check_stratified": (y,), "check_leak": (train, 0),
        "check_zero_start": ([30, 12, 4], x, y), "check_stable_rate": (parabola,),
        "check_patients": (0,), "check_schedule": (50, 5, 0.1),
        "check_shares": ((0.001, 1.0), 0.01, 3), "check_seeds": (1.0, 0.5),
         "check_permutation": (net, x),
        "check_contributions": (net, x, y, (y + 1) % 4),
        "check_test_size": (0.9, 0.005),
        "check_rivals": (*exercises.rivals(y, y, 0), y),
    }  # fmt: skip
    called = getattr(exercises, check)
    return called.judge(*[answer] * called.answers, *more.get(check, ()))


CHECKS = [name for name in vars(exercises) if name.startswith("check_")]


def stops(*_: Any) -> None:
    raise KeyError("nothing here")


@pytest.mark.parametrize("answer", [..., "a", "None", [], {}, np.nan, -1, 1e300, 3j, [[1], [2, 3]],
                                    np.zeros((2, 3)), stops, object, MLP])  # fmt: skip
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_answer_however_odd_is_right_or_a_traceback(check: str, answer: Any):
    verdict = judged(check, answer)
    assert verdict.kind == "wrong"
    assert len(verdict.text) > 20


@pytest.mark.parametrize("check", CHECKS)
def test_no_answer_is_no_mistake(check: str):
    verdict = judged(check, None)
    assert verdict.kind == "open"
    assert verdict.text[0].isupper()


def test_a_readers_code_that_stops_is_told_its_line():
    told = exercises.check_backward.judge(stops).text
    assert told.startswith("Your code stopped in line")
    assert "`raise KeyError(\"nothing here\")`, with `KeyError: 'nothing here'`" in told


def test_what_a_cell_shows(shell: InteractiveShell):
    with capture_output() as shown:
        shell.run_cell("from nnlib import exercises; exercises.check_seeds(1, 1.0, 0.5)")
    (output,) = shown.outputs
    assert output.data["text/markdown"].startswith(
        '<div class="alert alert-warning">\n\n**✗ Not yet.** A single run'
    )


# ---------------------------------------------------------------- exported


def small_notebook() -> NotebookNode:
    solution = {"tags": ["solution"]}
    box = '<div class="alert alert-success">\n\n**✓ Right.** It is `42`.\n\n</div>'
    shown = nbformat.v4.new_output("display_data", {"text/markdown": box, "text/plain": "x"})
    return new_notebook(cells=[
        new_markdown_cell("# A *small* one\n\nIs it?"),
        new_markdown_cell("## Exercises"),
        new_markdown_cell("### Exercise 2.1: the first"),
        new_code_cell("first = None", metadata={"tags": ["exercise"]}),
        new_markdown_cell("<!-- Solution 2.1 -->\n\nBecause it is.", metadata=solution),
        new_code_cell("first = 42", metadata=solution, outputs=[shown]),
        new_markdown_cell("### Exercise 2.2: the second"),
        new_code_cell("# second\nsecond = None", metadata={"tags": ["exercise"]}),
        new_code_cell("# the secret\nsecond = 43", metadata=solution),
        new_markdown_cell("## Summary"),
        new_code_cell("last = 1"),
    ])  # fmt: skip


def test_on_a_page_solutions_fold_and_exercises_are_there_to_be_read():
    html = Page().from_notebook_node(small_notebook())[0]
    page = BeautifulSoup(html, "html.parser")
    folds = page.select("details.solution")
    assert [fold.summary.get_text() for fold in folds] == ["Solution 2.1", "Solution 2.2"]
    assert not any(fold.has_attr("open") for fold in folds)
    code = {fold.code.get_text(): fold.has_attr("open") for fold in page.select("details.code")}
    assert code == {"first = None": True, "first = 42": True, "# second": True,
                    "# the secret": True, "last = 1": False}  # fmt: skip
    assert page.select_one(".solution .alert.alert-success strong").get_text() == "✓ Right."


def test_on_paper_solutions_stand_at_the_end_of_their_section(tmp_path: Path):
    text = Document().chapter(small_notebook(), {"metadata": {"name": "x"}}, tmp_path)[0]
    places = [text.index(part) for part in (
        "first = None", "# second", "= Solutions", '#solution("Solution 2.1")', "Because it is",
        "first = 42", '#verdict("success")', '#solution("Solution 2.2")', "# the secret", "Summary",
    )]  # fmt: skip
    assert places == sorted(places)
    assert Document().from_notebook_node(small_notebook())[0].startswith(b"%PDF")


@every_notebook
def test_without_solutions_the_exercises_stay(path: Path):
    nb = read(path)
    found, nb.cells = exercises_of(nb), section(nb)
    html = Page(solutions=False).from_notebook_node(nb)[0]
    page = BeautifulSoup(html, "html.parser").get_text()
    for exercise in found:
        assert exercise.text.split("\n")[0].lstrip("# ") in page
        assert f"Solution {exercise.number}" not in html
