"""Recovery: fine-tuning of the light expert at its small size."""

from agfedge.recover.lessons import held_out
from agfedge.recover.options import Recovery, RecoveryReport
from agfedge.recover.student import Student, make_student, reestimate, write_back
from agfedge.recover.train import heavy_answers, recover

__all__ = [
    "Recovery",
    "RecoveryReport",
    "Student",
    "heavy_answers",
    "held_out",
    "make_student",
    "recover",
    "reestimate",
    "write_back",
]
