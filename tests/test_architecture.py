"""The shape of the package: who may import whom, where the drivers are, how long a file may be."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "offload_backend"
SOURCES = sorted(PACKAGE.rglob("*.py"))

LAYERS = {
    "data": ["address", "durations", "errors", "location", "memory", "ref", "row", "settings"],
    "port": [
        *("blobfile", "blobstore", "bucket", "codecs", "corestore", "crypto"),
        *("observation", "peervalue", "rootsource"),
    ],
    "policy": [
        *("blobs", "description", "inventory", "isolation", "knownrefs", "lifecycle"),
        *("memorylimit", "offloader", "recent", "reclaimer", "signature", "storemap"),
    ],
    "store": ["stores"],
    "core store": ["corestores"],
    "key source": ["crypto.kms"],
    "opening": ["stores.opening"],
    "configuration": ["configuration"],
    "diagnosis": ["diagnosis"],
    "stand-alone": ["accessors", "checkpointer", "custom", "namespace", "state"],
    "airflow": ["airflow"],
    "cli": ["cli"],
    "testing": ["testing"],
    "package": [""],
}
"""Which modules, or packages with all below them, make up each layer; the longest match counts."""

INNER = {"package", "data", "port"}
ADAPTERS = {"store", "core store", "opening"}
BUILT = INNER | ADAPTERS | {"policy", "configuration"}
MAY_IMPORT = {
    "data": {"package", "data"},
    "port": INNER,
    "policy": INNER | {"policy"},
    "store": INNER | {"store"},
    "core store": INNER | {"core store"},
    "key source": INNER | {"key source"},
    "opening": INNER | {"store"},
    "configuration": {"package", "data"},
    "diagnosis": INNER | {"policy", "configuration", "diagnosis"},
    "stand-alone": BUILT | {"stand-alone"},
    "airflow": BUILT | {"airflow"},
    "cli": BUILT | {"stand-alone", "airflow", "diagnosis", "cli"},
    "testing": BUILT | {"stand-alone", "airflow", "testing"},
    "package": {"stand-alone"},  # lazily, for `from offload_backend import connect`
}

KINDS_ON_NUMPY = [
    *("numpy", "numpy_dtypes", "numpy_objects", "numpy_random", "numpy_scalars"),
    *("pandas", "pandas_arrays", "pandas_scalars", "scipy"),
]
DRIVERS = {
    "airflow": ["airflow", "testing.airflow_state", "testing.supervisor"],
    "boto3": ["stores", "airflow.connections", "crypto.kms", "testing.s3_bucket"],
    "botocore": ["stores", "airflow.connections", "crypto.kms"],
    "s3fs": ["stores", "airflow.connections"],
    "gcsfs": ["stores.opening"],
    "fsspec": ["stores", "airflow.connections", "peervalue"],
    "anyio": ["airflow.ui"],
    "fastapi": ["airflow.ui"],
    "starlette": ["airflow.ui"],
    "sqlalchemy": ["corestores", "airflow.ui"],
    "httpx": ["corestores.rest_client"],
    "zstandard": ["blobfile", "peervalue"],
    "blake3": ["blobfile"],
    "cryptography": ["blobfile.encrypted"],
    "opentelemetry": ["observation.otel"],
    "orjson": ["codecs.json", "codecs.json_reading", "codecs.tree"],
    "msgspec": ["codecs.json_reading", "codecs.tree"],
    "numpy": [f"codecs.tree.{name}" for name in KINDS_ON_NUMPY],
    "pandas": ["codecs.tree.pandas", "codecs.tree.pandas_arrays", "codecs.tree.pandas_scalars"],
    "polars": ["codecs.tree.polars"],
    "pyarrow": ["codecs.tree.pyarrow", "codecs.tree.pandas_arrays"],
    "pytz": ["codecs.tree.pytz"],
    "scipy": ["codecs.tree.scipy"],
    "torch": ["codecs.tree.torch"],
    "pydantic": ["settings", "airflow.provider", "diagnosis.configured"],
    "typer": ["cli"],
    "rich": ["cli"],
    "matplotlib": ["cli.stats_plot"],
    "pytest": ["testing"],
    "hypothesis": ["testing"],
    "moto": ["testing.s3_bucket"],
}
"""The only places that may import a library, by its name."""

LONGEST_FILE = 300
LONGEST_FUNCTION = 45


def module_of(path: Path) -> str:
    """The module's name without the package's: ``stores.s3``, or empty for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str:
    candidates = [
        (len(name), layer)
        for layer, names in LAYERS.items()
        for name in names
        if (name and is_in(module, name)) or module == name
    ]
    assert candidates, f"offload_backend.{module} belongs to no layer: add it to LAYERS"
    return max(candidates)[1]


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Full names of all imported modules, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            assert node.module is not None
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name for name in submodules if own(name) in MODULES]
            yield from found or [node.module]


