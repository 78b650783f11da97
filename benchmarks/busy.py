"""Times a training step beside other busy processes, for several values of GOMP_SPINCOUNT.

    python benchmarks/busy.py

prints the median and the 90th percentile of steps in ms, with one thread per core. PyTorch uses the threads of GNU
OpenMP. A waiting thread spins GOMP_SPINCOUNT times before it sleeps.
"""

import json
import os
import subprocess
import sys
import time

STEPS = {  # side, levels, batch, depth, h
    "8×8, 17 levels, batch 32": (8, 17, 32, 1, 32),
    "28×28, 2 levels, batch 16": (28, 2, 16, 1, 32),
    "28×28, 2 levels, batch 16, 7 layers": (28, 2, 16, 7, 16),
}
SPINS = "unset", "0", "10000", "100000"
SECONDS = 4.0
BUSY = "while True: pass"


def measure(name: str) -> None:
    """Runs steps for some seconds and prints the time of each in ms."""
    import torch

    from pixelrnn import PixelRNN

    side, levels, batch, depth, hidden = STEPS[name]
    torch.manual_seed(0)
    model = PixelRNN(levels=levels, depth=depth, hidden=hidden)
    optimizer = torch.optim.Adam(model.parameters())
    x = torch.randint(levels, (batch, 1, side, side), dtype=torch.uint8)
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while (begin := time.perf_counter()) < end or len(times) < 5:
        optimizer.zero_grad()
        model.log_prob(x).mean().neg().backward()
        optimizer.step()
        times.append(1000 * (time.perf_counter() - begin))
    print(json.dumps(sorted(times[2:])))


def main() -> None:
    """Measures every step beside 0, 1 and 2 busy processes."""
    print("step | neighbours | spins | median ms | 90 % ms")
    for name in STEPS:
        for neighbours in range(3):
            busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(neighbours)]
            try:
                for spins in SPINS:
                    given = {} if spins == "unset" else {"GOMP_SPINCOUNT": spins}
                    done = subprocess.run(
                        [sys.executable, __file__, name],
                        env={**os.environ, **given},
                        stdout=subprocess.PIPE,
                        check=True,
                    )
                    times = json.loads(done.stdout)
                    middle, late = times[len(times) // 2], times[9 * len(times) // 10]
                    print(f"{name} | {neighbours} | {spins} | {middle:.1f} | {late:.1f}", flush=True)
            finally:
                for process in busy:
                    process.kill()
                    process.wait()


if __name__ == "__main__":
    measure(sys.argv[1]) if sys.argv[1:] else main()
