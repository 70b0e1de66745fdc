"""Recovery: fine-tuning of the light expert at its small size."""

from agfedge.recover.batches import held_out
from agfedge.recover.options import Recovery, RecoveryReport
from agfedge.recover.reestimate import reestimate
from agfedge.recover.student import Student, make_student
from agfedge.recover.train import heavy_answers, recover
from agfedge.recover.write_back import write_back

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
