"""The networks in torch: BEATs teacher, student, nano; checkpoints."""

from .nano import Nano, NanoConfig
from .scores import Scores
from .student import Student
from .teacher import Teacher

__all__ = ["Nano", "NanoConfig", "Scores", "Student", "Teacher"]
