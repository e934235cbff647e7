"""Lossless surgery on the student: the same scores with fewer parameters, by exact algebra in float64.

Folded parts, where n is a norm without gain g and bias b, and alpha is deep-norm's residual weight:

- out_proj and v_proj are two consecutive matrices: they become one. In the first layer, this matrix and the residual
  follow `linear2`: all become one.
- norm(alpha x + f(x)) with eps equals norm(x + f(x) / alpha) with eps / alpha^2: alpha moves into the weights of f.
- The bias of a norm moves into the linears that read it. If it also feeds a residual, it moves into the bias that is
  added there. The gain moves too if only one linear reads it (the patch norm into `linear2`).
- softmax(`weights`) moves into the gains of the output norms. Their biases and that of `linear0` move into the bias of
  the BLSTM.
- The attention's out_proj is followed by the single output of `haaqiframe_score`: each head then needs only one value
  per token. The bias of the keys shifts all logits of a query equally, so that the softmax removes it.

Parts that cannot be folded: the final norm of a layer keeps its gain and bias, because an output norm reads it. A
residual also reads the gain before an FFN. The gains of the three output norms differ, so that `linear0` would have to
be tripled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..model.beats import BeatsConfig, LocalAttention, TransformerLayer
from ..model.head import AUDIOGRAM_VALUES, HeadConfig, Scores, append_audiogram, check_audiogram
from ..model.student import Student, split_patches
from ..runtime.features.patches import MEL_BINS, PATCH_FRAMES


class FoldedLayer(nn.Module):
    """A transformer layer after folding. `mix` is None if the linear before the layer includes it."""

    def __init__(self, config: BeatsConfig, *, mixes: bool) -> None:
        super().__init__()
        eps = nn.LayerNorm(1).eps / config.alpha**2
        self.mix = nn.Linear(config.width, config.width) if mixes else None
        self.mix_norm = nn.LayerNorm(config.width, eps=eps, bias=False)
        self.fc1 = nn.Linear(config.width, config.ffn)
        self.fc2 = nn.Linear(config.ffn, config.width)
        self.final_norm = nn.LayerNorm(config.width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` [..., width] to the same shape."""
        x = self.mix_norm(x if self.mix is None else x + self.mix(x))
        out: Tensor = self.final_norm(x + self.fc2(_gelu(self.fc1(x))))
        return out


def _gelu(x: Tensor) -> Tensor:
    """Compute F.gelu with the order of operations that ONNX Runtime fuses into one kernel."""
    return x * (1 + torch.erf(x / math.sqrt(2))) * 0.5


class FoldedEncoder(nn.Module):
    """The student up to and including `linear0`, except for the bias of `linear0`, which is in the head."""

    def __init__(self, config: BeatsConfig, head: HeadConfig) -> None:
        super().__init__()
        self.patch = nn.Linear(PATCH_FRAMES**2, config.patch_width, bias=False)
        self.patch_norm = nn.LayerNorm(config.patch_width, elementwise_affine=False)
        self.inlet = nn.Linear(config.patch_width, config.width)
        self.layers = nn.ModuleList(FoldedLayer(config, mixes=index > 0) for index in range(config.layers))
        self.output_norms = nn.ModuleList(nn.LayerNorm(config.width, bias=False) for _ in range(config.layers))
        self.linear0 = nn.Linear(config.width, head.width, bias=False)

    def forward(self, fbank: Tensor) -> Tensor:
        """Return the tokens [patches, 8, 256] for normalized `fbank` [patches, 16, 128]."""
        squares = fbank.reshape(-1, PATCH_FRAMES, MEL_BINS // PATCH_FRAMES, PATCH_FRAMES).transpose(1, 2).flatten(2)
        x = self.inlet(self.patch_norm(self.patch(squares)))
        blended: Tensor | None = None
        for layer, norm in zip(self.layers, self.output_norms, strict=True):
            x = layer(x)
            blended = norm(x) if blended is None else blended + norm(x)
        tokens: Tensor = self.linear0(blended)
        return tokens


class FoldedHead(nn.Module):
    """The published head from the BLSTM on. Its attention has one value per token and head."""

    def __init__(self, head: HeadConfig) -> None:
        super().__init__()
        self.heads = head.heads
        self.blstm = nn.LSTM(head.width + AUDIOGRAM_VALUES, head.hidden, batch_first=True, bidirectional=True)
        self.linear1 = nn.Linear(2 * head.hidden, head.width)
        self.query = nn.Linear(head.width, head.width)
        self.key = nn.Linear(head.width, head.width, bias=False)
        self.value = nn.Linear(head.width, head.heads, bias=False)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, tokens: Tensor, audiogram: Tensor) -> Scores:
        """Return the scores of `tokens` [batch or 1, tokens, 256] for `audiogram` [batch, 8] in dB HL."""
        x = F.relu(self.linear1(self.blstm(append_audiogram(tokens, audiogram))[0]))
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key = self.key(x).unflatten(-1, (self.heads, -1)).permute(0, 2, 3, 1)
        value = self.value(x).transpose(1, 2).unsqueeze(-1)
        attended = ((query @ key).softmax(-1) @ value).squeeze(-1)
        frame_scores = torch.sigmoid(attended.sum(1) + self.bias)
        return Scores(frame_scores, frame_scores.mean(-1))


