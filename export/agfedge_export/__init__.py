"""ONNX: channel analysis, surgery, and the proof that removed equals masked."""

from agfedge_export.channels.analyse import analyse
from agfedge_export.channels.groups import ChannelGroups, Group, KeptWhole, Member, Site
from agfedge_export.errors import ModelError, OrderError, PlanError, SurgeryError
from agfedge_export.graph.costs import GraphCosts, graph_costs
from agfedge_export.graph.model_io import load_model
from agfedge_export.surgery.check import CheckReport, check, compare
from agfedge_export.surgery.plan import Plan, PlanGroup, PlanMember, make_plan, order_conflicts
from agfedge_export.surgery.removal import PrunedModel, mask, prune

__all__ = [
    "ChannelGroups", "CheckReport", "GraphCosts", "Group", "KeptWhole", "Member", "ModelError", "OrderError", "Plan",
    "PlanError", "PlanGroup", "PlanMember", "PrunedModel", "Site", "SurgeryError", "analyse", "check", "compare",
    "graph_costs", "load_model", "make_plan", "mask", "order_conflicts", "prune",
]  # fmt: skip