def own(name: str) -> str | None:
    """The module's name without the package's, or ``None`` for another package's."""
    top, _, rest = name.partition(".")
    return rest if top == "offload_backend" else None


MODULES = {module_of(path): path for path in SOURCES}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in MODULES.items()}
IMPORTS = {module: sorted(set(imports_of(tree))) for module, tree in TREES.items()}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_inwards_only(module):
    layer = layer_of(module)
    for name in IMPORTS[module]:
        imported = own(name)
        if imported is not None and imported != module:
            other = layer_of(imported)
            assert other in MAY_IMPORT[layer], f"{layer} module {module} imports {other} module {imported}"


@pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer != "package"])
def test_every_layer_has_modules(layer):
    assert any(layer_of(module) == layer for module in MODULES)


def adapters() -> set[str]:
    """Modules of stores and core stores that define one."""
    return {
        module
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and layer_of(module) in ADAPTERS
        and node.name.endswith(("BlobStore", "CoreStore", "CoreReader"))
    }


@pytest.mark.parametrize("adapter", sorted(adapters()))
def test_an_adapter_does_not_know_another(adapter):
    others = {own(name) for name in IMPORTS[adapter]} & adapters()
    assert others <= {adapter}


@pytest.mark.parametrize("library", DRIVERS)
def test_a_library_is_imported_only_where_it_belongs(library):
    for module, names in IMPORTS.items():
        if any(is_in(name, library) for name in names):
            assert any(is_in(module, place) for place in DRIVERS[library]), f"{module} imports {library}"


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_are_short(module):
    text = MODULES[module].read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_named_for_its_concept(module):
    vague = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base"}
    assert not set(re.split(r"[._]", module)) & vague


DRIVERS_OF_STORES = ["airflow", "fsspec", "boto3", "botocore", "s3fs", "sqlalchemy", "typer"]


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("offload_backend", [*DRIVERS_OF_STORES, "pydantic", "zstandard", "orjson", "msgspec"]),
        ("offload_backend.airflow", [*DRIVERS_OF_STORES, "pydantic", "zstandard", "orjson", "msgspec"]),
        ("offload_backend.airflow.provider", DRIVERS_OF_STORES),
        ("offload_backend.reclaimer", DRIVERS_OF_STORES),
        (
            "offload_backend.testing.plugin",
            [*DRIVERS_OF_STORES, "pydantic", "zstandard", "orjson", "msgspec", "moto"],
        ),
    ],
)
def test_importing_a_module_imports_nothing_heavy(module, heavy):
    script = f"import sys; sys.path[:] = {sys.path!r}; import {module}; print(*set({heavy!r}) & sys.modules.keys())"
    command = [sys.executable, "-S", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


# Taken apart, so that this file does not find itself.
MACHINE = re.compile(r"(?<![\w.])/(?:" + "|".join(["root", "home", "Users"]) + r")/[\w.]")
REGISTRY = re.compile("|".join(["pypi" + r"\.org/simple", "pythonhosted" + r"\.org", "registry" + r"\.npmjs"]))


def files_of_the_repository() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("pattern", [MACHINE, REGISTRY], ids=["a machine's path", "a registry's address"])
def test_no_file_holds(pattern):
    found = []
    for path in files_of_the_repository():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in pattern.finditer(text)]
    assert not found


def test_a_line_with_a_machines_path_would_be_found():
    for line in ("cd /ho" + "me/me", "'/ro" + "ot/.cache'", "(/Us" + "ers/me/x)"):
        assert MACHINE.search(line), line
    for line in ("/homes/x", "s3://bucket/home/x", "./home/x", "~/x"):
        assert not MACHINE.search(line), line
