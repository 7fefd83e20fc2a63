"""Distillation: the chosen network learns from the supernet."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["distillation_loss"]


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0) -> Tensor:
    """Return how far a student's classes are from a teacher's, both softened by a temperature.

    ``T^2 * KL(softmax(teacher / T) || softmax(student / T))``, a mean over the samples; the factor keeps the gradients
    of the size that they have at T = 1 (G. Hinton et al., arXiv 1503.02531, section 2). The teacher receives no
    gradient. With a supernet as the teacher: ``distillation_loss(chosen(x), net(x), 4.0)``, ``net`` in ``eval`` mode.

    Args:
        student_logits: ``(N, classes, ...)``.
        teacher_logits: Likewise.
        temperature: T; larger tells more of the classes that are wrong.

    Raises:
        ValueError: The temperature is no positive number, or the shapes differ.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be a positive number, not {temperature}")
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(f"the student gives {list(student_logits.shape)}, the teacher {list(teacher_logits.shape)}")
    student = torch.log_softmax(student_logits / temperature, 1)
    teacher = torch.log_softmax(teacher_logits.detach() / temperature, 1)
    divergence = (teacher.exp() * (teacher - student)).sum(1).mean()
    return divergence * temperature**2
