"""The manifest that a run writes before its first step, so that it can be run again."""

import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import numpy as np
import torch
from numpy.typing import NDArray

from penult_server.backbones.catalog import weights_identity
from penult_server.datasets.model import DatasetInfo
from penult_server.finetuning.config import FinetuneConfig
from penult_server.stores.runs import RunManifest, write_run_manifest

LIBRARIES = ("penult", "torch", "timm", "transformers", "numpy")
"""Libraries whose release decides the numbers."""


def write_manifest(
    root: Path,
    run_id: str,
    config: FinetuneConfig,
    info: DatasetInfo,
    *,
    kept_row_ids: NDArray[np.uint64],
    device: torch.device,
    resumed_at: list[int],
) -> None:
    """Write what decides a run; again when the run is resumed."""
    write_run_manifest(
        root,
        RunManifest(
            run_id=run_id,
            config=asdict(config),
            dataset=info.name,
            dataset_digest=info.digest,
            weights=config.start.identity
            if config.start
            else weights_identity(config.backbone, config.pretrained, config.weights),
            kept_row_ids=[int(row) for row in kept_row_ids],
            versions={name: version(name) for name in LIBRARIES} | {"python": python_version()},
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            threads=torch.get_num_threads(),
            resumed_at=resumed_at,
            created=time.time(),
        ),
    )
