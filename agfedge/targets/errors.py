"""What a deploy can fail with, beside the errors of the bundle itself.

AgfedgeError
└── DeployError       a stage failed; the message names the target and the stage
    └── BusyError     another deploy holds the target
"""

from __future__ import annotations

from agfedge_runtime.errors import AgfedgeError

NO_SPACE = "no space is left on its disk: free some and deploy again, which continues from what is there"


class DeployError(AgfedgeError):
    """A stage of a deploy failed, or the target cannot be reached."""


class BusyError(DeployError):
    """Another deploy holds the target."""
