"""The exceptions that the command line turns into one line and an exit status."""

import signal


class InputError(ValueError):
    """Something given from outside (a file, an array, an option) cannot be used.

    The message is one line that names what was wrong and what was expected.
    """


class Stopped(BaseException):
    """The work was stopped by a signal: like KeyboardInterrupt no error, and not for a handler of errors to catch.

    Args:
        signum: the signal.
        saved: the state of a training was saved before.
    """

    def __init__(self, signum: int, *, saved: bool = False) -> None:
        name = signal.Signals(signum).name
        super().__init__(f"stopped by {name}" + ("; the run was saved and can be resumed" if saved else ""))
        self.signum = signum
