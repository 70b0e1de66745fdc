"""Deploy a bundle to a target: shipped, verified and answering before anything switches over."""

from agfedge.targets.errors import BusyError, DeployError
from agfedge.targets.stages import Deployment, DeployOptions, Progress, StageReport, deploy
from agfedge.targets.target import Completed, Target, open_target

__all__ = [
    "BusyError",
    "Completed",
    "DeployError",
    "DeployOptions",
    "Deployment",
    "Progress",
    "StageReport",
    "Target",
    "deploy",
    "open_target",
]
