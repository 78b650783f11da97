"""The figures of the README's table of speed: whole training steps, ours against naive ones and against the floor.

    python benchmarks/recurrence.py

Let nothing else run. The picture beside them is that of `pixelrnn bench --out docs/bench.png`.
"""

from pixelrnn.bench import Measurement, Task, Variant
from pixelrnn.bench.command import run, table

ROUNDS = 15

TARGETS: list[tuple[Task, Variant, float]] = [
    (Task(batch=16), "naive, fair", 6),
    (Task(batch=64), "naive, fair", 6),
    (Task(batch=64), "naive, sliced", 20),
    (Task(layer="row-lstm", batch=64), "naive, fair", 2),
    (Task(batch=64), "floor", 0.4),
]


def main() -> None:
    """Measures every task once and prints what was reached of each target."""
    results: dict[Task, dict[Variant, Measurement]] = {}
    for task, _, _ in TARGETS:
        if task not in results:
            results[task] = run(task, ROUNDS)
            print(f"{task.layer}\n{table(results[task])}\n")
    for task, against, target in TARGETS:
        ratio = results[task][against].seconds / results[task]["compiled"].seconds
        verdict = "reached" if ratio >= target else "MISSED"
        what = f"{task.layer}, batch {task.batch}, {against} ÷ ours"
        print(f"{what}: at least {target:g}, measured {ratio:.2f}, {verdict}")
    for task, measured in results.items():
        ours, naive = measured["compiled"].peak, measured["naive, fair"].peak
        print(f"{task.layer}, batch {task.batch}, peak memory: at most {naive:.0f} MiB, measured {ours:.0f} MiB")


if __name__ == "__main__":
    main()
