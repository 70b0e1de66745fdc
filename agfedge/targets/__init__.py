"""Deploy a bundle to a target: shipped, verified and answering before anything switches over."""

from agfedge.targets.opening import open_target
from agfedge.targets.stages import Deployment, DeployOptions, Progress, StageReport, deploy
from agfedge.targets.target import BusyError, Completed, DeployError, Target

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
