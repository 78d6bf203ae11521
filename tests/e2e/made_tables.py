"""Small datasets of images, as files."""

from pathlib import Path

import numpy as np
from PIL import Image


def make_table(directory: Path, n_per_group=(30, 6, 6, 30), side: int = 16, seed: int = 0) -> Path:
    """Images whose class is their shape's brightness and whose attribute is the ground's colour."""
    rng = np.random.default_rng(seed)
    directory.mkdir(parents=True, exist_ok=True)
    lines = ["path,y,ground,split"]
    for split, counts in (("train", n_per_group), ("val", (8, 8, 8, 8)), ("test", (10, 10, 10, 10))):
        for group, count in enumerate(counts):
            y, a = divmod(group, 2)
            for index in range(count):
                pixels = rng.integers(0, 60, (side, side, 3))
                pixels[:, :, a] += 90
                pixels[4:12, 4:12] += 60 * y
                name = f"{split}-{group}-{index}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(directory / name)
                lines.append(f"{name},{('dark', 'bright')[y]},{('red', 'green')[a]},{split}")
    table = directory / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    return table
