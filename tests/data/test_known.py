from pathlib import Path

import numpy as np
import pytest

from pixelrnn.data import DataConfig, known, load
from pixelrnn.data.config import Source
from pixelrnn.errors import InputError
from tests.data.published import amat, cifar_record, mnist_files, publish, served, tar_gz

pytest.importorskip("pooch", reason="the extra train is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no PIXELRNN_DATA, and retries without waiting."""
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.delenv("PIXELRNN_DATA", raising=False)
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    return tmp_path / "cache" / "pixelrnn"


def binary(n: int, seed: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(seed).integers(0, 2, (n, 28, 28), np.uint8)


def cifar_files() -> dict[str, bytes]:
    image = np.arange(3072, dtype=np.uint8).reshape(32, 32, 3)
    folder = "cifar-10-batches-bin"
    names = [f"{folder}/data_batch_{n}.bin" for n in range(1, 6)] + [f"{folder}/test_batch.bin"]
    return {"cifar-10-binary.tar.gz": tar_gz({name: cifar_record(n, image + n) * 9 for n, name in enumerate(names)})}


FILES: dict[Source, dict[str, bytes]] = {
    "mnist": mnist_files(),
    "fashion-mnist": mnist_files(60),
    "binarized-mnist": {
        f"binarized_mnist_{split}.amat": amat(binary(n, n)) for split, n in (("train", 5), ("valid", 3), ("test", 2))
    },
    "cifar10": cifar_files(),
}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("source", FILES)
def test_a_set_is_downloaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Source, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "server", FILES[source])
    with served(folder) as (url, handler):
        publish(monkeypatch, source, url, FILES[source])
        first = load(DataConfig(source=source))
        assert handler.requests == len(FILES[source])
        second = load(DataConfig(source=source))
        assert handler.requests == len(FILES[source])
    assert (
        first.train.pixels.tolist()
        == second.train.pixels.tolist()
        == load(DataConfig(source=source)).train.pixels.tolist()
    )
    assert {path.name for path in (cache / source).iterdir()} == {*FILES[source]}
    assert capfd.readouterr().err == ""
    assert first.protocol.startswith({"binarized-mnist": "static binarized MNIST"}.get(source, source))


def test_what_is_downloaded_is_what_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for source, files in FILES.items():
        with served(write(tmp_path / source, files)) as (url, _):
            publish(monkeypatch, source, url, files)
            known.find(source)
    binarized = load(DataConfig(source="binarized-mnist"))
    assert binarized.train.pixels[:, 0].tolist() == binary(5, 5).tolist()
    assert binarized.test.pixels[:, 0].tolist() == binary(2, 2).tolist()
    assert load(DataConfig(source="fashion-mnist")).train.pixels.unique().tolist() == [60]
    fashion, cifar = load(DataConfig(source="fashion-mnist")), load(DataConfig(source="cifar10"))
    assert fashion.classes is not None
    assert fashion.classes[9] == "Ankle boot"
    assert cifar.classes is not None
    assert cifar.classes[5] == "dog"
    assert len(cifar.test) == 9
    assert cifar.test.pixels[0].permute(1, 2, 0).flatten().tolist() == [(n + 5) % 256 for n in range(3072)]


def test_a_failed_request_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(write(tmp_path / "server", FILES["cifar10"]), failures=known.RETRIES) as (url, handler):
        publish(monkeypatch, "cifar10", url, FILES["cifar10"])
        assert known.find("cifar10").read_bytes() == FILES["cifar10"]["cifar-10-binary.tar.gz"]
    assert handler.requests == known.RETRIES + 1


def test_a_file_with_another_checksum_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    with served(write(tmp_path / "server", {"cifar-10-binary.tar.gz": b"other"})) as (url, _):
        publish(monkeypatch, "cifar10", url, FILES["cifar10"])
        with pytest.raises(InputError, match=r"cannot download http.*cifar-10-binary\.tar\.gz \(.*hash"):
            load(DataConfig(source="cifar10"))
    assert not [*cache.rglob("*.gz")]


@pytest.mark.parametrize("source", FILES)
def test_a_damaged_file_of_the_cache_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Source, cache: Path
) -> None:
    with served(write(tmp_path / "server", FILES[source])) as (url, _):
        publish(monkeypatch, source, url, FILES[source])
        known.find(source)
        for name in FILES[source]:
            kept = cache / source / name
            kept.write_bytes(b"damaged")
            with pytest.raises(InputError) as caught:
                load(DataConfig(source=source))
            assert (
                str(caught.value) == f"{kept} is damaged, its checksum is wrong: delete this file to download it again"
            )
            kept.unlink()  # doing as it says is enough
            assert len(load(DataConfig(source=source)).train)


