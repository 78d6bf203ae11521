"""How long a process takes to its first training step on a device, stage by stage; a row for `device.sh`."""

import time

STARTED = time.perf_counter()

import torch  # noqa: E402  the time it takes is the first stage
from device_table import add_row  # noqa: E402

IMPORTED = time.perf_counter()
SIDE, BATCH = 224, 64


def main() -> None:
    """Time each stage of a fresh process."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seconds = {"import of torch": IMPORTED - STARTED}
    last = IMPORTED

    def told(stage: str) -> None:
        nonlocal last
        if device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        seconds[stage], last = now - last, now
        print(f"{stage}: {seconds[stage]:.3f} s", flush=True)

    torch.zeros(1, device=device)
    told("context of the device")
    from penult_server.backbones.model import load_backbone

    told("import of the backbones")
    model = load_backbone("tf_efficientnet_lite0", 2, pretrained=True, seed=0, image_size=SIDE)
    told("weights")
    network = model.module.to(device).train()
    images = torch.randn(BATCH, 3, SIDE, SIDE, device=device)
    y = torch.arange(BATCH, device=device) % 2
    told("copies to the device")
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    for step in ("first", "second"):
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(network(images), y)
        told(f"{step} forward pass")
        loss.backward()
        told(f"{step} backward pass")
        optimizer.step()
        optimizer.zero_grad()
        told(f"{step} update")
    stages = ", ".join(f"{stage} {taken:.2f}" for stage, taken in seconds.items())
    add_row(
        f"a process's first training steps, lite0, {BATCH} at {SIDE} px", first=sum(seconds.values()), beside=stages
    )


if __name__ == "__main__":
    main()
