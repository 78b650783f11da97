import os
import pickle
import re
import signal
import subprocess
import sys
from typing import Any

import pytest
import torch

from pixelrnn import InputError
from pixelrnn.errors import Stopped
from pixelrnn.processes import Processes, joined, launched, started, was_told
from tests.ranks import on_ranks, variables


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables(0, 1, 0):
        monkeypatch.delenv(name, raising=False)


def slurm(monkeypatch: pytest.MonkeyPatch, **given: object) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))


def test_a_process_that_nobody_launched_is_alone() -> None:
    assert launched() == Processes()


def test_torchrun_gives_each_process_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (variables(3, 4, 29500) | {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}).items():
        monkeypatch.setenv(name, value)
    assert launched() == Processes(rank=3, size=4, local_rank=1, local_size=2)
    assert launched().nodes == 2


def test_srun_gives_each_task_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    slurm(monkeypatch, JOB_ID=12, NTASKS=4, PROCID=3, LOCALID=1, NODEID=1)
    assert launched() == Processes()  # the batch script: nobody has started the tasks
    slurm(monkeypatch, STEP_NUM_TASKS=4, STEP_NUM_NODES=2, STEP_NODELIST="gpu[07-08,11]", STEP_ID=0)
    assert launched() == Processes(rank=3, size=4, local_rank=1, local_size=2)


@pytest.mark.parametrize("hosts", ["node7", "node[7-9],node12", "node[7,9]", "node7,other"])
def test_the_first_machine_of_srun_leads(hosts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pixelrnn.processes import _slurm

    slurm(monkeypatch, STEP_NUM_TASKS=2, PROCID=0, LOCALID=0, STEP_NODELIST=hosts, JOB_ID=2**31, STEP_ID=3)
    assert _slurm()["MASTER_ADDR"] == "node7"
    assert 15000 <= int(_slurm()["MASTER_PORT"]) < 25000


def test_places_that_do_not_fit_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="do not say which process this is: unset RANK, or start with torchrun"):
        launched()
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(InputError, match="process 1 of 2 is number 0 of 2 on its machine: start equally many"):
        launched()


def test_the_number_of_processes_must_be_that_of_the_recipe() -> None:
    own = Processes(size=4, local_size=2)
    own.check(None, None)
    own.check(2, 2)
    with pytest.raises(InputError, match=r"train\.devices is 4, but each machine runs 2 processes: start .* torchrun"):
        own.check(4, 2)
    with pytest.raises(InputError, match=r"train\.nodes is 1, but the program runs on 2: start .* omit train\.nodes"):
        own.check(2, 1)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 7, 40])
def test_parts_cover_a_batch_once(n: int) -> None:
    parts = [Processes(rank=rank, size=4).part(n) for rank in range(4)]
    assert [k for part in parts for k in range(n)[part]] == [*range(n)]
    assert max(len(range(n)[part]) for part in parts) == -(-n // 4)


def collectives() -> list[object]:
    with joined() as own, joined() as again:
        assert own == again == launched()
        model = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(model.weight, own.rank + 5)
        own.copy_from_first(model)
        total, highest = own.sum(torch.tensor([1.0, own.rank])), own.highest(own.rank, -own.rank)
        return [total.tolist(), highest, own.gather(f"r{own.rank}"), model.weight.item()]


def test_processes_work_together() -> None:
    assert on_ranks(1, collectives)[0].value == [[1.0, 0.0], [0, 0], ["r0"], 5.0]
    assert [ended.value for ended in on_ranks(3, collectives)] == [[[3.0, 3.0], [2, 0], ["r0", "r1", "r2"], 5.0]] * 3


def fails(ranks: list[int], kind: str) -> None:
    """An error, agreed or not, a signal, or the sudden end of some ranks."""
    with joined() as own:
        if kind == "agreed":
            with own.agreed():
                if own.rank in ranks:
                    raise InputError(f"not on {own.rank}")
        elif own.rank in ranks and kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif own.rank in ranks:
            raise Stopped(signal.SIGTERM) if kind == "stopped" else InputError(f"not on {own.rank}")
        own.wait()


def test_an_agreed_error_is_raised_everywhere_and_told_once() -> None:
    for ranks in ([1], [0, 2]):
        ended = on_ranks(3, fails, ranks, "agreed")
        assert {each.error for each in ended} <= {f"InputError: not on {rank}" for rank in ranks}
        assert sorted(each.told for each in ended) == [False, True, True]


@pytest.mark.parametrize(("kind", "error"), [("alone", "InputError: not on"), ("stopped", "Stopped: stopped by SIGT")])
@pytest.mark.parametrize("rank", [0, 1])
def test_the_error_of_one_process_ends_all_and_is_told_once(kind: str, error: str, rank: int) -> None:
    ended = on_ranks(2, fails, [rank], kind)
    assert ended[rank].error.startswith(error)
    assert [each.told for each in ended] == [rank == 1, rank == 0]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_lost_process_ends_the_others_and_one_of_them_tells(rank: int) -> None:
    ended = on_ranks(3, fails, [rank], "killed")
    message = "InputError: a process of this command ended unexpectedly, so all of them end"
    assert [each.error.startswith(message) for each in ended] == [True, True]
    assert sorted(each.told for each in ended) == [False, True]


class OddError(Exception):
    """An error that cannot be pickled."""

    def __init__(self, one: object, other: object) -> None:
        super().__init__(f"{one} {other}")
        self.cannot = lambda: None


ERRORS = [
    (InputError("a"), "InputError: a"),
    (FileNotFoundError(2, "No such file", "b"), "FileNotFoundError: [Errno 2] No such file: 'b'"),
    (OSError("strange"), "InputError: strange"),
    (OddError("c", "d"), "InputError: OddError: c d"),
]


@pytest.mark.parametrize(("error", "elsewhere"), ERRORS)
def test_any_error_travels_as_text(error: Exception, elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    def gather(self: Processes, value: Any) -> list[Any]:
        sent.append(pickle.loads(pickle.dumps(value)))
        return [None, *sent]

    monkeypatch.setattr(Processes, "gather", gather)
    with pytest.raises(type(error)) as own, Processes().agreed():
        raise error
    assert own.value is error
    monkeypatch.setattr(Processes, "gather", lambda self, value: [value, *sent])
    kind, _, message = elsewhere.partition(": ")
    with pytest.raises((InputError, OSError), match=re.escape(message)) as other, Processes().agreed():
        pass
    assert type(other.value).__name__ == kind


@pytest.mark.parametrize(("end", "told"), [("sys.exit(3)", True), ("os.kill(os.getpid(), 9)", False)])
def test_a_started_process_that_ends_before_it_joins_ends_the_command(end: str, told: bool) -> None:
    message = r"process 1 of this command ended with status (3|-9) before it joined"
    command = ["-c", f"import os, sys; {end}"]
    with pytest.raises(InputError, match=message) as caught, started(2, command), joined():
        pass
    assert was_told(caught.value) == told


@pytest.mark.parametrize("has_joined", [False, True])
def test_a_process_that_has_joined_others_ends_without_the_teardown_of_python(has_joined: bool) -> None:
    code = f"""
import atexit, os
from pixelrnn import processes

class Late:
    def __del__(self, write=os.write):
        write(1, b"torn down\\n")

late = Late()
atexit.register(print, "at exit", flush=True)
processes._has_joined = {has_joined}
print("done")
processes.end(3)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = (3, "done\nat exit\n") if has_joined else (0, "done\nat exit\ntorn down\n")
    assert (done.returncode, done.stdout, done.stderr) == (*expected, "")
