"""The process that builds one engine: a request as JSON on stdin, the result as JSON on stdout.

A builder is native code that may crash, or be killed for want of memory; this way it takes nobody with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys

from agfedge_runtime.atomic import write_bytes
from agfedge_runtime.engines.tensorrt.build.builder import build_engine
from agfedge_runtime.engines.tensorrt.build.library import open_library
from agfedge_runtime.engines.tensorrt.build.process import BuildRequest, BuildResult
from agfedge_runtime.errors import AgfedgeError


def main() -> int:
    """Build what stdin asks for.

    Returns:
        0, and the result is on stdout; or 1, and there it says which error to raise.
    """
    # Ctrl-C reaches the whole group: what runs in native code would never see it as an exception.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # The libraries write to stdout as they please.
    os.dup2(2, 1)
    with answer:
        try:
            answer.write(build(BuildRequest.from_json(sys.stdin.read())).to_json())
        except AgfedgeError as error:
            answer.write(json.dumps({"error": type(error).__name__, "message": str(error)}))
            return 1
    return 0


def build(request: BuildRequest) -> BuildResult:
    """Build an engine in this process and write its plan.

    Raises:
        AgfedgeError: it cannot be built, or the plan cannot be written.
    """
    library = open_library(request.library)
    built = build_engine(
        library, request.graph, request.options, request.device, request.timing_cache, request.progress
    )
    write_bytes(request.plan, built.data)
    digest = hashlib.sha256(built.data).hexdigest()
    return BuildResult(digest, built.precision, built.seconds, built.workspace, built.warnings)


if __name__ == "__main__":
    sys.exit(main())
