import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

# Prints every address that the process asks for, itself or through a library.
SERVER = """
import signal
import sys

def hook(event, arguments):
    if event == "socket.getaddrinfo":
        print("asks for", arguments[0], file=sys.stderr)
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        print("asks for", arguments[1][0], file=sys.stderr)

sys.addaudithook(hook)
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore SIGINT
from pixelrnn.cli import main
sys.exit(main(["demo", "--port", sys.argv[1]]))
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a page. A process serves it, and SIGINT stops the process at the end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("GRADIO_")},
    ) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            assert said == f"http://127.0.0.1:{port} until Ctrl-C\n", server.communicate()[1]
            yield said.split()[0]
            server.send_signal(signal.SIGINT)
            _, errors = server.communicate(timeout=30)
        finally:
            server.kill()
    lines = errors.splitlines()
    assert {line for line in lines if line.startswith("asks for")} == {"asks for 127.0.0.1"}
    assert [line for line in lines if not line.startswith("asks for")] == ["pixelrnn: stopped by SIGINT"]
    assert server.returncode == 130
