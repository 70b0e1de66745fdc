"""A process that deploys and can be killed; a fork of one that has imported everything, so that it starts at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ssh_server import SshServer

# Reads requests, a line each; a child does what is asked and prints what came of it, then how it ended is printed.
_PROGRAM = """
import json, os, sys, time
from pathlib import Path
from agfedge.targets import BusyError, deploy, open_target
from agfedge.targets.shipped import check_golden
from agfedge_runtime.errors import AgfedgeError

def main(bundle, spec, tar, current, patience):
    target = open_target(spec)
    target.has_rsync &= not tar
    golden = current and check_golden(target, current)["passed"]
    began = time.monotonic()
    while True:
        try:
            release = deploy(Path(bundle), target).release
        except BusyError:  # what a killed deploy had started runs to its end
            if time.monotonic() > began + patience:
                raise
        else:
            break
    print(json.dumps({"release": release, "golden": golden}), flush=True)

for line in sys.stdin:
    child = os.fork()
    if not child:
        Path(sys.argv[1]).write_text(str(os.getpid()))
        try:
            main(**json.loads(line))
        except AgfedgeError as error:
            sys.exit(json.dumps({"error": str(error)}))
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
KILLED = -9


@dataclass(frozen=True)
class Ended:
    """How a deploy ended.

    Attributes:
        code: of the process, negative for a signal.
        release: what was deployed, empty where it was not.
        golden: whether what ran before it gave its golden answers.
    """

    code: int
    release: str = ""
    golden: bool = False


@dataclass(frozen=True)
class Workstation:
    """Deploys through a server's ssh.

    Attributes:
        server: whose ssh.
        process: what forks.
    """

    server: SshServer
    process: subprocess.Popen[str]

    @property
    def kill(self) -> str:
        """A line of the shell that kills the process that deploys."""
        return f"kill -9 $(cat {self.server.bin}/workstation)"

    def deploy(self, bundle: Path, device: Path, tar: bool = False, check: str = "", patience: int = 0) -> Ended:
        """Deploys a bundle, after the golden inputs of the release `check`; waits so many seconds for the lock."""
        request = {"bundle": str(bundle), "spec": f"device:{device}", "tar": tar, "current": check}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({**request, "patience": patience}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line.startswith("{"):
            return Ended(int(line))
        return Ended(int(self.process.stdout.readline()), **json.loads(line))


@contextmanager
def workstation(server: SshServer) -> Iterator[Workstation]:
    """Starts one, whose ssh is the server's."""
    environment = {**os.environ, "PATH": f"{server.bin}:{os.environ['PATH']}", "TMPDIR": str(server.folder)}
    argv = [sys.executable, "-c", _PROGRAM, str(server.bin / "workstation")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield Workstation(server, process)
        finally:
            process.kill()
