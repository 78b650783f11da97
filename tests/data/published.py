"""Small published data sets, and a server on this machine that publishes them."""

import gzip
import hashlib
import io
import struct
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from pixelrnn.data import known
from pixelrnn.data.config import Source


def idx(array: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    """An array as a gzipped IDX file."""
    return gzip.compress(struct.pack(f">{1 + array.ndim}I", 2048 + array.ndim, *array.shape) + array.tobytes())


def mnist_files(n: int = 50) -> dict[str, bytes]:
    """MNIST with n training images of the level n, and five test images."""
    files: dict[str, bytes] = {}
    for prefix, count in (("train", n), ("t10k", 5)):
        files[f"{prefix}-images-idx3-ubyte.gz"] = idx(np.full((count, 28, 28), n, np.uint8))
        files[f"{prefix}-labels-idx1-ubyte.gz"] = idx((np.arange(count) % 10).astype(np.uint8))
    return files


def amat(array: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    """Images (N, 28, 28) of 0 and 1 as the text of the published files."""
    return "".join(" ".join(map(str, image.ravel().tolist())) + "\n" for image in array).encode()


def cifar_record(label: int, image: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    """An image (32, 32, 3) in CIFAR-10's binary format."""
    return bytes([label]) + image.transpose(2, 0, 1).tobytes()


def tar_gz(files: dict[str, bytes]) -> bytes:
    """An archive of files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder without a word, and counts the requests. The first ``failures`` of them fail."""

    requests = 0
    failures = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        if type(self).requests <= type(self).failures:
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Keeps the requests out of the output of the tests."""


@contextmanager
def served(folder: Path, *, failures: int = 0) -> Iterator[tuple[str, type[Handler]]]:
    """Serves a folder on this machine. Yields its address, and the handler that counts the requests."""
    handler = type("Counting", (Handler,), {"requests": 0, "failures": failures})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", handler
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def publish(patch: pytest.MonkeyPatch, source: Source, url: str, files: dict[str, bytes]) -> None:
    """Makes a source download these files from an address."""
    checksums = {name: "sha256:" + hashlib.sha256(content).hexdigest() for name, content in files.items()}
    was = known.PUBLISHED[source]
    patch.setitem(known.PUBLISHED, source, known.Published(url, checksums, was.places, was.is_folder))