class FoldedStudent(nn.Module):
    """A student after surgery. `encode`, `head` and calls work as for `Student`, but tokens have a width of 256.

    `encoder` and `head` are the modules to export.
    """

    reads: Final = "fbank"

    def __init__(self, config: BeatsConfig, head: HeadConfig) -> None:
        super().__init__()
        self.encoder = FoldedEncoder(config, head)
        self.head = FoldedHead(head)

    def encode(self, fbank: Tensor) -> Tensor:
        """Return the tokens [patches, 8, 256] for `fbank` [patches, 16, 128]. Patches do not affect each other."""
        tokens: Tensor = self.encoder(fbank)
        return tokens

    def forward(self, fbank: Tensor, audiogram: Tensor) -> Scores:
        """Return the scores of `fbank` [batch, frames, 128] for `audiogram` [batch, 8] in dB HL. Errors: `Student`."""
        tokens = self.encode(split_patches(fbank)).reshape(fbank.shape[0], -1, self.encoder.linear0.out_features)
        check_audiogram(tokens, audiogram)
        scores: Scores = self.head(tokens, audiogram)
        return scores


@dataclass(frozen=True)
class SurgeryStep:
    """The result of one step of the surgery.

    Attributes:
        name: description of the step.
        parameters: number of parameters after it.
        difference: largest absolute difference of a frame's or a clip's score from the original student.
    """

    name: str
    parameters: int
    difference: float


def fold(student: Student) -> FoldedStudent:
    """Return the student with all exact folds applied, in evaluation mode. `student` is not changed."""
    folded = FoldedStudent(student.config, student.head_config).to(student.linear0.weight.dtype)
    _fold_encoder(student, folded.encoder)
    _fold_head(student, folded)
    return folded.eval()


def iterate_steps(student: Student) -> Iterator[tuple[str, nn.Module]]:
    """Yield the name of each surgery step, and the network `(fbank, audiogram) -> Scores` after that step."""
    yield "original", student
    yield "training-only heads removed", _prune(student, dead_branches=student.dead_branches)
    alive = _prune(student, dead_branches=False)
    yield "dead attention branches removed", alive
    for index in range(student.config.layers):
        attention = alive.get_submodule(f"encoder{index}.self_attn")
        matrix, bias = _merge_projections(attention)
        alive.set_submodule(f"encoder{index}.self_attn", _create_linear(matrix, bias))
    yield "out_proj v_proj folded", alive
    yield "norms, linear2, residual weights and attention values folded", fold(student)


def measure_steps(student: Student, fbank: Tensor, audiogram: Tensor) -> list[SurgeryStep]:
    """Measure the parameters and the changes of scores after each step.

    Args:
        student: the network.
        fbank: [batch, frames, 128], normalized.
        audiogram: [batch, 8], dB HL.
    """
    measured: list[SurgeryStep] = []
    with torch.inference_mode():
        before = student(fbank, audiogram)
        for name, network in iterate_steps(student):
            after = network(fbank, audiogram)
            difference = max(float((a - b).abs().max()) for a, b in zip(after[:2], before[:2], strict=True))
            measured.append(SurgeryStep(name, sum(p.numel() for p in network.parameters()), difference))
    return measured


def _prune(student: Student, *, dead_branches: bool) -> Student:
    """Return the student without training-only heads. It shares its tensors with the original."""
    with torch.device("meta"):
        pruned = Student(student.config, student.head_config, dead_branches=dead_branches, predicts=())
    state = student.state_dict()
    pruned.load_state_dict({key: state[key] for key in pruned.state_dict()}, assign=True)
    return pruned.train(student.training)


