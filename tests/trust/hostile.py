"""What a stranger may send: each entry writes one hostile file, or makes a run folder hostile."""

import json
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnn_jax.train.checkpoint import _seal

Make = Callable[[Path], object]  # writes the hostile file; the folder is its own

TOUCH = "import pathlib; pathlib.Path({0!r}).touch()"


class Evil:
    """Does something when Python unpickles it."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def pth(content: bytes, **entries: bytes) -> Make:
    """A file of torch.save whose pickle is `content`."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", content)
            for name, data in entries.items():
                archive.writestr(f"a/data/{name.lstrip('_')}", data)

    return make


def push(value: Any) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def tensor(offset: Any = 0, shape: Any = (2,), stride: Any = (1,), size: Any = 2, key: Any = "0") -> bytes:
    """A state dict {"a": tensor} with these numbers in it."""
    at = b"(" + push("storage") + b"ctorch\nFloatStorage\n" + push(key) + push("cpu") + push(size) + b"tQ"
    build = b"ctorch._utils\n_rebuild_tensor_v2\n(" + at + push(offset) + push(shape) + push(stride)
    return b"\x80\x02}" + push("a") + build + b"\x89}tRs."


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> Make:
    def make(path: Path) -> None:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)

    return make


def f32(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def npz(header: str, data: bytes = b"", name: str = "a.npy") -> Make:
    def make(path: Path) -> None:
        text = header.encode()
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, content)

    return make


