"""Recovery: fine-tuning of the light expert at its small size."""

from agfedge.recover.student import Student, make_student
from agfedge.recover.train import Recovery, RecoveryReport, held_out, recover
from agfedge.recover.write_back import write_back

__all__ = ["Recovery", "RecoveryReport", "Student", "held_out", "make_student", "recover", "write_back"]
