"""Damages a compressed file in random ways, and counts what its readers make of it.

    python benchmarks/fuzz_coding.py --flips 10000 --cuts 1000 --seed 0

A reader must refuse the file with an InputError of one line, or return the right images: some bits are never read. It
fails if it returns a wrong pixel, raises another error, or takes more than twenty times as long as for the whole file.
"""

import argparse
import random
import resource
import sys
import time
from collections import Counter

import torch

from pixelrnn import InputError, PixelRNN, coding


def outcome(model: PixelRNN, data: bytes, images: list[torch.Tensor]) -> str:
    """Tells how the reader took a file: refused, right, or a fault."""
    try:
        decoded = coding.decode(model, data)
    except InputError as error:
        return "refused" if "\n" not in str(error) else "fault: several lines"
    except BaseException as error:  # a panic of the coder is no Exception
        return f"fault: {type(error).__name__}"
    right = len(decoded) == len(images) and all(torch.equal(*pair) for pair in zip(decoded, images, strict=True))
    return "right" if right else "fault: wrong pixels"


def damaged(data: bytes, n: int, flips: int, draw: random.Random) -> bytes:
    """The file with one bit flipped, or after the first ``flips`` times cut off, doubled, or joined with a part."""
    if n < flips:
        changed, position = bytearray(data), draw.randrange(8 * len(data))
        changed[position // 8] ^= 1 << position % 8
        return bytes(changed)
    cut = draw.randrange(len(data))
    return draw.choice((data[:cut], data[:cut], data + data[:cut], data[cut:], data[:cut] + data, data + data))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--flips", type=int, default=10_000, help="files with one flipped bit")
    parser.add_argument("--cuts", type=int, default=1_000, help="files that are cut off or joined")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    model = PixelRNN(levels=5, channels=2, hidden=2, classes=["a", "b"], orders=2)
    images = [torch.randint(5, (2, *size), dtype=torch.uint8) for size in [(3, 4)] * 6 + [(2, 2)] * 3]
    data, draw = coding.encode(model, images, labels=[0, 1, 0] * 3), random.Random(given.seed)
    start = time.perf_counter()
    coding.decode(model, data)
    most, longest = 20 * (time.perf_counter() - start) + 1, 0.0
    memory, counts = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, Counter[str]()
    for n in range(given.flips + given.cuts):
        start = time.perf_counter()
        counts[outcome(model, damaged(data, n, given.flips, draw), images)] += 1
        longest = max(longest, time.perf_counter() - start)
        if longest > most:
            counts["fault: slow"] += 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    faults = sum(count for name, count in counts.items() if name.startswith("fault"))
    print(f"{given.flips:,} flips, {given.cuts:,} cuts of {len(data)} bytes: {dict(counts)}, {faults} faults")
    print(f"longest {longest:.2f} s, memory grew by {grown:.0f} MiB")
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
