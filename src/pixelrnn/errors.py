"""The exceptions that the command line turns into one line and an exit status."""

import signal


class InputError(ValueError):
    """Something given from outside (a file, an array, an option) cannot be used.

    The message is one line that names what was wrong and what was expected.
    """


class Stopped(Exception):  # noqa: N818 - not an error
    """A training was stopped by a signal, after its state was saved.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}; the run was saved and can be resumed")
        self.signum = signum
