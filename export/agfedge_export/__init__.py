"""ONNX: channel analysis, surgery, and the proof that removed equals masked."""

from agfedge_export.analyse import analyse
from agfedge_export.check import CheckReport, check, compare
from agfedge_export.costs import GraphCosts, graph_costs
from agfedge_export.errors import ModelError, OrderError, PlanError, SurgeryError
from agfedge_export.groups import ChannelGroups, Group, KeptWhole, Member, Site
from agfedge_export.model_io import load_model
from agfedge_export.plan import Plan, PlanGroup, PlanMember, make_plan, order_conflicts
from agfedge_export.surgery import PrunedModel, mask, prune

__all__ = [
    "ChannelGroups", "CheckReport", "GraphCosts", "Group", "KeptWhole", "Member", "ModelError", "OrderError", "Plan",
    "PlanError", "PlanGroup", "PlanMember", "PrunedModel", "Site", "SurgeryError", "analyse", "check", "compare",
    "graph_costs", "load_model", "make_plan", "mask", "order_conflicts", "prune",
]  # fmt: skip