def _fold_encoder(student: Student, encoder: FoldedEncoder) -> None:
    config, alpha = student.config, student.config.alpha
    layers = [student.get_submodule(f"encoder{index}") for index in range(config.layers)]
    _set_parameters(encoder.patch, student.patch_embedding.weight.flatten(1))
    projection, patch_norm = _weight_and_bias(student.linear2), _weight_and_bias(student.beats_layer_norm)
    matrix, bias = _merge_projections(layers[0].get_submodule("self_attn"))
    residual = torch.eye(config.width, dtype=torch.float64) + matrix / alpha
    _set_parameters(
        encoder.inlet,
        residual @ projection[0] * patch_norm[0],
        residual @ (projection[0] @ patch_norm[1] + projection[1]) + bias / alpha,
    )
    for index, (layer, folded) in enumerate(zip(layers, encoder.layers, strict=True)):
        assert isinstance(layer, TransformerLayer)
        assert isinstance(folded, FoldedLayer)
        if folded.mix is not None:
            matrix, bias = _merge_projections(layers[index].get_submodule("self_attn"))
            _set_parameters(folded.mix, matrix / alpha, bias / alpha)
        gain, shift = _weight_and_bias(layer.self_attn_layer_norm)
        fc1, fc2 = _weight_and_bias(layer.fc1), _weight_and_bias(layer.fc2)
        _set_parameters(folded.mix_norm, gain)
        _set_parameters(folded.fc1, fc1[0], fc1[1] + fc1[0] @ shift)
        _set_parameters(folded.fc2, fc2[0] / alpha, fc2[1] / alpha + shift)
        _set_parameters(folded.final_norm, *_weight_and_bias(layer.final_layer_norm))
    for share, norm, folded_norm in zip(_layer_weights(student), student.layer_norm, encoder.output_norms, strict=True):
        _set_parameters(folded_norm, share * _weight_and_bias(norm)[0])
    _set_parameters(encoder.linear0, student.linear0.weight)


def _fold_head(student: Student, folded: FoldedStudent) -> None:
    head, width = folded.head, student.head_config.width
    head.blstm.load_state_dict(student.blstm.state_dict())
    matrix, bias = _weight_and_bias(student.linear0)
    shifts = [
        share * _weight_and_bias(norm)[1]
        for share, norm in zip(_layer_weights(student), student.layer_norm, strict=True)
    ]
    token_bias = matrix @ torch.stack(shifts).sum(0) + bias
    for suffix in ("_l0", "_l0_reverse"):
        inputs = _to_double(student.blstm.get_parameter(f"weight_ih{suffix}"))[:, :width]
        before = student.blstm.get_parameter(f"bias_ih{suffix}")
        _copy_into(head.blstm.get_parameter(f"bias_ih{suffix}"), _to_double(before) + inputs @ token_bias)
    head.linear1.load_state_dict(student.linear1.state_dict())

    attention = student.haaqiAtt_layer
    query, key, value = _to_double(attention.in_proj_weight).chunk(3)
    query_bias, _, value_bias = _to_double(attention.in_proj_bias).chunk(3)
    scale = (width // head.heads) ** -0.5
    _set_parameters(head.query, query * scale, query_bias * scale)
    _set_parameters(head.key, key)
    out, score = _weight_and_bias(attention.out_proj), _weight_and_bias(student.haaqiframe_score)
    readout = (score[0] @ out[0]).squeeze(0)
    _set_parameters(head.value, (readout[:, None] * value).reshape(head.heads, -1, width).sum(1))
    _copy_into(head.bias, readout @ value_bias + score[0] @ out[1] + score[1])


def _merge_projections(attention: nn.Module) -> tuple[Tensor, Tensor]:
    """Return out_proj after v_proj as one matrix and bias."""
    assert isinstance(attention, LocalAttention)
    value, out = _weight_and_bias(attention.v_proj), _weight_and_bias(attention.out_proj)
    return out[0] @ value[0], out[0] @ value[1] + out[1]


def _layer_weights(student: Student) -> Sequence[Tensor]:
    return _to_double(student.weights).softmax(0).unbind()


def _to_double(tensor: Tensor) -> Tensor:
    return tensor.detach().double()


def _weight_and_bias(module: nn.Module) -> tuple[Tensor, Tensor]:
    return _to_double(module.get_parameter("weight")), _to_double(module.get_parameter("bias"))


def _copy_into(parameter: Tensor, value: Tensor) -> None:
    with torch.no_grad():
        parameter.copy_(value)


def _set_parameters(module: nn.Module, weight: Tensor, bias: Tensor | None = None) -> None:
    _copy_into(module.get_parameter("weight"), weight)
    if bias is not None:
        _copy_into(module.get_parameter("bias"), bias)


def _create_linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    _set_parameters(linear, weight, bias)
    return linear
