"""A command whose lines are taken as they come."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def run_streaming(
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> tuple[int, str]:
    """Run a command without a shell, and hand on each whole line that it prints.

    Where this is interrupted, the command is asked to end, and its last lines are handed on before.

    Args:
        argv: The command.
        on_line: Called with each line, without its end; a last line that was cut short is left out.
        cwd: Where it runs.
        env: All of its environment; by default this process's.
        pass_fds: File descriptors that it inherits.

    Returns:
        Its exit code, and what it wrote to stderr.

    Raises:
        OSError: It cannot be started.
    """
    # To a file: nobody reads a second pipe meanwhile.
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=cwd,
            env=None if env is None else dict(env),
            pass_fds=pass_fds,
        )
        with process:
            try:
                _hand_on(process, on_line)
            except KeyboardInterrupt:
                process.terminate()
                _hand_on(process, on_line)
                raise
            except BaseException:
                process.kill()
                raise
        errors.seek(0)
        return process.returncode, errors.read().decode(errors="replace")


def _hand_on(process: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> None:
    for line in process.stdout or ():
        if line.endswith(b"\n"):
            on_line(line[:-1].decode(errors="replace"))
