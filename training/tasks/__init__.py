"""What is trained: nano, the teacher, distillation, and fine-tuning to ratings."""
