"""Regenerate the committed code."""

import subprocess
import sys

from penult_proto.generate.wire import ROOT, generate

if __name__ == "__main__":
    generate(ROOT)
    # In processes of their own, which import the code that has just been made.
    for module in ("penult_proto.generate.client", "penult_proto.generate.finetuning"):
        subprocess.run([sys.executable, "-m", module], cwd=ROOT, check=True)
