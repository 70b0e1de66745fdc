"""`agfedge.prune`: channels leave an ONNX model."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from agfedge.commands import options as o
from agfedge.commands.arguments import amount_of, choice_of
from agfedge.light.pruning import PruneRequest, PruneResult, prune_model


@o.documented
def prune(
    model: Annotated[o.GraphLike, Parameter(help="The ONNX model, opset 11 or newer.")],
    out: Annotated[o.PathLike | None, Parameter(alias="-o", help="File that the pruned model is written to.")] = None,
    *,
    keep: o.Keep = None,
    budget: o.Budget = None,
    of: o.Of = None,
    target: o.Target = None,
    target_precision: o.TargetPrecision = None,
    allocation: o.AllocationKind = None,
    floor: o.Floor = None,
    drop_branches: o.DropBranches = None,
    align: o.Align = 1,
    exclude: o.Exclude = (),
    only: o.Only = (),
    per_layer: o.PerLayer = None,
    score: o.BareScore = "l1",
    save_plan: Annotated[
        o.PathLike | None, Parameter(help="Write what was removed, and why the rest stayed, to this .json file.")
    ] = None,
    check: Annotated[
        bool, Parameter(help="Compare with the masked original first, and write nothing where they differ.")
    ] = True,
    inexact: Annotated[
        bool, Parameter(help="Cross norms over several channels too; the check then only measures the difference.")
    ] = False,
    seed: o.Seed = 0,
) -> PruneResult:
    """Remove channels from an ONNX model, exactly.

    The result answers as the original does with the removed channels set to zero; the two are compared before anything
    is written.

    Returns:
        The pruned model, its sizes and its plan.

    Raises:
        AgfedgeError: The model or an option does not fit, or the check failed; nothing was written.

    Example:
        >>> pruned = agfedge.prune("model.onnx", keep=0.5)
        >>> onnx.save(pruned.model, "small.onnx")
    """
    arguments = dict(locals())
    return prune_model(
        PruneRequest(
            model=o.graph_of(model),
            out=o.path_of(out),
            amount=amount_of(arguments),
            score=score if isinstance(score, str) else "given",
            scores=None if isinstance(score, str) else score,
            seed=seed,
            choice=choice_of(arguments),
            save_plan=o.path_of(save_plan),
            check=check,
            inexact=inexact,
        )
    )
