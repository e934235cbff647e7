"""The networks in torch: BEATs teacher, student, nano; front ends; checkpoints."""

from .loss import HAAQILoss
from .nano import Nano, NanoConfig
from .scores import Scores
from .student import Student
from .teacher import Teacher
from .texture import Texture

__all__ = ["HAAQILoss", "Nano", "NanoConfig", "Scores", "Student", "Teacher", "Texture"]
