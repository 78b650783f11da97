import torch

from pixelrnn.data import Images
from pixelrnn.processes import Processes
from pixelrnn.training.batches import Batches


def images(n: int) -> Images:
    return Images(torch.arange(n, dtype=torch.uint8).reshape(n, 1, 1, 1), labels=torch.arange(n))


def read(loader: Batches) -> list[list[int]]:
    parts = [*loader]
    assert all(part.pixels.shape[1:] == (1, 1, 1) for part in parts)
    assert all(part.labels is not None and part.labels.tolist() == part.pixels.flatten().tolist() for part in parts)
    return [part.pixels.flatten().tolist() for part in parts]


def test_parts_make_up_the_batches_of_one_process() -> None:
    for n, size in ((13, 4), (12, 4), (3, 4)):
        every = [[Processes(rank=rank, size=k) for rank in range(k)] for k in (1, 2, 3)]
        whole, *several = [[read(Batches(images(n), size, own, seed=5)) for own in ranks] for ranks in every]
        assert sorted(image for batch in whole[0] for image in batch) == [*range(n)]
        assert len(whole[0]) == len(Batches(images(n), size, Processes()))
        for parts in several:
            together = [[image for part in batch for image in part] for batch in zip(*parts, strict=True)]
            assert together == whole[0]


def test_a_part_knows_its_place() -> None:
    parts = [[*Batches(images(5), 4, Processes(rank=rank, size=2))] for rank in range(2)]
    assert [[(part.first, part.total) for part in own] for own in parts] == [[(0, 4), (0, 1)], [(2, 4), (0, 1)]]
    assert [len(part.pixels) for own in parts for part in own] == [2, 0, 2, 1]


def test_seed_and_epoch_decide_the_order() -> None:
    def order(seed: int | None, epoch: int) -> list[list[int]]:
        loader = Batches(images(20), 4, Processes(), seed=seed)
        loader.sampler.set_epoch(epoch)
        return read(loader)

    assert order(None, 0) == order(None, 1) == [[*range(k, k + 4)] for k in range(0, 20, 4)]
    assert order(3, 1) == order(3, 1)
    assert len({str(order(seed, epoch)) for seed, epoch in ((3, 0), (3, 1), (8, 0))}) == 3


def test_a_state_continues_with_the_next_batch_on_any_number_of_processes() -> None:
    loader = Batches(images(20), 4, Processes(), seed=3)
    whole, again = read(loader), iter(loader)
    next(again), next(again)
    other = Batches(images(20), 4, Processes(size=2), seed=3)
    other.load_state_dict(loader.state_dict())
    assert read(other) == [batch[:2] for batch in whole[2:]]
    assert read(other) == [batch[:2] for batch in whole]  # the next epoch is whole
