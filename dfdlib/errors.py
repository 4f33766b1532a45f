"""The one exception that users see: what is wrong, and what to do next."""

from __future__ import annotations


class DfdError(Exception):
    """A problem that the user can act on.

    Args:
        message: names the file or thing and the reason.
        hint: the next step, in one sentence.
        exit_code: what the command line returns (1 unless a command documents another).
    """

    def __init__(self, message: str, hint: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        # IPython's hook: in a notebook the words matter, not the way through the library.
        return [str(self)] + ([f"(exit code {self.exit_code})"] if self.exit_code != 1 else [])
