"""Fixtures that many tests share: small networks whose confidences and selections differ between images."""

from __future__ import annotations

import ast
import atexit
import gc
import html
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loaded_once import load_graphs_once
from one_thread import compute_on_one_thread
from warm_starts import *  # noqa: F403

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_NAMES = ("cfvit-224-7x7", "lfvit-224-m5")


def write_into_memory(folder: str = "/dev/shm") -> None:
    """Temporary files of the tests, and of what they start, go into memory where Linux has room for them: 0.3 GB.

    On a disk, `fsync` and the removal of thousands of small files take a fifth of the time.
    """
    if "TMPDIR" in os.environ or not os.access(folder, os.W_OK):  # a worker has it from the process that started it
        return
    if shutil.disk_usage(folder).free > 2 << 30 and not os.statvfs(folder).f_flag & os.ST_NOEXEC:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = folder
        os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="sacvit-tests-", dir=folder)
        atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)


write_into_memory()

# No test, and no process that one starts, reads or writes the user's own ~/.cache. Here and not in a fixture: ONNX Runtime
# opens a file there when it is imported, and conftest.py of tests/export imports it before the first test.
OWN_CACHE = tempfile.mkdtemp(prefix="sacvit-tests-")
os.environ["XDG_CACHE_HOME"] = OWN_CACHE
os.environ["XDG_STATE_HOME"] = OWN_CACHE  # where events wait
atexit.register(shutil.rmtree, OWN_CACHE, ignore_errors=True)

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch and OpenBLAS, here and in what a test starts
compute_on_one_thread()
load_graphs_once()


def choose_examples() -> None:
    """Property tests try the same 30 examples on every machine: the suite is never red by chance. `make fuzz` draws 200.

    A test with a number of its own has few examples since each takes long.
    """
    try:
        from hypothesis import HealthCheck, settings
    except ImportError:  # tests/gpu runs without it
        return
    slow = [HealthCheck.too_slow]  # a loaded machine is no fault of a test
    settings.register_profile(
        "suite", max_examples=30, derandomize=True, database=None, deadline=None, suppress_health_check=slow
    )
    settings.register_profile("fuzz", max_examples=200, deadline=None, print_blob=True, suppress_health_check=slow)
    settings.load_profile("suite")


choose_examples()


