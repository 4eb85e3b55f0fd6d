"""Folders of finished runs as a sweep leaves them, written without training anything."""

import json
import math
import struct
import zlib
from pathlib import Path
from typing import Any

SETTINGS = [
    {"lr": lr, "weight_decay": decay, "schedule": schedule, "width": width}
    for lr in (0.003, 0.01, 0.03, 0.1, 0.3)
    for decay in (0.0, 1e-4)
    for schedule in ("cosine", "constant")
    for width in (16, 32)
]


def sweep(folder: Path, *, configurations: int = len(SETTINGS), seeds: int = 5, rows: int = 100) -> list[Path]:
    """A folder for each seed of each of the first `configurations` of SETTINGS."""
    return [
        run(folder / f"c{number:02}" / f"seed{seed}", settings, seed=seed, rows=rows)
        for number, settings in enumerate(SETTINGS[:configurations])
        for seed in range(seeds)
    ]


def run(folder: Path, settings: dict[str, Any], *, seed: int = 0, rows: int = 100, **files: Any) -> Path:
    """One run; files: what else stands in a file of JSON, by its name without the ending."""
    folder.mkdir(parents=True)
    good = (
        0.9
        - 0.1 * abs(math.log10(settings["lr"] / 0.05))
        + 0.03 * (settings["schedule"] == "cosine")
        + settings["width"] / 1600
    )
    good += 0.004 * ((7 * seed + hash_of(settings)) % 5 - 2)
    scores = {"loss": 2 - 2 * good, "top1": good, "top5": good**0.2, "interval95": {"top1": [good - 0.01, good + 0.01]}}
    about = {"name": "photos", "fingerprint": "a" * 64, "targets": {}, "inputs": {}, "examples": 5000, "notes": []}
    config = {
        "name": "sweep",
        "data": {"source": "nowhere", "validation": 0.1},
        "model": {"build": f"small_cnn(width={settings['width']})", "task": "cnn_jax.tasks.classify.classify"},
        "optim": {name: value for name, value in settings.items() if name != "width"},
        "seed": seed,
    }
    results = {
        "test": {**scores, "top1": good - 0.01},
        "validation": {**scores, "step": 10 * rows, "split": "validation"},
        "also": {},
        "headline": "top1",
        "seed": seed,
        "steps": 10 * rows,
        "seconds": {"total": 4.0 * settings["width"] + seed, "train": 3.0 * settings["width"], "compile": 5.0},
        "parameters": 1000 * settings["width"],
        "devices": "2 x cpu",
        "best_step": 10 * rows,
    }
    found = {"config": config, "data": about, "versions": {"jax": "0.10.2"}, "results": results}
    for name, value in found.items():
        (folder / f"{name}.json").write_text(json.dumps({**value, **files.get(name, {})}))
    lines = []
    for number in range(1, rows + 1):
        step, share = 10 * number, 1 - math.exp(-5 * number / rows)
        noise = 0.03 * math.sin(3 * number + 2 * seed)
        train = {"loss": 2.3 - 2 * good * share + noise, "top1": good * share, "learning_rate": settings["lr"]}
        train |= {"grad_norm": 1 + noise, "examples_per_second": 900.0, "epoch": step / 100}
        lines.append({"step": step, "split": "train", **train, "time": 1.7e9 + step})
        if number % 10 == 0:
            scored = {"loss": 2.3 - 1.9 * good * share, "top1": good * share - noise / 5, "epoch": step / 100}
            lines.append({"step": step, "split": "validation", **scored, "time": 1.7e9 + step})
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def hash_of(settings: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(settings, sort_keys=True).encode())


def picture(path: Path, *, side: int = 64, more: int = 0) -> None:
    """A grey PNG, with as many bytes after its end."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(range(side)) for _ in range(side)) if side < 256 else b"")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"") + bytes(more)
    )
