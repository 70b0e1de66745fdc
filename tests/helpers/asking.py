"""What functions of agfedge ask for inside, with defaults for tests."""

from __future__ import annotations

from agfedge.allocate import AllocationRequest, GroupChoice
from agfedge.bundles.export_request import ExportRequest
from agfedge.recover import Recovery
from agfedge.router import Bound
from agfedge.study.compare import CompareRequest
from agfedge.study.search import SearchRequest
from agfedge.study.search.request import DEPTHS, KEEPS
from agfedge.subject.origin import Origin

ORIGIN = Origin("m:f", "data")


def export_request(**options: object) -> ExportRequest:
    usual = {
        "origin": ORIGIN,
        "out": "out",
        "amount": AllocationRequest(),
        "choice": GroupChoice(),
        "score": "agf",
        "recovery": Recovery(),
        "light": None,
        "share_trunk": "none",
        "bound": Bound(options.pop("epsilon", 0.005), options.pop("delta", 0.05)),
        "precision": (),
        "torch_tensorrt": False,
    }
    return ExportRequest(**{**usual, **options})


def search_request(**options: object) -> SearchRequest:
    usual = {
        "origin": ORIGIN,
        "out": "out",
        "amounts": tuple(AllocationRequest(keep=keep) for keep in KEEPS),
        "depths": DEPTHS,
        "trunks": ("none", "auto"),
        "lights": (),
        "score": "agf",
        "recovery": Recovery(),
        "choice": GroupChoice(),
        "costs": None,
        "target": None,
        "time_limit_s": None,
        "bound": Bound(options.pop("epsilon", 0.005), options.pop("delta", 0.05)),
    }
    return SearchRequest(**{**usual, **options})


def compare_request(**options: object) -> CompareRequest:
    usual = {
        "origin": ORIGIN,
        "out": "out",
        "scores": ("agf", "l1"),
        "keeps": (1.0, 0.5, 0.25),
        "seeds": (0, 1),
        "recover": (),
        "recover_keeps": (0.25,),
        "recovery": Recovery(),
        "scratch": False,
        "samples": 1024,
        "exclude": (),
    }
    return CompareRequest(**{**usual, **options})
