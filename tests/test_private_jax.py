"""What of jax is used that jax does not promise to keep."""

import ast
from pathlib import Path

import jax

ROOT = Path(__file__).parents[1]
# jax 0.10.2 and 0.12.0.1 were seen to have these, with the meaning that the files rely on. Before a newer version is
# allowed, in setup.cfg and below, the tests of these files have to pass with it.
PRIVATE = {
    ("cnn_jax/ops/conv_primitives.py", "jax._src.dispatch.prim_requires_devices_during_lowering"),
    ("cnn_jax/ops/conv_primitives.py", "jax._src.sharding_impls.ShardingContext"),
    ("cnn_jax/ops/conv_primitives.py", "jax._src.sharding_impls.SPMDAxisContext"),
    ("cnn_jax/processes/cluster.py", "jax._src.clusters.ClusterEnv"),
}
OLDEST, NEWEST = (0, 10), (0, 12)


def private_names(path: Path) -> set[str]:
    """Full names from jax._src that a file imports or reaches through an attribute."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute):
            found.add(ast.unparse(node))
    return {name for name in found if name.startswith("jax._src") or "._src." in name}


def test_private_parts_of_jax_are_used_in_known_places_only():
    files = [*(ROOT / "cnn_jax").rglob("*.py"), *(ROOT / "experiments").rglob("*.py"), ROOT / "launch.py"]
    found = {(str(path.relative_to(ROOT)), name) for path in files for name in private_names(path)}
    assert found == PRIVATE


def test_the_installed_jax_is_one_whose_private_parts_are_known():
    assert OLDEST <= jax.__version_info__[:2] <= NEWEST
    assert "jax>=0.10,<0.13" in (ROOT / "setup.cfg").read_text()
