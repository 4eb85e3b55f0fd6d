"""Imports go one way, are light, and files stay short."""

import ast
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each part may import what stands in an earlier line; parts of one line do not know one another.
ORDER = (
    ("parts", "paths"),
    ("lookup", "devices", "compilation_cache", "processes"),
    ("ops",),
    ("models", "data"),
    ("batch", "evals", "inspect"),
    ("augment", "config"),
    ("tasks",),
    ("train",),
    ("report", "explain", "export", "weights"),
    ("launch",),
    ("api", "sweep"),
    ("commands",),
    ("experiments", "launch.py"),
)
RANK = {part: rank for rank, line in enumerate(ORDER) for part in line}
NUMPY_ONLY = ("data", "evals")

# The frame of the command line finds the commands by their files; it imports none of their code.
# The package of training can be called, as the function of the same name.
EXCEPTIONS = {("cnn_jax/launch/cli.py", "cnn_jax.commands"), ("cnn_jax/train/__init__.py", "cnn_jax.api")}
# Comparisons with PyTorch, each behind an extra.
PEERS = (
    "experiments/benchmarks/accelerator_torch.py",
    "experiments/benchmarks/detection_torch.py",
    "experiments/benchmarks/explain_torch.py",
    "experiments/benchmarks/explain_photographs_torch.py",
    "experiments/benchmarks/input_torch.py",
    "experiments/benchmarks/on_torch.py",
    "experiments/benchmarks/serve_torch.py",
    "experiments/benchmarks/spectrogram.py",
    "experiments/benchmarks/panns_torch.py",
    "experiments/benchmarks/parity.py",
    "experiments/benchmarks/segmentation_torch.py",
)


def files() -> list[Path]:
    return sorted([*(ROOT / "cnn_jax").rglob("*.py"), *(ROOT / "experiments").rglob("*.py"), ROOT / "launch.py"])


def part_of(path: Path) -> str:
    words = path.relative_to(ROOT).parts
    return Path(words[1]).stem if words[0] == "cnn_jax" else words[0]


def imported(path: Path) -> set[str]:
    """Full names of all modules that a file imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: a relative import"
            # `from cnn_jax import data` imports the part data
            names |= {f"cnn_jax.{a.name}" for a in node.names} if node.module == "cnn_jax" else {node.module}
    return names


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    part, name = part_of(path), str(path.relative_to(ROOT))
    if name == "cnn_jax/__init__.py":  # for editors and type checkers alone, which the test of its weight holds
        assert imported(path) <= {"importlib", "typing", "cnn_jax.api", "cnn_jax.inspect.variants"}
        return
    assert part in RANK, f"say in ORDER where {part} stands"
    for module in imported(path):
        words = module.split(".")
        if name not in PEERS:
            assert words[0] not in ("tensorflow", "torch"), f"{name} imports {module}"
        if part in NUMPY_ONLY:
            assert words[0] not in ("jax", "flax", "optax", "orbax"), f"{name} imports {module}"
        if words[0] == "experiments":
            assert part == "launch.py"
        words = words if words != ["cnn_jax"] else ["cnn_jax", "api"]
        if words[0] == "cnn_jax" and words[1] != part and (name, module) not in EXCEPTIONS:
            assert RANK[words[1]] < RANK[part], f"{name} imports {module}, which comes after it"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_two_things(path):
    assert len(path.read_text().splitlines()) <= 400


KEYS = {"image", "label", "mask", "signal"}  # what the sources of this project call their fields
# Sources and tasks name fields; so do these, which describe data of one kind: what published models read, and all that
# there was in version 0.1.
NAMING = ("cnn_jax/data/", "cnn_jax/tasks/", "cnn_jax/weights/imported.py", "cnn_jax/train/earlier.py")


def keys_named(code: str) -> set[str]:
    """The KEYS by which a mapping is read, asked or written in the code; roles, as in batch.of("image"), are none."""
    found: list[ast.expr | None] = []
    nodes = list(ast.walk(ast.parse(code)))
    by_role = [
        node.value for node in nodes if isinstance(node, ast.AnnAssign) and "Role" in ast.unparse(node.annotation)
    ]
    for node in nodes:
        if isinstance(node, ast.Subscript):
            found.append(node.slice)
        elif isinstance(node, ast.Dict) and node not in by_role:
            found += node.keys
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found += node.args[:1] if node.func.attr in ("get", "pop", "setdefault") else []
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            found.append(node.left)
    return {node.value for node in found if isinstance(node, ast.Constant) and node.value in KEYS}


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("x = batch['image']", {"image"}),
        ("batch | {'label': y}", {"label"}),
        ("batch.get('mask', 1)", {"mask"}),
        ("'signal' in batch", {"signal"}),
        ("axes: dict[Role, str] = {'image': 'HWC'}", set()),
        ("batch.of('image'); Field('label', (), 'int32'); field.role == 'image'; batch[name]; row['loss']", set()),
    ],
)
def test_a_named_key_is_seen(code, named):
    assert keys_named(code) == named


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_sources_and_tasks_name_the_fields_of_a_batch(path):
    """Everything else goes by roles, so that another kind of data needs no change there."""
    name = str(path.relative_to(ROOT))
    if name.startswith("cnn_jax/") and not name.startswith(NAMING):
        assert keys_named(path.read_text()) == set()


def in_a_new_process(*words: str) -> tuple[str, float]:
    """Its output and the seconds of CPU time it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


HEAVY = (
    "; import sys; print(sorted({'jax', 'flax', 'matplotlib', 'sklearn', 'tensorflow', 'torch'} & sys.modules.keys()))"
)


def test_the_package_is_light():
    said, seconds = in_a_new_process("-c", "import cnn_jax" + HEAVY)
    assert said.strip() == "[]" and seconds < 2


def test_the_list_of_experiments_is_light():
    run = "from cnn_jax.launch.cli import main; main(['list'])"
    said, seconds = in_a_new_process("-c", run + HEAVY)
    assert "experiments/digits.py" in said and said.splitlines()[-1] == "[]" and seconds < 2


def test_everything_together_needs_neither_tensorflow_nor_torch():
    walk = "import cnn_jax, importlib, pkgutil, sys; " + (
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(cnn_jax.__path__, 'cnn_jax.')]; "
        "print(len([n for n in sys.modules if n.startswith('cnn_jax')]), {'tensorflow', 'torch'} & sys.modules.keys())"
    )
    count, found = in_a_new_process("-c", walk)[0].split(maxsplit=1)
    assert int(count) > 50 and found.strip() == "set()"
