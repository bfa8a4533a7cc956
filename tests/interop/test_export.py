"""What other tools compute from an exported net is what the library does."""

import ctypes
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors import safe_open

import nnlib
from nnlib import layers
from nnlib.cli import main
from nnlib.images import UNIT, Scaling
from nnlib.interop import export
from nnlib.network import load_model, save_model

GCC = ["gcc", "-Wall", "-Wextra", "-Werror", "-std=c99", "-pedantic", "-O1"]
BY_CHANNEL = Scaling((125.3, 123.0, 113.9), (1 / 63.0, 1 / 62.1, 1 / 66.7))
SCALINGS = UNIT, Scaling(72.94, 1 / 90.02), BY_CHANNEL, Scaling(0.0, 1.0)
TOLERANCE = {"onnx": 1e-6, "c": 1e-5, "torch": 1e-6}
CLASSES = ["*/ int x;", "/*", "a??/", "é\n\\", "{0}", '"']
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed"
)


def random_net(number: int, wide: bool = False) -> nnlib.MLP:
    """The n-th of nets that have, together, all there is: its weights as if it were trained."""
    rng = np.random.default_rng(number)
    inputs = [27 * 28, 3 * 32 * 32][number % 2] if wide else 3 * int(rng.integers(1, 14))
    widths = rng.integers(1, 300 if wide else 20, size=number % 5).tolist()
    scaling = SCALINGS[number % 7 % 4]
    model = nnlib.MLP(
        [inputs, *widths, int(rng.integers(2, 11))],
        list(layers.ACTIVATIONS)[number // 5 % len(layers.ACTIVATIONS)],
        dropout=0.2 * (number % 2),
        input_dropout=0.1 * (number % 3),
        batch_norm=number % 4 > 1,
        init_scale=0.01 if scaling.factor == 1 else 1.0,  # bytes as they are
        seed=number,
        scaling=scaling,
    )
    for name, array in model.state().items():
        if name[0] != "W":
            array += rng.uniform(-0.3, 0.3, array.shape)
    return model


def pictures(model: nnlib.MLP) -> np.ndarray:
    shape = 20, model.sizes[0]
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


def by_onnx(path: Path, images: np.ndarray, classes: int) -> np.ndarray:
    onnxruntime = pytest.importorskip("onnxruntime")  # of which some systems have none
    net = onnxruntime.InferenceSession(path)
    return net.run(None, {"x": images.astype(np.float32)})[0]


def by_c(path: Path, images: np.ndarray, classes: int) -> np.ndarray:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library = path.with_suffix(".so")
    subprocess.run([*GCC, "-shared", "-fPIC", path, "-o", library, "-lm"], check=True)
    predict = ctypes.CDLL(library).nnlib_predict
    answers = np.full((len(images), classes), np.nan, np.float32)
    for x, answer in zip(images.astype(np.float32), answers, strict=True):
        predict(x.ctypes.data_as(ctypes.c_void_p), answer.ctypes.data_as(ctypes.c_void_p))
    return answers


def by_torch(path: Path, images: np.ndarray, classes: int) -> np.ndarray:
    """Run the program that stands in the file, which opens it by its name."""
    import torch

    with safe_open(path, "numpy") as file:
        program = json.loads(file.metadata()["nnlib"])["program"]
    names: dict = {}
    exec(program.replace(repr(path.name), repr(str(path))), names)
    return names["net"](torch.from_numpy(images.astype(np.float32))).detach().numpy()


READERS = {"onnx": by_onnx, "c": by_c, "torch": by_torch}


def difference(model: nnlib.MLP, form: str, folder: Path) -> float:
    """Return how far the exported net's probabilities are from the library's, at most."""
    path, images = folder / f"net.{form}", pictures(model)
    export(model, form, path)
    answers = READERS[form](path, images, model.sizes[-1])
    assert answers.dtype == np.float32
    return float(np.abs(answers - model.predict_proba(model.scaling(images))).max())


@pytest.mark.parametrize(
    ("form", "wide", "numbers"),
    [
        ("onnx", False, range(30)),
        ("c", False, range(1, 30, 7)),  # a compiler takes its time
        pytest.param("torch", False, range(30), marks=needs_torch),
        pytest.param("onnx", True, range(30), marks=pytest.mark.slow),
        pytest.param("c", True, range(30), marks=pytest.mark.slow),
        pytest.param("torch", True, range(30), marks=[needs_torch, pytest.mark.slow]),
    ],
)
def test_random_nets_answer_as_the_library_does(
    tmp_path: Path, form: str, wide: bool, numbers: range
):
    greatest = 0.0
    for number in numbers:
        folder = tmp_path / str(number)
        folder.mkdir()
        greatest = max(greatest, difference(random_net(number, wide), form, folder))
    print(f"{form}: {greatest:.1e}")
    assert greatest < TOLERANCE[form]


def test_thirty_nets_have_all_there_is():
    nets = [random_net(number) for number in range(30)]
    kinds = {(net.architecture["activation"], net.architecture["batch_norm"]) for net in nets}
    assert len(kinds) == 2 * len(layers.ACTIVATIONS)
    assert {len(net.sizes) - 2 for net in nets} == {0, 1, 2, 3, 4}
    assert {net.scaling for net in nets} == set(SCALINGS)


# ---------------------------------------------------------------- the files


def test_an_onnx_file_is_whole_and_says_what_it_is(tmp_path: Path):
    model = nnlib.MLP([6, 5, 6], "gelu", batch_norm=True)
    model.info = {"classes": CLASSES, "image_shape": [2, 3], "dataset": "folder a"}
    export(model, "onnx", tmp_path / "net.onnx")
    made = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(made, full_check=True)
    assert made.opset_import[0].version >= 17
    assert json.loads({p.key: p.value for p in made.metadata_props}["classes"]) == CLASSES
    assert [tmp_path / "net.onnx"] == list(tmp_path.iterdir())
    assert {"W1", "b1", "gamma1", "W2"} <= {array.name for array in made.graph.initializer}


def test_c_is_whole_whatever_the_classes_are_called(tmp_path: Path):
    model = nnlib.MLP([6, 5, 6])
    model.info = {"classes": CLASSES, "dataset": "*/ /* ??/ folder \\"}
    path = tmp_path / "a*?? net.c"
    export(model, "c", path)
    assert path.read_text().isascii()
    assert len(by_c(path, pictures(model), 6)) == 20
    names = subprocess.run(["nm", "-g", "--defined-only", path.with_suffix(".so")],
                           capture_output=True, text=True).stdout  # fmt: skip
    assert [line.split()[-1] for line in names.splitlines()] == ["nnlib_predict"]


def test_a_file_says_what_its_input_is(tmp_path: Path):
    for name, scaling in (("pixels", UNIT), ("numbers", Scaling(0.0, 1.0))):
        export(nnlib.MLP([6, 3], scaling=scaling), "c", tmp_path / name)
        assert f"x: 6 {name}" in (tmp_path / name).read_text()


def test_c_holds_only_what_the_net_needs(tmp_path: Path):
    export(nnlib.MLP([6, 3], "gelu"), "c", tmp_path / "net.c")
    text = (tmp_path / "net.c").read_text()
    assert "tanh" not in text
    assert text.count("static const") == 4  # offset, factor, W1, b1
    assert "#include <math.h>" in text
    assert text.count("#include") == 1


def test_a_torch_file_holds_its_program_in_some_lines(tmp_path: Path):
    model = nnlib.MLP([6, 5, 3], "gelu", dropout=0.5, batch_norm=True)
    program = export(model, "torch", tmp_path / "net.st")
    with safe_open(tmp_path / "net.st", "numpy") as file:
        assert json.loads(file.metadata()["nnlib"])["program"] == program
        shapes = {name: file.get_tensor(name).shape for name in file.keys()}  # noqa: SIM118
        assert np.array_equal(file.get_tensor("1.weight"), model.parameters["W1"].T)
    assert shapes == {
        "1.weight": (5, 6), "1.bias": (5,), "2.weight": (5,), "2.bias": (5,),
        "2.running_mean": (5,), "2.running_var": (5,), "5.weight": (3, 5), "5.bias": (3,),
    }  # fmt: skip
    assert "nn.Dropout(0.5)" in program
    compile(program, "program", "exec")


@pytest.mark.parametrize("form", READERS)
def test_same_net_same_bytes_and_no_file_is_replaced(tmp_path: Path, form: str):
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        export(random_net(13), form, tmp_path / name / "net")
        files.append((tmp_path / name / "net").read_bytes())
    assert files[0] == files[1]
    with pytest.raises(nnlib.InputError, match="net is there already: name another file"):
        export(random_net(14), form, tmp_path / "a" / "net")
    assert (tmp_path / "a" / "net").read_bytes() == files[0]


@pytest.mark.parametrize("form", READERS)
def test_what_cannot_be_exported_is_refused_and_leaves_no_file(tmp_path: Path, form: str):
    class Mine(layers.ReLU):
        pass

    odd, huge = nnlib.MLP([4, 3, 2]), nnlib.MLP([4, 3, 2], dtype="float64")
    odd.layers[1] = Mine()
    huge.parameters["W1"][0, 0] = 1e300
    for model, why in ((odd, "cannot export a layer Mine"), (huge, "W holds numbers")):
        with pytest.raises(nnlib.InputError, match=why):
            export(model, form, tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_c_refuses_what_it_cannot_fold(tmp_path: Path):
    model = nnlib.MLP([4, 3, 2], batch_norm=True)
    model.layers[1], model.layers[2] = model.layers[2], model.layers[1]
    with pytest.raises(nnlib.InputError, match="C has batch_norm after a linear layer alone"):
        export(model, "c", tmp_path / "net")


@pytest.mark.parametrize("form", ["onnx", "c"])
def test_a_float64_net_is_written_in_float32(tmp_path: Path, form: str):
    assert difference(nnlib.MLP([9, 8, 3], "tanh", dtype="float64"), form, tmp_path) < 1e-6


# ---------------------------------------------------------------- the command


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder, as far as exporting needs it."""
    (tmp_path / "run").mkdir()
    save_model(random_net(8), tmp_path / "run" / "model.safetensors")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("form", "name"),
    [("onnx", "model.onnx"), ("torch", "model.torch.safetensors"), ("c", "model.c")],
)
def test_the_command_writes_beside_the_model(run: Path, capsys, form: str, name: str):
    assert main(["export", str(run), "--to", form, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["file"] == str(run / name)
    assert answer["form"] == form
    assert name in answer["usage"]
    assert load_model(run).sizes == random_net(8).sizes
    assert main(["export", str(run / "model.safetensors"), "--to", form]) == 2
    assert "there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--to", "keras"], "unknown form 'keras': use onnx, torch, c"),
        (["--to", "c", "--out", "nowhere/net.c"], "cannot write the file nowhere/net.c"),
        (["--to", "c", "--out", "."], ". is there already"),
    ],
)
def test_the_command_s_mistakes_take_one_line(run: Path, capsys, words: list[str], why: str):
    assert main(["export", str(run), *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert why in said


def test_c_and_torch_need_no_extra(run: Path):
    program = (
        "import sys; sys.modules['onnx'] = sys.modules['torch'] = None\n"
        "from nnlib.cli import main\n"
        "sys.exit(any(main(['export', sys.argv[1], '--to', form]) for form in ('c', 'torch')))"
    )
    subprocess.run([sys.executable, "-c", program, run], check=True, capture_output=True)
