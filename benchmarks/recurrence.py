"""Prints the tables of training in docs/speed.md: whole training steps against naive ones, the floor and bfloat16.

    python benchmarks/recurrence.py

Let nothing else run. `pixelrnn bench --out docs/bench.png` draws the picture beside the tables.
"""

from pixelrnn.bench import Measurement, Task, Variant, measure, table

ROUNDS = 10

# A task, the variant measured, the variant it is compared with, and the smallest ratio wanted.
TARGETS: list[tuple[Task, Variant, Variant, float]] = [
    (Task(batch=16), "cpu", "naive, fair", 6),
    (Task(batch=64), "cpu", "naive, fair", 6),
    (Task(batch=64), "cpu", "naive, sliced", 20),
    (Task(layer="row-lstm", batch=64), "cpu", "naive, fair", 2),
    (Task(batch=64), "cpu", "floor", 0.4),
    (Task(batch=64), "cpu, bf16", "cpu", 1.3),
]


def main() -> None:
    """Measures every task once, and prints whether each target is reached."""
    results: dict[Task, dict[Variant, Measurement]] = {}
    for task, _, _, _ in TARGETS:
        if task not in results:
            results[task] = measure(task, rounds=ROUNDS)
            print(f"{task.layer}\n{table(results[task])}\n")
    for task, variant, against, target in TARGETS:
        ratio = results[task][against].seconds / results[task][variant].seconds
        verdict = "reached" if ratio >= target else "MISSED"
        what = f"{task.layer}, batch {task.batch}, {against} ÷ {variant}"
        print(f"{what}: at least {target:g}, measured {ratio:.2f}, {verdict}")
    for task, measured in results.items():
        ours, naive = measured["cpu"].peak, measured["naive, fair"].peak
        print(f"{task.layer}, batch {task.batch}, peak memory: at most {naive:.0f} MiB, measured {ours:.0f} MiB")


if __name__ == "__main__":
    main()