@pytest.mark.parametrize("source", FILES)
def test_without_a_network_one_line_says_which_files_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Source, cache: Path
) -> None:
    with served(tmp_path) as (url, _):
        pass  # nothing listens on this port any more
    publish(monkeypatch, source, url, FILES[source])
    with pytest.raises(InputError) as caught:
        load(DataConfig(source=source))
    message = str(caught.value)
    assert message.endswith(f"or set PIXELRNN_DATA to the folder that holds {known.PUBLISHED[source].places[0]}")
    assert f"put {', '.join(FILES[source])} into {cache / source}" in message
    monkeypatch.setenv("PIXELRNN_DATA", str(tmp_path / "mine"))
    with pytest.raises(InputError) as caught:
        load(DataConfig(source=source))
    place = str(caught.value).rpartition(" into ")[2]
    write(Path(place), FILES[source])  # doing as it says is enough
    assert len(load(DataConfig(source=source)).train)


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("mnist", "mnist"),
        ("mnist", "MNIST/raw"),
        ("fashion-mnist", "fashion-mnist"),
        ("fashion-mnist", "FashionMNIST/raw"),
        ("binarized-mnist", "binarized_mnist"),
        ("cifar10", "."),
    ],
)
def test_the_files_of_pixelrnn_data_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Source, place: str
) -> None:
    write(tmp_path / "data" / place, FILES[source])
    monkeypatch.setenv("PIXELRNN_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("pooch.create", lambda *_, **__: pytest.fail("a file was downloaded"))
    assert len(load(DataConfig(source=source)).train)


@pytest.mark.parametrize(("source", "place"), [("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw")])
@pytest.mark.parametrize("content", [[], ["README", ".DS_Store"]])
def test_a_folder_without_files_of_the_set_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Source, place: str, content: list[str]
) -> None:
    write(tmp_path / source, dict.fromkeys(content, b"x"))
    found = write(tmp_path / place, FILES[source])
    monkeypatch.setenv("PIXELRNN_DATA", str(tmp_path))
    assert known.find(source) == found
    name, *_ = FILES[source]
    (tmp_path / source / name.removesuffix(".gz")).write_bytes(b"")  # a folder with some of the files is meant
    assert known.find(source) == tmp_path / source


@pytest.mark.parametrize("content", [["data_batch_1.bin"], []])
def test_an_empty_folder_of_cifar10_is_no_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: list[str]
) -> None:
    folder = write(tmp_path / "data" / "cifar-10-batches-bin", dict.fromkeys(content, b"x"))
    monkeypatch.setenv("PIXELRNN_DATA", str(tmp_path / "data"))
    with served(write(tmp_path / "server", FILES["cifar10"])) as (url, _):
        publish(monkeypatch, "cifar10", url, FILES["cifar10"])
        assert (known.find("cifar10") == folder) == bool(content)


def test_the_published_checksums_are_complete() -> None:
    for published in known.PUBLISHED.values():
        assert published.url.endswith("/")
        for checksum in published.checksums.values():
            kind, _, digits = checksum.partition(":")
            assert len(bytes.fromhex(digits)) == {"md5": 16, "sha256": 32}[kind]
