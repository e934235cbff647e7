"""The networks in PyTorch (nano, student, BEATs teacher), their front ends, and their checkpoints."""

from .loss import HAAQILoss
from .nano import Nano, NanoConfig
from .scores import Scores
from .student import Student
from .teacher import Teacher
from .texture import Texture

__all__ = ["HAAQILoss", "Nano", "NanoConfig", "Scores", "Student", "Teacher", "Texture"]