def bomb(path: Path) -> None:
    """An .npz of 4 MB that expands to 4 GiB, as it says."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1073741824,), }\n"
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    deflate = zlib.compressobj(9, wbits=-15)
    stream = deflate.compress(start) + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    stream += 4096 * block + deflate.flush()
    size, name = len(start) + 2**32 - 2**20, b"a.npy"
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(stream), size, len(name), 0) + name
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, 0, len(stream), size, len(name), 0, 0, 0, 0, 0, 0)
    central = entry + name
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local) + len(stream), 0)
    path.write_bytes(local + stream + central + end)


def text(content: str | bytes) -> Make:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


SLIP = "../../../../canary"
WEIGHTS: dict[str, Make] = {
    **{
        f"pickle calls {name}, protocol {protocol}": pth(pickle.dumps({"a": Evil(*call)}, protocol))
        for name, call in {
            "os.system": (os.system, "touch canary"),
            "exec": (exec, TOUCH.format("canary")),
            "open": (open, "canary", "w"),
            "makedirs": (os.makedirs, "canary"),
        }.items()
        for protocol in (0, 2, 4)
    },
    "pickle: eval": pth(pickle.dumps(Evil(eval, "open('canary', 'w')"), 2)),
    "pickle: getattr chain": pth(b"\x80\x02cbuiltins\ngetattr\n(cos\nsystem\n" + push("x") + b"tR."),
    "pickle: inst": pth(b"(" + push("touch canary") + b"ios\nsystem\n."),
    "pickle: obj": pth(b"(cos\nsystem\n" + push("touch canary") + b"o."),
    "pickle: newobj": pth(b"\x80\x02cos\nsystem\n" + push("touch canary") + b"\x85\x81."),
    "pickle: stack global": pth(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch canary\x85R."),
    "pickle: extension": pth(b"\x80\x02\x82\x01."),
    "pickle: import of a module": pth(b"\x80\x02cthis\ns\n."),
    "pickle: nested 100,000 deep": pth(b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b"."),
    "pickle: lists of lists of one list": pth(b"\x80\x02]q\x00" + b"(h\x00h\x00lq\x00" * 10_000 + b"."),
    "pickle: one list called for often": pth(
        b"\x80\x02](" + b"K\x01K\x02\x86" * 50_000 + b"eq\x000" + b"ccollections\nOrderedDict\n(h\x00tR" * 50_000 + b"."
    ),
    "pickle: huge integer": pth(b"\x80\x02\x8b" + struct.pack("<I", 200_000) + b"\x7f" * 200_000 + b"."),
    "pickle: text of 2**60": pth(b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"x."),
    "pickle: far memo": pth(b"\x80\x02K\x01r\xff\xff\xff\xff0."),
    "pickle: keys that are lists": pth(b"\x80\x02}]K\x01s."),
    "pickle: keys that are numbers": pth(b"\x80\x02}K\x01K\x02s."),
    "tensor: stride 2**70": pth(tensor(stride=(2**70,)), _0=bytes(8)),
    "tensor: offset 2**70": pth(tensor(offset=2**70), _0=bytes(8)),
    "tensor: shape 2**70": pth(tensor(shape=(2**70,), stride=(0,)), _0=bytes(8)),
    "tensor: sizes whose product is 2**90": pth(tensor(shape=(2**45, 2**45), stride=(0, 0)), _0=bytes(8)),
    "tensor: nothing by very much": pth(tensor(shape=(0, 2**47, 2**47), stride=(0, 0, 0)), _0=bytes(8)),
    "tensor: 10,000 dimensions": pth(tensor(shape=(1,) * 10_000, stride=(1,) * 10_000), _0=bytes(8)),
    "tensor: negative size": pth(tensor(shape=(-1,)), _0=bytes(8)),
    "tensor: negative stride": pth(tensor(stride=(-1,)), _0=bytes(8)),
    "tensor: beyond its storage": pth(tensor(offset=1), _0=bytes(8)),
    "tensor: expanded": pth(tensor(shape=(2**40,), stride=(0,)), _0=bytes(8)),
    "tensor: storage of 2**62": pth(tensor(size=2**62), _0=bytes(8)),
    "tensor: storage of -1": pth(tensor(size=-1), _0=bytes(8)),
    "tensor: storage that is not there": pth(tensor(key="1"), _0=bytes(8)),
    "tensor: storage of another folder": pth(tensor(key=SLIP), **{SLIP: bytes(8)}),
    "tensor: text for a shape": pth(tensor(shape="ab"), _0=bytes(8)),
    "old format: nested list of storages": text(
        pickle.dumps(0x1950A86A20F9469CFC6C, 2)
        + pickle.dumps(1001, 2)
        + pickle.dumps({"little_endian": True}, 2)
        + tensor()
        + b"\x80\x02"
        + b"]" * 50_000
        + b"a" * 49_999
        + b"."
        + struct.pack("<q", 2)
        + bytes(8)
    ),
    "old format: storage of 2**62": text(
        pickle.dumps(0x1950A86A20F9469CFC6C, 2)
        + pickle.dumps(1001, 2)
        + pickle.dumps({"little_endian": True}, 2)
        + tensor(size=2**47)
        + pickle.dumps(["0"], 2)
        + struct.pack("<q", 2**47)
        + bytes(8)
    ),
    "safetensors: header of 2**62": safetensors({"a": f32([2], 0, 8)}, bytes(8), length=2**62),
    "safetensors: header beyond the file": safetensors({"a": f32([2], 0, 8)}, length=10_000),
    "safetensors: no header": safetensors(b"{}"),
    "safetensors: a list": safetensors(b"[]"),
    "safetensors: nested 100,000 deep": safetensors(b'{"a":' * 100_000),
    "safetensors: text that is none": safetensors(b'{"\xff":1}'),
    "safetensors: offsets beyond the file": safetensors({"a": f32([2**40], 0, 2**42)}, bytes(8)),
    "safetensors: negative size": safetensors({"a": f32([-2], 0, 8)}, bytes(8)),
    "safetensors: sizes whose product wraps around": safetensors({"a": f32([2**33, 2**33], 0, 8)}, bytes(8)),
    "safetensors: tensors that overlap": safetensors({"a": f32([2], 0, 8), "b": f32([2], 0, 8)}, bytes(8)),
    "safetensors: a type that is none": safetensors({"a": f32([2], 0, 8, "object")}, bytes(8)),
    "safetensors: types that NumPy has not": safetensors({"a": f32([8], 0, 8, "F8_E4M3")}, bytes(8)),
    "safetensors: another folder's name": safetensors({SLIP: f32([2], 0, 8)}, bytes(8)),
    "safetensors: no offsets": safetensors({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)),
    "npz: 4 MB that are 4 GiB": bomb,
    "npz: pickled objects": npz(
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", pickle.dumps(Evil(os.system, "x"))
    ),
    "npz: 10**12 numbers": npz("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n", bytes(8)),
    "npz: -1 numbers": npz("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }\n", bytes(8)),
    "npz: sizes whose product wraps around": npz(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }\n", bytes(8)
    ),
    "npz: code for a header": npz("{'descr': __import__('os').system('touch canary'), 'shape': ()}\n"),
    "npz: header nested deeply": npz("(" * 9000 + ")" * 9000),
    "npz: an element of a gigabyte": npz("{'descr': '|V1000000000', 'fortran_order': False, 'shape': (9,), }\n"),
    "npz: the name of another folder": npz(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", bytes(8), f"{SLIP}.npy"
    ),
    "empty": text(b""),
    "a web page": text("<!DOCTYPE html><script>1</script>"),
    "a program": text("#!/bin/sh\ntouch canary\n"),
    "an archive with an end only": text(b"PK\5\6" + bytes(18)),
    "an archive whose directory lies before its start": text(
        b"PK\3\4" + bytes(30) + b"PK\5\6" + bytes(8) + b"\xff" * 8 + b"\0\0"
    ),
}


def image(**how: Any) -> Make:
    return lambda path: Image.new("L", (8, 8)).save(path, **how)


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


IMAGES: dict[str, Make] = {
    "PostScript": text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(canary) (w) file closefile\n"),
    "PDF": text("%PDF-1.4\n1 0 obj <</OpenAction <</S /Launch /F (touch)>>>>\n"),
    "SVG": text("<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"),
    "FITS": text("SIMPLE  =                    T" + " " * 3000),
    "PNG of 2**31 pixels a side": text(png(2**31 - 1, 2**31 - 1)),
    "PNG of 100,000 pixels a side": text(png(100_000, 100_000)),
    "PNG of no width": text(png(0, 8)),
    "PNG cut short": text(png(8, 8)[:40]),
    "GIF of a huge canvas": text(b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\2"),
    "BMP of a huge size": text(
        b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 2**31 - 1, 2**31 - 1, 1, 8, 0) + bytes(20)
    ),
    "TIFF with an endless directory": text(
        b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 256, 4, 1, 8) + struct.pack("<I", 8)
    ),
    "TIFF of a huge size": text(
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", 3)
        + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in ((256, 2**31), (257, 2**31), (273, 8)))
        + bytes(4)
    ),
    "an icon of nothing": text(b"\0\0\1\0\xff\xff" + bytes(40)),
    "noise": text(np.random.default_rng(0).bytes(1000)),
    "an array of 10**12": text(
        b"\x93NUMPY\1\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }" + b" " * 50 + b"\n"
    ),
    "an array of objects": lambda path: np.save(path, np.array([Evil(os.system, "touch canary")]), allow_pickle=True),
    "a pipe": lambda path: os.mkfifo(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
}


def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        *groups, last = name.split(".")
        for group in groups:
            values = values[group]
        values[last] = value

    return change


DEEP = '{"a":' * 100_000
FUNCTIONS = {
    "model.build": [
        "os.system",
        "__import__('os').system('touch canary')",
        "(lambda: open('canary', 'w'))()",
        "jax.numpy.load(file='canary')",
        "jax.numpy.save(file='canary', arr=(1, 2))",
        "jax.numpy.zeros(shape=1000000000000)",
        "cnn_jax.train.run_folder.write_json(path='canary', value=1)",
        "cnn_jax.train.run_folder.set_aside(folder='.')",
        "cnn_jax.weights.files.write",
        "cnn_jax.launch.cli.main",
        "cnn_jax.lookup.load_file(path='canary.py')",
        "functools.partial",
        "flax.linen.Module",
        "small_cnn(act=digits)",
        "small_cnn(norm=tfds(name='x'))",
        "small_cnn(act=folder(path='/etc'))",
        "small_cnn(conv=npz(path='/etc/passwd'))",
        "resnet18(blocks=(1000000000, 1, 1, 1))",
        "small_cnn(features=(1000000000,))",
        "small_cnn(act=3)",
        "small_cnn(norm=jax.nn.relu)",
        "lenet5",
        "small_cnn" + "(" * 5000,
        "small_cnn(act=" * 800 + "1" + ")" * 800,
        "a" * 20_000,
        "small_cnn\0",
        "compose(flip)",
        "",
    ],
    "model.task": [
        "cnn_jax.augment.geometry.flip",
        "several()",
        "cnn_jax.data.digits.digits",
        "classify(label_smoothing=nan)",
    ],
    "augment": ["compose(open('canary', 'w'))", "digits", "jax.numpy.fromfile", "compose(3)"],
    "optim.build": ["optax.contrib", "optax.inject_hyperparams", "exec('1')"],
    "evaluate.also": ["elsewhere(source='folder:/etc', split=open('canary', 'w'))", "jax.numpy.save"],
}
CONFIGS: dict[str, Any] = {
    **{f"{field} = {what[:40]}": put(field, what) for field, texts in FUNCTIONS.items() for what in texts},
    "a pair of brackets": "[]",
    "nothing": "",
    "null": "null",
    "nested 100,000 deep": DEEP,
    "a number of 5,000 digits": '{"seed": ' + "9" * 5000 + "}",
    "not a number": '{"seed": NaN}',
    "no text": b"\xff\xfe\0",
    "data = null": put("data", None),
    "data = []": put("data", []),
    "model = text": put("model", "x"),
    "name = ../../canary": put("name", "../../canary"),
    "devices = -1": put("compute.devices", -1),
    "a field too many": put("canary", 1),
}
DATA: dict[str, Any] = {
    "data: nested 100,000 deep": DEEP,
    "data: nothing": "{}",
    "data: shape of 10**18": put("inputs.image.shape", [10**9, 10**9, 1]),
    "data: text for a shape": put("inputs.image.shape", "8x8"),
    "data: negative shape": put("inputs.image.shape", [-8, 8, 1]),
    "data: objects": put("inputs.image.dtype", "object"),
    "data: classes = null": put("classes", None),
    "data: classes that are numbers": put("classes", list(range(10))),
    "data: 100,000 classes": put("classes", [str(number) for number in range(100_000)]),
    "data: inputs = null": put("inputs", None),
    "data: another role": put("targets.label.role", "boxes"),
    "data: a million pixels a side": put("prepare.size", [10**6, 10**6]),
    "data: text for a mean": put("prepare.mean", ["a"]),
    "data: prepare = []": put("prepare", []),
    "data: a name in another folder": put("name", 5),
}


def changed(path: Path, change: Any) -> None:
    """`path` with other content, or with a JSON value changed."""
    if callable(change):
        values = json.loads(path.read_text())
        change(values)
        change = json.dumps(values)
    path.write_bytes(change if isinstance(change, bytes) else change.encode())


def linked(name: str, target: str) -> Make:
    def make(run: Path) -> None:
        path = run / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to((run.parent / target).absolute())

    return make


def sealed_by(line: str) -> Make:
    return lambda run: (run / "checkpoints" / "2.sha256").write_text(f"{line}\n")


def huge_checkpoint(run: Path) -> None:
    """One whose array declares 10**12 numbers, none of which is there, with a seal that fits."""
    import tensorstore

    state = run / "checkpoints" / "2" / "state"
    kvstore = {"driver": "ocdbt", "base": f"file://{state}/", "path": "params.classifier.bias/"}
    how = {"create": True, "delete_existing": True, "dtype": tensorstore.float32, "shape": [10**12]}
    tensorstore.open({"driver": "zarr", "kvstore": kvstore}, **how).result()
    _seal(run / "checkpoints", 2)


EXPLAINED: dict[str, Make] = {
    "explanations lead elsewhere": linked("explanations", "elsewhere"),
    "an explanation leads to a file": linked("explanations/picture.png", "mine"),
}
FOLDERS: dict[str, Make] = {
    "predictions lead elsewhere": linked("predictions", "elsewhere"),
    "a picture leads to a file": linked("predictions/picture.png", "mine"),
    "a picture leads to a new file": linked("predictions/picture.png", "new"),
    "config.json is a device": linked("config.json", "../../../../../../../../../dev/zero"),
    "config.json is a link to itself": linked("config.json", "run/config.json"),
    "data.json is a pipe": lambda run: (run / "data.json").unlink() or os.mkfifo(run / "data.json"),
    "the seal names a device": sealed_by("0" * 64 + "  /dev/zero"),
    "the seal names another folder": sealed_by("0" * 64 + "  2/../../../mine"),
    "the seal is no text": lambda run: (run / "checkpoints" / "2.sha256").write_bytes(b"\xff\0" * 1000),
    "no checkpoint": lambda run: shutil.rmtree(run / "checkpoints"),
    "a checkpoint of nothing": lambda run: [p.unlink() for p in (run / "checkpoints" / "2").rglob("*") if p.is_file()],
    "a checkpoint that declares 10**12 numbers": huge_checkpoint,
    "a predictor that runs": lambda run: (
        (run / "config.json")
        .rename(run / "predictor.json")
        .write_text(json.dumps({"model": "os.system", "task": "classify"}))
    ),
    "a predictor of a source": lambda run: (
        (run / "config.json")
        .rename(run / "predictor.json")
        .write_text(json.dumps({"model": "small_cnn(act=digits)", "task": "classify"}))
    ),
    "a predictor of numbers": lambda run: (
        (run / "config.json").rename(run / "predictor.json").write_text('{"model": 1}')
    ),
}
