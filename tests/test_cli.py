"""The command as a user meets it: a process, its exit status, one line, one JSON object."""

import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnlib import MLP, load_model, save_model
from nnlib.cli import main


def nnlib(*arguments: object, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "nnlib", *map(str, arguments)], capture_output=True, text=True,
        cwd=cwd, env=os.environ | env, timeout=120, check=False,
    )  # fmt: skip


def here(*arguments: object) -> tuple[int, str, str]:
    """Run the command in this process: its status, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main([*map(str, arguments)])
        except SystemExit as stop:  # argparse's own complaints
            status = stop.code
    return status, out.getvalue(), err.getvalue()


def one_line(status: int, out: str, err: str) -> str:
    """Return the one line of a command that failed because of what it was given."""
    assert status == 2, err
    assert out == ""
    assert len(err.splitlines()) == 1, err
    return err


def refused(*arguments: object) -> str:
    return one_line(*here(*arguments))


@pytest.fixture(scope="module")
def run(own_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = nnlib("train", "--dataset", own_folder, "--epochs", 8, "--hidden", 16, 8,
                 "--out", folder, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["epochs"] == 8
    assert 0.5 < answer["val_accuracy"] <= 1
    assert 1 <= answer["best_epoch"] <= 8
    assert answer["seconds"] > 0
    assert answer["model"] == str(folder / "model.safetensors")
    assert len(done.stderr.splitlines()) == 8
    return folder


def test_a_run_s_folder_holds_what_it_should(run: Path, own_folder: Path) -> None:
    names = {"config.json", "history.csv", "model.safetensors", "checkpoint.safetensors"}
    assert names <= {path.name for path in run.iterdir()}
    config = json.loads((run / "config.json").read_text())
    assert config["hidden"] == [16, 8]
    assert config["dataset"] == str(own_folder)
    assert config["threads"] == 1
    assert len((run / "history.csv").read_text().splitlines()) == 9


def test_threads_are_kept_and_no_part_of_the_model(own_folder: Path, tmp_path: Path) -> None:
    words = ("train", "--dataset", own_folder, "--hidden", 100, "--batch-size", 100)
    for threads in (1, 2):
        out = tmp_path / str(threads)
        assert here(*words, "--epochs", 2, "--threads", threads, "--out", out)[0] == 0
        assert json.loads((out / "config.json").read_text())["threads"] == threads
    assert here("train", "--resume", out, "--epochs", 3)[0] == 0
    assert json.loads((out / "config.json").read_text())["threads"] == 2
    whole = tmp_path / "whole"
    assert here(*words, "--epochs", 3, "--threads", 2, "--out", whole)[0] == 0
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_model_is_tested(run: Path, form: str) -> None:
    model = run if form == "folder" else run / "model.safetensors"
    answer = json.loads(here("test", model, "--json")[1])
    assert answer["n"] == 100
    assert answer["accuracy"] > 0.5
    assert answer["loss"] > 0
    assert Path(answer["dataset"]).name.startswith("stripes")
    status, out, _ = here("test", model)
    assert status == 0
    assert "test accuracy" in out


def test_a_picture_is_recognised(run: Path, tmp_path: Path) -> None:
    image = np.full((6, 5), 60, np.uint8)
    image[:, 2] = 210
    Image.fromarray(image).save(tmp_path / "two.png")
    answer = json.loads(nnlib("predict", run, tmp_path / "two.png", "--json").stdout)
    (prediction,) = answer["predictions"]
    assert prediction["label"] == "2"
    assert sum(p["probability"] for p in prediction["top"]) <= 1.000001
    assert set(prediction) == {"image", "label", "top", "unlike"}
    status, out, _ = here("predict", run, tmp_path / "two.png")
    assert status == 0
    assert "two.png: 2 " in out


def test_a_picture_that_is_refused_costs_the_others_nothing(run: Path, tmp_path: Path) -> None:
    for name, column in (("one", 1), ("three", 3)):
        image = np.full((6, 5), 60, np.uint8)
        image[:, column] = 210
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    paths = [tmp_path / f"{name}.png" for name in ("one", "broken", "three", "absent")]
    status, out, err = here("predict", run, *paths)
    assert status == 2
    assert [line.split(": ")[0] for line in out.splitlines()] == [str(paths[0]), str(paths[2])]
    assert ["broken.png" in err.splitlines()[0], "absent.png" in err.splitlines()[1]] == [True] * 2
    status, out, err = here("predict", run, *paths, "--json")
    answer = json.loads(out)
    assert (status, len(err.splitlines())) == (2, 2)
    assert [each["image"] for each in answer["predictions"]] == [str(paths[0]), str(paths[2])]
    assert [each["image"] for each in answer["refused"]] == [str(paths[1]), str(paths[3])]
    assert "does not exist" in answer["refused"][1]["error"]


def test_a_picture_unlike_all_training_images_is_answered_and_said_to_be(
    run: Path, own_folder: Path, tmp_path: Path
) -> None:
    image = np.full((6, 5), 60, np.uint8)
    image[:, 2] = 160
    Image.fromarray(image).save(tmp_path / "two.png")
    Image.fromarray(np.where(np.indices((6, 5)).sum(axis=0) % 2, 100, 0).astype(np.uint8)).save(
        tmp_path / "odd.png"
    )
    status, out, err = here("predict", run, tmp_path / "two.png", tmp_path / "odd.png", "--json")
    assert (status, err) == (0, "")
    two, odd = (each["unlike"] for each in json.loads(out)["predictions"])
    assert two["nearest"] == "2"
    assert set(two) == {"distance", "nearest", "usual", "unlike"}
    assert two["distance"] <= two["usual"] == odd["usual"] < odd["distance"]
    assert (two["unlike"], odd["unlike"]) == (False, True)
    lines = here("predict", run, tmp_path / "two.png", tmp_path / "odd.png")[1].splitlines()
    assert ["; unlike: 0." in line for line in lines] == [False, True]


def test_without_its_data_a_model_predicts_as_ever(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "model.safetensors", tmp_path / "alone.safetensors")
    shutil.copytree(run, tmp_path / "moved")
    config = json.loads((run / "config.json").read_text())
    moved = json.dumps(config | {"dataset": str(tmp_path / "elsewhere")})
    (tmp_path / "moved/config.json").write_text(moved)
    image = np.full((6, 5), 60, np.uint8)
    image[:, 2] = 210
    Image.fromarray(image).save(tmp_path / "two.png")
    for model in ("alone.safetensors", "moved"):
        status, out, err = here("predict", tmp_path / model, tmp_path / "two.png", "--json")
        assert (status, err) == (0, "")
        assert [(p["label"], p["unlike"]) for p in json.loads(out)["predictions"]] == [("2", None)]
        assert "; unlike" not in here("predict", tmp_path / model, tmp_path / "two.png")[1]


def test_a_net_that_sees_colours_is_shown_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnlib.pictures.folder.project_root", lambda: tmp_path)
    shades = {"blue": (20, 30, 200), "red": (220, 20, 10)}
    rng = np.random.default_rng(0)
    for name, shade in shades.items():
        for part, n in (("train", 40), ("test", 4)):
            (tmp_path / "set" / part / name).mkdir(parents=True)
            for k in range(n):
                image = np.clip(rng.normal(shade, 20, (6, 8, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(image).save(tmp_path / "set" / part / name / f"{k}.png")
    words = ("--dataset", tmp_path / "set", "--epochs", 30, "--batch-size", 8, "--hidden", 8)
    assert here("train", *words, "--out", tmp_path / "run")[0] == 0
    for name, shade in shades.items():
        Image.new("RGB", (90, 50), shade).save(tmp_path / f"{name}.jpg")
    Image.new("L", (90, 50), 250).save(tmp_path / "white.png")
    paths = [tmp_path / name for name in ("blue.jpg", "red.jpg", "white.png")]
    status, out, err = here("predict", tmp_path / "run", *paths, "--json")
    assert (status, err) == (0, "")
    *known, white = json.loads(out)["predictions"]
    assert [each["label"] for each in known] == ["blue", "red"]
    assert [each["unlike"]["nearest"] for each in known] == ["blue", "red"]
    assert white["unlike"]["unlike"]


def test_resume_continues_and_repeats_nothing(run: Path) -> None:
    before = (run / "model.safetensors").read_bytes()
    status, out, err = here("train", "--resume", run, "--json")
    assert (status, json.loads(out)["epochs"]) == (0, 8)
    assert err == ""
    assert (run / "model.safetensors").read_bytes() == before


def test_a_folder_s_default_name_tells_its_content(
    own_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert here("train", "--dataset", own_folder, "--epochs", 1, "--hidden", 7, 3)[0] == 0
    names = [path.name for path in (tmp_path / "runs").iterdir()]
    assert len(names) == 2
    assert all(name.startswith(f"{own_folder.name}-7x3-relu-2") for name in names)


BAD_SETTINGS = {
    "--lr 0": "learning rate must be > 0, got 0.0",
    "--lr -0.1": "learning rate must be > 0, got -0.1",
    "--lr nan": "learning rate must be > 0, got nan",
    "--lr fast": "invalid float value: 'fast'",
    "--batch-size 0": "batch size must be a whole number >= 1, got 0",
    "--batch-size x": "invalid int value: 'x'",
    "--hidden 0": "hidden size must be a whole number >= 1, got 0",
    "--hidden -3": "hidden size must be a whole number >= 1, got -3",
    "--hidden 1.5": "invalid int value: '1.5'",
    "--activation swish": "unknown activation 'swish'",
    "--val-size 600": "600",
    "--val-size -1": "-1",
    "--epochs 0": "epochs must be a whole number >= 1, got 0",
    "--momentum 1": "momentum must be at least 0 and below 1, got 1.0",
    "--unknown 1": "unrecognized arguments: --unknown 1",
}


@pytest.mark.parametrize("words", BAD_SETTINGS)
def test_bad_settings_get_one_line(own_folder: Path, tmp_path: Path, words: str) -> None:
    out = tmp_path / "run"
    line = refused("train", "--dataset", own_folder, "--out", out, *words.split())
    assert BAD_SETTINGS[words] in line
    assert not out.exists() or not any(out.iterdir())


def test_bad_places_get_one_line(run: Path, own_folder: Path, tmp_path: Path) -> None:
    assert "already holds a run" in refused("train", "--dataset", own_folder, "--out", run)
    blocked = tmp_path / "file"
    blocked.touch()
    line = refused("train", "--dataset", own_folder, "--out", blocked / "run")
    assert "cannot write" in line
    assert "holds no run" in refused("train", "--resume", tmp_path)
    assert "leave out --lr" in refused("train", "--resume", run, "--lr", "0.1")
    assert "no data set given" in refused("train")
    assert "unknown data set 'minst'" in refused("train", "--dataset", "minst")


@pytest.mark.parametrize("content", [None, b"", os.urandom(500), b"\x80\x04\x95\x05.", b"{}"])
def test_bad_models_get_one_line(own_folder: Path, tmp_path: Path, content) -> None:
    path = tmp_path / "m.safetensors"
    if content is not None:
        path.write_bytes(content)
    assert "m.safetensors" in refused("test", path, "--dataset", own_folder)
    assert "m.safetensors" in refused("predict", path, path)


def test_a_model_for_other_images_gets_one_line(own_folder: Path, tmp_path: Path) -> None:
    save_model(MLP([784, 4]), tmp_path / "m.safetensors")
    line = refused("test", tmp_path / "m.safetensors", "--dataset", own_folder)
    assert "takes 784 inputs but these images have 30 pixels" in line
    assert "add --dataset NAME" in refused("test", tmp_path / "m.safetensors")


def test_divergence_is_one_line_and_status_1(own_folder: Path, tmp_path: Path) -> None:
    done = nnlib("train", "--dataset", own_folder, "--lr", "1e30", "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "lower the learning rate" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_help_names_every_setting() -> None:
    from dataclasses import fields

    from nnlib import TrainConfig

    text = here("train", "--help")[1]
    for setting in fields(TrainConfig):
        assert "--" + setting.name.replace("_", "-") in text


VERBS = ("data", "train", "test", "predict", "search", "report", "bench")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "gbk"])
def test_help_on_a_terminal_that_lacks_a_letter(encoding: str) -> None:
    """Every verb's help, and a mistake's line, in one process."""
    code = "import sys; from nnlib.cli import main\n"
    code += f"for verb in {VERBS}:\n    try:\n        main([verb, '--help'])\n"
    code += "    except SystemExit as stop: assert stop.code == 0\n"
    code += "sys.exit(main(['test', '\\u03bb\\u5b57\\udcff.safetensors']))"
    env = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout.count(b"usage: ") == len(VERBS)
    assert done.stderr.startswith(b"nnlib: cannot read ")
    assert len(done.stderr.splitlines()) == 1


def test_help_is_written_in_plain_letters() -> None:
    from nnlib.cli import make_parser

    make_parser().format_help().encode("ascii")
    for verb in VERBS:
        status, text, _ = here(verb, "--help")
        assert status == 0
        text.encode("cp1252")


def test_the_version() -> None:
    import nnlib as package

    assert here("--version") == (0, f"nnlib {package.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "hidden"),
    [("linear", []), ("12", [12]), ("8x4", [8, 4]), ("8 4", [8, 4])],
)
def test_hidden_layers_as_people_write_them(own_folder, tmp_path, words, hidden) -> None:
    out = tmp_path / "run"
    given = ("--epochs", 1, "--hidden", *words.split(), "--out", out, "--json")
    status, _, err = here("train", "--dataset", own_folder, *given)
    assert status == 0, err
    assert json.loads((out / "config.json").read_text())["hidden"] == hidden
    assert load_model(out).sizes == [30, *hidden, 4]
    assert here("test", out)[0] == 0
    assert here("train", "--resume", out, "--epochs", 2)[0] == 0


BAD_HIDDEN = {
    "none": "invalid int value: 'none'; write 128, or linear for no hidden layer",
    "8x": "cannot read layers '8x': write 128 or 128x64, or linear for none",
    "8x-4": "cannot read layers '8x-4'",
    "linear 8": "hidden size must be a whole number >= 1, got 'linear'",
    "8x0": "hidden size must be a whole number >= 1, got 0",
}


@pytest.mark.parametrize("words", BAD_HIDDEN)
def test_hidden_layers_that_are_none(own_folder, words: str) -> None:
    assert BAD_HIDDEN[words] in refused(
        "train", "--dataset", own_folder, "--hidden", *words.split()
    )


def test_without_validation_nothing_is_not_a_number(own_folder, tmp_path) -> None:
    words = ("train", "--dataset", own_folder, "--epochs", 2, "--val-size", 0)
    status, out, err = here(*words, "--out", tmp_path / "a")
    assert status == 0
    assert "weights of the last epoch, 2: without validation none is best" in out
    assert "nan" not in out + err
    status, out, _ = here(*words, "--out", tmp_path / "b", "--json")
    assert json.loads(out)["val_accuracy"] is None


def test_a_batch_of_one_is_not_normalised(own_folder, tmp_path) -> None:
    words = ("--batch-norm", "--batch-size", 1, "--out", tmp_path / "run")
    line = refused("train", "--dataset", own_folder, *words)
    assert "550 images in batches of 1 leave one alone, with batch norm; change the" in line
    assert not (tmp_path / "run").exists()


def test_home_is_understood_in_every_path(own_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(shutil.copytree(own_folder, tmp_path / "data"))
    Image.fromarray(np.eye(30, dtype=np.uint8) * 255).save(tmp_path / "one.png")
    assert here("train", "--dataset=~/data", "--epochs", 1, "--out=~/run")[0] == 0
    assert here("train", "--resume=~/run", "--epochs", 2)[0] == 0
    assert here("test", "~/run", "--dataset=~/data")[0] == 0
    assert here("test", "~/run")[0] == 0
    assert here("test", "~/run/model.safetensors", "--dataset=~/data")[0] == 0
    assert here("predict", "~/run/model.safetensors", "~/one.png")[0] == 0
    words = ("--trials", 1, "--range", "lr=0.1:0.2", "--epochs", 1)
    status, _, err = here("search", "--dataset=~/data", *words, "--out=~/s", "--storage=~/study")
    assert status == 0, err
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "letter.txt").touch()
    assert f"{tmp_path / 'foreign'} holds" in refused("report", "--out=~/foreign")
    assert {"run", "s", "study", "data"} <= {path.name for path in tmp_path.iterdir()}
    assert not Path("~").exists()


def test_data_that_moved_and_more_epochs(own_folder, tmp_path, monkeypatch) -> None:
    old = shutil.copytree(own_folder, tmp_path / "old" / "stripes")
    monkeypatch.chdir(old.parent)
    assert here("train", "--dataset", "stripes", "--epochs", 1, "--out", tmp_path / "run")[0] == 0
    monkeypatch.chdir(tmp_path)
    assert json.loads(here("test", "run", "--json")[1])["n"] == 100
    assert here("train", "--resume", "run")[0] == 0
    old.parent.rename(tmp_path / "new")
    for words in (("test", "run"), ("train", "--resume", "run")):
        assert "if it has moved, say where it is with --dataset" in refused(*words)
    assert here("test", "run", "--dataset", "new/stripes")[0] == 0
    more = ("--dataset", "new/stripes", "--epochs", 3, "--json")
    status, out, _ = here("train", "--resume", "run", *more)
    assert (status, json.loads(out)["epochs"]) == (0, 3)
    assert here("train", "--resume", "run")[0] == 0, "which knows the new place"
    assert "is not the data that run was trained on" in refused(
        "train", "--resume", "run", "--dataset", "digits"
    )
    assert "leave out --out" in refused("train", "--resume", "run", "--epochs", 4, "--out", "x")
    line = refused("train", "--resume", "run", "--epochs", 2)
    assert "epochs of a run that has done 3 must be a whole number >= 3, got 2" in line


SEARCH = ("search", "--dataset", "digits", "--epochs", 1, "--trials", 3)


def test_a_search_answers_with_its_best(tmp_path: Path) -> None:
    done = nnlib(*SEARCH, "--range", "lr=0.01:0.5:log", "--choice", "hidden=8,8x4",
                 "--out", tmp_path / "s", "--json")  # fmt: skip
    answer = json.loads(done.stdout)
    assert answer["trials"] == 3
    assert answer["seconds"] > 0
    assert 0.01 <= answer["best"]["lr"] <= 0.5
    assert 0 < answer["best"]["val_accuracy"] <= 1
    assert len(done.stderr.splitlines()) == 3
    assert len((tmp_path / "s" / "trials.csv").read_text().splitlines()) == 4
    status, out, err = here(*SEARCH, "--range", "lr=0.01:0.5:log", "--choice", "hidden=8,8x4",
                            "--out", tmp_path / "s")  # fmt: skip
    assert status == 0
    assert "val_accuracy" in out
    assert err == "", "all is done already"


BAD_SEARCHES = {
    "--range lr=0.5:0.1": "the low end 0.5 exceeds the high end 0.1",
    "--range lr=0:1:log": "a log range must begin above 0, got 0",
    "--range lrr=0:1": "unknown hyperparameter 'lrr'",
    "--range lr=0.1:0.2 --choice lr=0.1,0.2": "lr is given twice",
    "--range lr=0.1:0.2 --trials 0": "0",
    "--range lr=0.1:0.2 --sampler best": "unknown sampler 'best'",
    "--range lr=0.1:0.2 --sampler grid": "grid",
    "--range lr=0.1:0.2 --pruner early": "unknown pruner 'early'",
    "--range lr=0.1:0.2 --jobs 0": "jobs must be a whole number >= 1, got 0",
    "--range lr=0.1:0.2 --seeds 0": "seeds must be a whole number >= 1, got 0",
    "--trials 3": "nothing varies",
}


@pytest.mark.parametrize("words", BAD_SEARCHES)
def test_bad_searches_get_one_line(tmp_path: Path, words: str) -> None:
    line = refused(*SEARCH, *words.split(), "--out", tmp_path / "s")
    assert BAD_SEARCHES[words] in line


def test_a_search_that_names_no_data_set_or_no_number_of_trials(tmp_path: Path) -> None:
    line = refused("search", "--trials", 2, "--range", "lr=0.1:0.2", "--out", tmp_path)
    assert "no data set given" in line
    line = refused("search", "--dataset", "digits", "--range", "lr=0.1:0.2", "--out", tmp_path)
    assert "no number of trials given: add --trials 20" in line


REFUSED = ("train --lr nan --dataset digits", "train --unknown 1", "test none", "predict none none",
           "search --dataset digits --trials 3", "report --profile fast", "bench --rounds 0",
           "data cifar")  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_a_mistake_is_one_line_of_a_process_as_it_is_in_this_one(
    tmp_path: Path, words: str
) -> None:
    done = nnlib(*words.split(), cwd=tmp_path)
    line = one_line(done.returncode, done.stdout, done.stderr)
    assert line == refused(*words.split())
    assert not any(tmp_path.iterdir())


def test_bad_reports_get_one_line(tmp_path: Path) -> None:
    line = refused("report", "--profile", "fast", "--out", tmp_path / "r")
    assert "profile must be quick or standard, got 'fast'" in line
    line = refused("report", "-p", "speed", "3", "--out", tmp_path / "r")
    assert "no notebook has a parameter 'speed'" in line
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "letter.txt").write_text("mine")
    assert "letter.txt" in refused("report", "--out", tmp_path / "foreign")
    assert (tmp_path / "foreign" / "letter.txt").read_text() == "mine"


def test_digits_need_no_download() -> None:
    assert here("data", "digits") == (0, "digits: comes with scikit-learn\n", "")
    assert "unknown data set 'cifar'" in refused("data", "cifar")


def test_bench_takes_a_number_of_rounds() -> None:
    assert "rounds must be a whole number >= 1, got 0" in refused("bench", "--rounds", 0)


def test_the_command_in_this_process(own_folder, tmp_path) -> None:
    """The same as above, where coverage and debuggers see it."""
    run, search = tmp_path / "run", tmp_path / "search"
    assert here("train", "--dataset", own_folder, "--epochs", 1, "--out", run)[0] == 0
    status, out, _ = here("test", run, "--json")
    assert (status, json.loads(out)["n"]) == (0, 100)
    assert here("test", tmp_path)[0] == 2
    words = ("--trials", 2, "--range", "lr=0.01:0.1", "--epochs", 1, "--out", search, "--json")
    status, out, _ = here("search", "--dataset", own_folder, *words)
    assert (status, json.loads(out)["trials"]) == (0, 2)
    assert here("report", "--profile", "fast")[0] == 2
    assert here("data", "digits")[0] == 0
