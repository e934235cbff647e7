"""Training tasks: nano, the teacher, distillation, and tuning to ratings."""
