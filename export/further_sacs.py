"""SAC graphs with other shares of target blocks (alpha) beside a bundle's own, all of which read the same EE's hand-off.

M is fixed per graph, so another alpha is another SAC graph of the same weights. EE's files serve all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx

from ..bundle.errors import ConfigError
from ..bundle.precision import Form, Precision, Products, file_name
from ..bundle.stage_record import HAND_OFF
from ..calibration.guards import Guard
from ..calibration.onnx_session import Arrays, Session
from ..model.checkpoint import Checkpoint
from ..model.config import ModelConfig
from .checks.lint import require_clean
from .checks.parity import CHECK_IMAGES, EXACT, Check, check_images, check_pair, difference
from .graphs.selection import HandOff
from .pair_graphs import build_graphs
from .precision.options import Graphs, Models

FILES = "sac-alpha*.onnx"  # all that an export may have written


@dataclass
class FurtherSac:
    """A SAC with an alpha of its own. graphs: FP32 in each form, with EE; models, guards: in every precision of the bundle."""

    config: ModelConfig
    graphs: Graphs
    models: dict[Precision, onnx.ModelProto]
    guards: dict[Precision, list[Guard]] = field(default_factory=dict)

    @property
    def alpha(self) -> float:
        return self.config.alpha


def configs_of(config: ModelConfig, alphas: Sequence[float]) -> list[ModelConfig]:
    """The config with each alpha. Raises ConfigError for one that leaves no non-target, or gives a number of targets twice."""
    if alphas and config.task == "dense":
        raise ConfigError("--sac-alpha is for classifiers: a dense task has one SAC")
    found, taken = [], {config.targets: config.alpha}
    for alpha in alphas:
        one = replace(config, alpha=alpha)
        if one.targets in taken:
            raise ConfigError(
                f"--sac-alpha {alpha:g} makes {one.targets} of {config.blocks} blocks targets, as alpha"
                f" {taken[one.targets]:g} does: it would be the same graph. Leave it out"
            )
        taken[one.targets] = alpha
        found.append(one)
    return found


def with_config(checkpoint: Checkpoint, config: ModelConfig) -> Checkpoint:
    """The same weights with other switches."""
    model = copy.copy(checkpoint.model)  # shares its parameters
    model.config = config
    return replace(checkpoint, model=model)


def build_further(
    checkpoint: Checkpoint,
    configs: Sequence[ModelConfig],
    batch: int | None,
    forms: Sequence[Form],
    products: Products,
    handed: HandOff,
) -> list[FurtherSac]:
    """The SACs of these configs, which read EE's hand-off for several. Raises GuardError for one that is not portable."""
    made = []
    for config in configs:
        graphs = build_graphs(with_config(checkpoint, config), batch, forms, products, handed)
        sac = graphs["cpu"]["SAC"]
        require_clean(file_name("SAC", "fp32", config.alpha), sac)
        made.append(FurtherSac(config, graphs, {"fp32": sac}))
    return made


def check_further(
    shared: Graphs,
    further: Sequence[FurtherSac],
    checkpoint: Checkpoint,
    batch: int | None,
    form: Form,
    products: Products,
) -> list[Check]:
    """Every check of the pairs that are made for one alpha alone, and that the shared stages answer as these do."""
    checks = []
    sacs = [(checkpoint.config, shared[form]["SAC"]), *((one.config, one.graphs[form]["SAC"]) for one in further)]
    for config, sac in sacs:
        alone = with_config(checkpoint, config)
        own = build_graphs(alone, batch, (form,), products)[form]
        found = check_pair(own["EE"], own["SAC"], alone, batch)
        found += check_sharing({"EE": shared[form]["EE"], "SAC": sac}, own, config, batch)
        checks += [replace(check, name=f"alpha {config.alpha:g}: {check.name}") for check in found]
    return checks


def check_sharing(shared: Models, own: Models, config: ModelConfig, batch: int | None) -> list[Check]:
    """Whether the stages that hand over for several SACs answer as the pair of one config."""
    images = check_images(config, batch or CHECK_IMAGES)
    handed, logits = [], []
    inputs: Arrays = {"image": images, "row": np.arange(len(images), dtype=np.int32)}
    for pair in (shared, own):
        outputs = Session(pair["EE"]).run({"image": images})
        handed.append(outputs)
        logits.append(Session(pair["SAC"]).run(inputs | {name: outputs[name] for name in HAND_OFF})["logits"])
    wide, narrow = handed
    own_part = {
        "logits": wide["logits"],
        "target_context": wide["target_context"][:, : config.targets],
        "non_target": wide["non_target"][:, wide["non_target"].shape[1] - config.non_targets :],
    }
    moved = (wide["target_index"][:, : config.targets] != narrow["target_index"]).sum()
    return [
        Check("EE target blocks, for several SACs against for one", float(moved), 0),
        *(
            difference(f"EE {name}, for several SACs against for one", part, narrow[name], EXACT)
            for name, part in own_part.items()
        ),
        difference("SAC logits, for several SACs against for one", logits[0], logits[1]),
    ]


def written_names(folder: Path, alphas: Sequence[float], kinds: Sequence[Precision]) -> set[str]:
    """Files of further SACs that this export may write, and those that an earlier one left."""
    found = {path.name for path in folder.glob(FILES)} if folder.is_dir() else set()
    return found | {file_name("SAC", kind, alpha) for kind in kinds for alpha in alphas}