# Each takes over 6 s. They come first, the longest before: at the end one of two processes would wait for the other.
LONG = (
    # of make test-programs
    *("test_readme.py", "export/checks/test_compiler.py", "bindings/test_dry_run.py", "test_notebook.py"),
    *("serving/test_server.py", "export/choice/test_choose.py", "export/plans/test_build.py", "test_own_classes.py"),
    *("export/plans/test_attention.py", "serving/test_benchmark.py", "examples/test_digits.py", "test_field.py"),
    "examples/test_failing.py",
    # of make test
    *(
        "profiles/tuning/test_tune.py",
        "training/test_train.py",
        "test_architecture.py",
        "export/precision/test_cascade.py",
    ),
    *("training/test_workers.py", "commands/test_run.py", "commands/test_export.py"),
    *("profiles/reports/test_figures.py", "export/precision/test_variants.py", "commands/test_profile.py"),
    *(
        "export/precision/test_leave_out.py",
        "runtime/sources/test_network.py",
        "export/test_planted_faults.py",
        "export/precision/test_strangers.py",
    ),
    *("profiles/test_profile.py", "profiles/tuning/test_stored_answers.py", "commands/test_service.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


def pytest_collection_finish() -> None:
    """What was imported stays: each full collection would walk through all of torch, in 4 % of the time of the suite."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@dataclass(frozen=True)
class Golden:
    """Outputs of the public CF-ViT or LF-ViT code for one checkpoint, and the options that describe it."""

    checkpoint: Path
    options: dict[str, Any]
    image_u8: np.ndarray
    coarse_logits: np.ndarray
    fine_logits: np.ndarray
    fine_index: np.ndarray


def load_golden(name: str) -> Golden:
    arrays = np.load(GOLDEN / f"{name}.npz", allow_pickle=False)
    geometry = ast.literal_eval(str(arrays["config"]))
    options = {"heads": geometry["num_heads"], "alpha": geometry["alpha"], "attention": "global"}
    if "region_size" in geometry:
        options |= {"selection": "window", "window": geometry["region_size"]}
    names = ("image_u8", "coarse_logits", "fine_logits", "fine_index")
    return Golden(GOLDEN / f"{name}.pth", options, *(arrays[key] for key in names))


@pytest.fixture(params=GOLDEN_NAMES)
def golden(request: pytest.FixtureRequest) -> Golden:
    return load_golden(request.param)


@pytest.fixture(autouse=True)
def keep_handlers() -> Iterator[None]:
    """Commands take SIGTERM, SIGHUP and the log for themselves."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGHUP)]
    yield
    for number, handler in before:
        signal.signal(number, handler)
    ours = logging.getLogger("sacvit")
    ours.handlers, ours.propagate = [], True
    ours.setLevel(logging.NOTSET)


@pytest.fixture
def figures_as_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's figures are empty SVGs with their labels: for tests of what stands around them. A page's take 1 to 3 s."""

    def render(label: str, *_: object, **__: object) -> str:
        return f'<svg class="narrow" role="img" aria-label="{html.escape(label)}"></svg>'

    monkeypatch.setattr("sacvit.profiles.reports.figures.render", render)


@pytest.fixture
def page(figures_as_labels: None) -> None:
    """Asked for by a test of a page's text, where `pages_where_asked` is in use."""


@pytest.fixture
def narrow_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's figures in one size: in the other the same is drawn, and both have tests of their own."""
    from sacvit.profiles.reports import figures, svg

    def render(label: str, draw: Any, height: float, *_: object) -> str:
        return svg.render(label, draw, height, svg.PHONE)

    monkeypatch.setattr(figures, "render", render)


@pytest.fixture
def drawn_page(narrow_figures: None) -> None:
    """Asked for by a test of a page and its figures, where `pages_where_asked` is in use."""


@pytest.fixture
def pages_where_asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that asks for neither `page` nor `drawn_page` runs as where the packages of a page are missing."""
    if not {"page", "drawn_page"} & set(request.fixturenames):
        monkeypatch.setitem(sys.modules, "jinja2", None)


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that writes a small random checkpoint and returns its path; entries of ModelConfig may be changed."""

    def make(seed: int = 0, **changes: Any) -> Path:
        torch = pytest.importorskip("torch")

        from sacvit.bundle.preprocess import Preprocessing
        from sacvit.model.config import preset
        from sacvit.model.dense import NETWORKS
        from sacvit.model.write_checkpoint import save_checkpoint

        torch.manual_seed(seed)
        geometry = {"image_size": 64, "patch_size": 8, "width": 32, "depth": 5, "heads": 2, "hidden": 64, "classes": 7}
        config = preset("demo", **(geometry | changes))
        model = NETWORKS[config.task].two_stage(config)
        with torch.no_grad():
            for parameter in model.parameters():  # wide, so that images differ in confidence and in targets
                parameter.add_(torch.randn_like(parameter) * (0.12 if parameter.ndim > 1 else 0.05))
        path = tmp_path_factory.mktemp("checkpoint") / "model.pth"
        save_checkpoint(path, model, Preprocessing(config.image_size))
        return path

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(make_checkpoint: Any) -> Path:
    return make_checkpoint()


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the tiny checkpoint, with a symbolic batch and threshold 0.4."""
    from sacvit.export.write_bundle import export

    return export(tiny_checkpoint, tmp_path_factory.mktemp("bundle") / "build", threshold=0.4).folder


@pytest.fixture(scope="session")
def dense_bundle(make_checkpoint: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small random dense network with its plain ViT: 8 x 8 cells, 3 classes, threshold 0.5."""
    checkpoint = make_checkpoint(task="dense", classes=3)
    from sacvit.export.write_bundle import export

    labels = checkpoint.with_name("labels.txt")
    labels.write_text("ground\nbolt\nnut\n")
    folder = tmp_path_factory.mktemp("dense") / "build"
    return export(checkpoint, folder, labels=labels, threshold=0.5, plain=True).folder


def colour_fields(count: int) -> np.ndarray:
    """(count, 64, 64, 3) uint8: smooth colour fields with noise."""
    import cv2

    rng = np.random.default_rng(7)
    fields = [cv2.resize(rng.uniform(0, 255, (5, 5, 3)).astype(np.float32), (64, 64)) for _ in range(count)]
    return np.clip(np.stack(fields) + rng.normal(0, 10, (count, 64, 64, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """(12, 64, 64, 3) uint8: smooth colour fields with noise."""
    return colour_fields(12)


@dataclass(frozen=True)
class Calibration:
    """Images with labels that the tiny network, in FP32 and at `threshold`, gets all right; 21 of the 40 exit."""

    path: Path  # an .npz of `images` and `labels`
    images: np.ndarray  # (40, 64, 64, 3) uint8
    labels: np.ndarray
    threshold: float


@pytest.fixture(scope="session")
def calibration_images(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    from sacvit.calibration.onnx_session import Pair
    from sacvit.export.pair_graphs import build_pair
    from sacvit.model.checkpoint import load_checkpoint

    threshold = 0.302
    shown, pair, found = colour_fields(160), Pair(*build_pair(load_checkpoint(tiny_checkpoint), None)), []
    for batch in np.split(shown, 20):
        coarse = pair.run_ee(batch)
        exits = coarse["confidence"] >= np.float32(threshold)
        found.append((coarse["confidence"], np.where(exits[:, None], coarse["logits"], pair.run_sac(batch, coarse))))
    confidence, logits = (np.concatenate(parts) for parts in zip(*found, strict=True))
    # Neither a gate nor a class hangs on a rounding: a random network has no margins of its own.
    top = np.sort(logits, axis=1)
    clearest = np.argsort(top[:, -2] - top[:, -1], kind="stable")
    clearest = clearest[np.abs(confidence[clearest] - threshold) > 0.005]
    exits = confidence[clearest] >= threshold
    chosen = np.sort(np.concatenate([clearest[exits][:21], clearest[~exits][:19]]))
    shown, labels = shown[chosen], logits[chosen].argmax(-1)
    assert len(shown) == 40
    path = tmp_path_factory.mktemp("calibration") / "images.npz"
    np.savez(path, images=shown, labels=labels)
    return Calibration(path, shown, labels, threshold)


@pytest.fixture(scope="session")
def typed_bundle(
    tiny_checkpoint: Path, calibration_images: Calibration, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """The Bundle of the tiny checkpoint with every variant, calibrated on `calibration_images`."""
    from sacvit.export.precision.request import PrecisionOptions
    from sacvit.export.write_bundle import export

    # No gate flips here; on another processor one rounding may, and two gates with it.
    options = PrecisionOptions(int8=True, fp16=True, calib=calibration_images.path, limits={"exit_agreement": 0.9})
    folder = tmp_path_factory.mktemp("typed") / "build"
    return export(tiny_checkpoint, folder, threshold=calibration_images.threshold, precision=options)


# Committed bundles, and what runs over them: these tests run where torch and onnx are not.
RUNTIME_BUNDLES = Path(__file__).parent / "runtime" / "bundles"


@pytest.fixture(scope="session")
def bundles() -> Path:
    return RUNTIME_BUNDLES


@pytest.fixture(scope="session")
def plain_bundle() -> Path:
    """A bundle with a plain ViT and seven classes, at a threshold that half of its own images pass."""
    return RUNTIME_BUNDLES / "plain"


@pytest.fixture(scope="session")
def few_goldens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed bundle of every variant with 16 reference answers of 96, for what checks plans in processes of its own."""
    from sacvit.bundle.files import sha256_of
    from sacvit.bundle.goldens import GOLDENS_NAME, read_goldens
    from sacvit.bundle.manifest import read_manifest, write_manifest

    folder = Path(shutil.copytree(RUNTIME_BUNDLES / "typed", tmp_path_factory.mktemp("few") / "typed"))
    goldens, manifest = read_goldens(folder), read_manifest(folder)
    replace(goldens, **{name: array[:16] for name, array in vars(goldens).items()}).write(folder / GOLDENS_NAME)
    manifest.goldens_sha256 = sha256_of(folder / GOLDENS_NAME)
    write_manifest(folder, manifest)
    return folder


@pytest.fixture(scope="session")
def engines() -> tuple[str, str]:
    return str(RUNTIME_BUNDLES / "bundle" / "ee.onnx"), str(RUNTIME_BUNDLES / "bundle" / "sac.onnx")


@pytest.fixture(scope="session")
def int8_engines() -> tuple[str, str]:
    """The INT8 pair of the same export; its threshold is 0.502 where FP32's is 0.5."""
    return str(RUNTIME_BUNDLES / "typed" / "ee.int8.onnx"), str(RUNTIME_BUNDLES / "typed" / "sac.int8.onnx")


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    """(24, 32, 32, 3) uint8 RGB: smooth colour fields with noise; at the stored threshold of 0.5, 17 exit."""
    import cv2

    rng = np.random.default_rng(7)
    fields = [cv2.resize(rng.uniform(0, 255, (5, 5, 3)).astype(np.float32), (32, 32)) for _ in range(24)]
    return np.clip(np.stack(fields) + rng.normal(0, 10, (24, 32, 32, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def picture_folder(tmp_path: Path, pictures: np.ndarray) -> Path:
    """Six PNG pictures, 00.png to 05.png."""
    import cv2

    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, picture in enumerate(pictures[:6]):
        assert cv2.imwrite(str(folder / f"{index:02}.png"), picture[:, :, ::-1])
    return folder


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory, pictures: np.ndarray) -> Path:
    """A video of 20 frames, 96 x 64."""
    import cv2

    path = tmp_path_factory.mktemp("video") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    assert writer.isOpened()
    for picture in pictures[:20]:
        writer.write(cv2.resize(picture, (96, 64)))
    writer.release()
    return path


FAKE_GPU = Path(__file__).parent / "fake_gpu"


class FakeGpu:
    """The stand-ins for TensorRT and CUDA, in this process and in those that it starts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import tensorrt
        from cuda.bindings import runtime

        self.tensorrt, self.device, self._monkeypatch = tensorrt, runtime.DEVICE, monkeypatch

    def become(self, version: str = "10.3", *faults: str) -> None:
        """TensorRT of another version, with planted faults: tests/fake_gpu/tensorrt."""
        self._monkeypatch.setenv("FAKE_TENSORRT", version)
        self._monkeypatch.setenv("FAKE_TENSORRT_FAULTS", ",".join(faults))
        self.tensorrt.become(version, *faults)

    def reset(self, **settings: Any) -> None:
        """Another GPU: see `Device.reset` of the stand-in. Forget what was opened on the one before."""
        from sacvit.runtime.engines.cuda import open_cuda

        self._monkeypatch.setenv("FAKE_CUDA", json.dumps(settings))
        self.device.reset(**settings)
        open_cuda.cache_clear()

    def work_here(self) -> None:
        """A build's jobs run in this process, over 8 goldens, and time fewer passes. Faults planted here are seen.

        The children are tested on their own.
        """
        from sacvit.export.plans import build, check, rtx, stages, verify
        from sacvit.export.plans.worker import run_job

        def some_goldens(folder: Path) -> Any:
            goldens = read_goldens(folder)
            return replace(goldens, **{name: array[:8] for name, array in vars(goldens).items()})

        read_goldens = verify.read_goldens
        self._monkeypatch.setattr(verify, "read_goldens", some_goldens)

        for module in (build, check, rtx, stages):
            self._monkeypatch.setattr(
                module, "run_child", lambda spec, work, report: run_job(json.loads(json.dumps(spec)))
            )
        self._monkeypatch.setattr(verify, "WARM_UP_PASSES", 1)
        self._monkeypatch.setattr(verify, "TIMED_PASSES", 3)


def _forget_modules() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tensorrt", "tensorrt_rtx", "cuda")]:
        del sys.modules[name]


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    """A machine with TensorRT 10.3 and a discrete GPU, both pretended."""
    from sacvit.runtime.engines.cuda import open_cuda

    _forget_modules()
    open_cuda.cache_clear()
    monkeypatch.syspath_prepend(str(FAKE_GPU))
    monkeypatch.setenv("PYTHONPATH", str(FAKE_GPU), prepend=os.pathsep)
    for name in ("FAKE_TENSORRT", "FAKE_TENSORRT_FAULTS", "FAKE_CUDA"):
        monkeypatch.delenv(name, raising=False)
    yield FakeGpu(monkeypatch)
    open_cuda.cache_clear()
    _forget_modules()


@pytest.fixture(scope="session")
def plan_store(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Path]:
    return {"home": tmp_path_factory.mktemp("plans")}


@pytest.fixture
def make_plans(fake_gpu: FakeGpu, plan_store: dict[Any, Path]) -> Any:
    """A function that gives a folder with the plans of tests/runtime's typed bundle, built once for each set of options."""
    bundle = Path(__file__).parent / "runtime" / "bundles" / "typed"

    def make(version: str = "10.3", wanted: str = "fp32", batches: tuple[int, ...] = (1, 4), **gpu: Any) -> Path:
        from sacvit.export.plans.build import build
        from sacvit.export.plans.request import BuildRequest

        fake_gpu.become(version)
        fake_gpu.reset(**gpu)
        key = version, wanted, batches, tuple(gpu.items())
        if key not in plan_store:
            fake_gpu.work_here()
            folder = plan_store["home"] / str(len(plan_store))
            build(bundle, folder, BuildRequest(family=wanted, batches=batches))
            plan_store[key] = folder
            fake_gpu.reset(**gpu)
        fake_gpu.tensorrt.CALLS.clear()
        return plan_store[key]

    return make
