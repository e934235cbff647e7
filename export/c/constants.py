"""Constants of nano for C: the sizes of the header, and the tables and weights of the source file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from ...calibration.quantizers import round_to_int8
from ...model import nano as net
from ...model.nano import Nano
from ...runtime.audio.levels import LEVEL1, SILENCE, nal_r_design
from ...runtime.audio.reading import MAX_AMPLITUDE, Resampler
from ...runtime.audiogram import FREQUENCIES
from ...runtime.features import patches as fe
from ...runtime.features import texture as tx

WeightFormat = Literal["float", "int8"]
Array = npt.NDArray[np.float32]

QUEUE: Final = 2560
"""samples that a stream can store before they are processed, by default: those of one patch"""
SPARE: Final = 8
"""tokens besides those of the window, for patches that are encoded while a score is in progress"""
CONTROL_WORDS: Final = 28
"""32-bit words of a stream before the tokens"""
INTERVAL_WORDS: Final = 3
"""32-bit words of a stream for the interval"""
DECIMATION: Final = 3
"""input samples per sample at 16 kHz, with the optional decimator"""
_DECIMATOR_REACH: Final = 191
"""taps of the decimator on either side of the middle one: with 127, scores differ by up to 0.015 from Python's"""
_STEP_PRODUCTS: Final = 4096
"""multiplications of a part of a product, as in the C code"""
_FUNCTION: Final = 16
"""operations that a function of the mathematical library counts as, as in the C code"""
_ROW: Final = 12
"""numbers per line"""


class Constant(NamedTuple):
    """A constant array.

    Attributes:
        declaration: in C.
        values: of the array.
        option: macro of the optional part that needs the array; empty if all programs need it.
    """

    declaration: str
    values: npt.NDArray[np.generic]
    option: str = ""

    def text(self) -> str:
        """Return the definition in C."""
        definition = f"static const {self.declaration} = {_format_array(self.values)};\n"
        return f"#if {self.option}\n{definition}#endif\n" if self.option else definition


class OptionCost(NamedTuple):
    """What an optional part of the C code adds.

    Attributes:
        constants: bytes of tables.
        ram: bytes of a stream, without a longer queue.
        queue: bytes by which the default queue is longer.
        operations: of the work per sample at 16 kHz: one per tap and per sample that is moved.
        delay: samples of the input after which the part returns its first sample.
    """

    constants: int
    ram: int
    queue: int
    operations: int
    delay: int


def decimator_taps() -> Array:
    """Return the first half of the symmetric filter from 48 to 16 kHz, and the middle tap: float32 [192].

    The filter is the middle of the impulse response of the resampler in Python.
    """
    rate, at = DECIMATION * fe.SAMPLE_RATE, DECIMATION * 1024
    taps = np.empty(2 * _DECIMATOR_REACH + 1, np.float32)
    for phase in range(DECIMATION):
        impulse = np.zeros(2 * at, np.float32)
        impulse[at + phase] = 1.0
        resampler = Resampler(rate)
        response = np.concatenate([resampler.push(impulse), resampler.finish()])
        places = DECIMATION * np.arange(len(response)) - at - phase + _DECIMATOR_REACH
        inside = (places >= 0) & (places < len(taps))
        taps[places[inside]] = response[inside]
    taps /= taps.sum(dtype=np.float64)
    return taps[: _DECIMATOR_REACH + 1]


class CConstants:
    """The constants of a network in C.

    Args:
        nano: of any configuration.
        weights: `int8` rounds weights to 8 bits with one scale per output, and the inputs of products to 16 bits.
        window: number of patches that a score covers.
    """

    def __init__(self, nano: Nano, weights: WeightFormat, window: int) -> None:
        self._nano, self._weights, self._window = nano, weights, window
        self._constants: list[Constant] = []
        self._structures: list[str] = []
        self._add_tables()
        self._add_network()
        self._add_options()

    @property
    def size(self) -> int:
        """Size of all constants in bytes, without those of optional parts."""
        return self._size_of("")

    @property
    def options(self) -> dict[str, OptionCost]:
        """Costs of the optional parts by macro."""
        nal_r, decimator = self._nal_r_reach, _DECIMATOR_REACH
        words = {"HAAQI_NALR": (nal_r + 1) + 2 * (2 * nal_r + 1) + 2, "HAAQI_DECIMATE": 2 * (2 * decimator + 1) + 2}
        operations = {"HAAQI_NALR": 2 * nal_r + 1, "HAAQI_DECIMATE": 2 * decimator + 1 + DECIMATION - 1}
        delays = {"HAAQI_NALR": nal_r, "HAAQI_DECIMATE": decimator}
        queues = {"HAAQI_NALR": 0, "HAAQI_DECIMATE": 4 * (DECIMATION - 1) * QUEUE}
        return {
            name: OptionCost(self._size_of(name), 4 * words[name], queues[name], operations[name], delays[name])
            for name in words
        }

    def _size_of(self, option: str) -> int:
        return sum(constant.values.nbytes for constant in self._constants if constant.option == option)

    @property
    def _nal_r_reach(self) -> int:
        """Taps of the NAL-R filter on either side of the middle one."""
        return round(float(nal_r_design()["seconds"]) * fe.SAMPLE_RATE / 2)

    @property
    def ram(self) -> int:
        """Size of a stream with the default queue in bytes. The C code checks it at compile time."""
        encoder, head = self._work_words
        return 4 * (self._stream_words + SPARE * self._nano.config.width + 3 + QUEUE + encoder + head)

    @property
    def simple_ram(self) -> int:
        """Size of a stream without a queue in bytes."""
        return 4 * (self._stream_words + max(self._work_words))

    @property
    def _stream_words(self) -> int:
        """32-bit words of a stream without a queue, besides temporary values."""
        c = self._nano.config
        tail = 0 if c.texture_version == 1 else fe.PATCH_LENGTH - fe.PATCH_SHIFT
        interval = INTERVAL_WORDS if c.interval else 0
        return CONTROL_WORDS + interval + self._window * c.width + fe.PATCH_LENGTH + tail

    @property
    def _work_words(self) -> tuple[int, int]:
        """32-bit words of the temporary values of encoder and head."""
        c = self._nano.config
        front_end = tx.SPECTRUM + 2, tx.FRAME + 2 + tx.BANDS * tx.FRAMES, 2 * self._units
        encoder = len(tx.PLANES) * tx.BANDS + max(front_end)
        outputs = 4 if c.interval else 2  # of the GRU, for each token
        head = c.conditioning + 3 * c.vector + 3 * tx.BANDS + 7 * c.hidden + outputs * self._window
        if self._weights == "int8":
            encoder, head = encoder + self._inputs // 2, head + self._head_inputs // 2
        return encoder, head

    @property
    def _units(self) -> int:
        return max(self._nano.config.layers, default=1)

    @property
    def _inputs(self) -> int:
        """Inputs of the encoder's largest product, rounded up to an even number."""
        inputs = max(len(tx.PLANES) * tx.BANDS, *self._nano.config.layers)
        return inputs + inputs % 2

    @property
    def _head_inputs(self) -> int:
        """Inputs of the head's largest product, rounded up to an even number."""
        c = self._nano.config
        inputs = max(2 * tx.BANDS, c.vector, c.hidden, c.conditioning, len(net.NANO_FREQUENCIES))
        return inputs + inputs % 2

    @property
    def step(self) -> int:
        """Maximum number of operations of a step. The largest steps are window and order of the long spectrum."""
        product = max(_STEP_PRODUCTS, self._inputs, self._head_inputs) + 4 * self._units + self._inputs + 1024
        return max(3 * tx.SPECTRUM, product)

    @property
    def patch_operations(self) -> int:
        """Operations of the steps that encode a patch, as the C code counts them."""
        powers = 3 * fe.PATCH_LENGTH
        front_end = fe.PATCH_LENGTH + 2 * powers + tx.SPECTRUM * (3 + int(math.log2(tx.SPECTRUM // 2)) + 3)
        front_end += tx.SPECTRUM // 2 + _FUNCTION * (tx.bands().long.stop - tx.bands().long.start + 3 * tx.BANDS)
        front_end += tx.FRAMES * (15 * tx.FRAME + len(tx.bands().short) + _FUNCTION * tx.BANDS)
        rates = tx.modulation_bins()
        bins = rates[-1].stop - rates[0].start
        front_end += tx.BANDS * ((2 * bins + 4) * tx.FRAMES + _FUNCTION * (len(rates) + 1))
        if self._nano.config.texture_version != 1:
            front_end += powers + 2 * (fe.PATCH_LENGTH * tx.SEGMENT_POWERS + tx.trend_basis().rows.size)
        c = self._nano.config
        sizes = (len(tx.PLANES) * tx.BANDS, *c.layers, c.vector)
        layers = sum(self._count_product(a, b) + 4 * b for a, b in pairwise(sizes))
        return int(front_end + 2 * sizes[0] + layers)

    @property
    def score_operations(self) -> int:
        """Operations of the steps of a score of a complete window, as the C code counts them."""
        c = self._nano.config
        token = _FUNCTION * tx.BANDS + self._count_product(2 * tx.BANDS, c.vector) + 2 * c.vector
        token += self._count_product(c.vector, 3 * c.hidden) + self._count_product(c.hidden, 3 * c.hidden)
        token += (3 * _FUNCTION + 4 + 2 * c.interval) * c.hidden
        shares = -(-self._window // 32) * (2 * _FUNCTION * 32 + self._window)
        return self._count_product(c.conditioning, 2 * c.vector) + 2 * self._window * token + shares

    def _count_product(self, inputs: int, outputs: int) -> int:
        return inputs * outputs + (inputs + 2 * outputs if self._weights == "int8" else 0)

    def sizes(self) -> str:
        """Return the macros of the header."""
        c = self._nano.config
        macros: dict[str, object] = {
            "RAM": f"{self.ram} /* bytes of a haaqi_nano with the default queue */",
            "RAM_SIMPLE": f"{self.simple_ram} /* bytes without a queue */",
            "QUEUE_DEFAULT": f"{QUEUE} /* samples at 16 kHz */",
            "SPARE": f"{SPARE} /* patches that can be encoded while a score is in progress */",
            "ENCODER_OPERATIONS": f"{self.patch_operations} /* of a patch, without filters */",
            "SCORE_OPERATIONS": self.score_operations,
            "STEP": f"{self.step} /* maximum number of operations of a step */",
            "NALR_RAM": f"{self.options['HAAQI_NALR'].ram} /* bytes that NAL-R adds to a haaqi_nano */",
            "DECIMATE_RAM": f"{self.options['HAAQI_DECIMATE'].ram} /* bytes that 48 kHz adds, besides the queue */",
            "WINDOW": f"{self._window} /* patches that a score covers */",
            "SAMPLE_RATE": fe.SAMPLE_RATE,
            "PATCH_SHIFT": f"{fe.PATCH_SHIFT} /* samples from one patch to the next */",
            "PATCH_LENGTH": f"{fe.PATCH_LENGTH} /* samples that a patch reads */",
            "LEVELS": f"{len(FREQUENCIES)} /* of an audiogram */",
            "INT8": int(self._weights == "int8"),
            "INTERVAL": f"{round(100 * net.COVERAGE) if c.interval else 0} /* percent; 0 without intervals */",
            "GROUPS": f"{len(net.LOSS_GROUPS)} /* hearing losses at which another group of listeners begins */",
            "TEXTURE": f"{c.texture_version} /* version of the front end */",
            "TREND": f"{len(tx.trend_basis().rows)} /* curves that version 2 removes from a patch */",
            "SEGMENT": tx.SEGMENT,
            "SEGMENTS": fe.PATCH_LENGTH // tx.SEGMENT,
            "SEGMENT_POWERS": tx.SEGMENT_POWERS,
            "PLANES": len(tx.PLANES),
            "BANDS": tx.BANDS,
            "SPECTRUM": tx.SPECTRUM,
            "FRAME": tx.FRAME,
            "HOP": tx.HOP,
            "FRAMES": tx.FRAMES,
            "SHORT_BINS": len(tx.bands().short),
            "RATES": len(tx.modulation_bins()),
            "RATE_BINS": tx.modulation_bins()[-1].stop - tx.modulation_bins()[0].start,
            "LAYERS": len(c.layers) + 1,
            "UNITS": self._units,
            "INPUTS": self._inputs,
            "HEAD_INPUTS": self._head_inputs,
            "VECTOR": c.vector,
            "TOKEN": c.width,
            "HIDDEN": c.hidden,
            "CONDITION": c.conditioning,
            "FREQUENCIES": len(net.NANO_FREQUENCIES),
            "NALR_GAINS": len(nal_r_design()["frequencies"]),
            "NALR_REACH": f"{self._nal_r_reach} /* taps of NAL-R on either side of the middle one */",
            "NALR_GRID": f"{nal_r_design()['grid']} /* frequencies of its design */",
            "DECIMATOR_REACH": f"{_DECIMATOR_REACH} /* taps of the decimator, in the same way */",
            "FLOOR": _format_number(tx.FLOOR),
            "RELATIVE_FLOOR": _format_number(tx.RELATIVE_FLOOR),
            "MODULATION_FLOOR": _format_number(tx.MODULATION_FLOOR),
            "SILENCE": _format_number(SILENCE),
            "LOUDEST": _format_number(MAX_AMPLITUDE),
            "LEVEL1": _format_number(LEVEL1),
            "LEVEL_FACTOR": _format_number(10 / np.log(10) / net.LEVEL_UNIT),
            "LEVEL_UNIT": _format_number(net.LEVEL_UNIT),
            "LOSS_UNIT": _format_number(net.HEARING_LOSS_UNIT),
            "NORM_EPSILON": _format_number(self._nano.encoder.norm.eps),
            "FRAME_BIAS": _format_number(self._nano.head.frame.bias.item()),
        }
        return "\n".join(f"#define HAAQI_{name} {value}" for name, value in macros.items())

    def definitions(self) -> str:
        """Return the tables and weights of the source file."""
        return "\n".join([*(constant.text() for constant in self._constants), *self._structures])

    def _add(self, declaration: str, values: npt.ArrayLike, kind: str = "float32", option: str = "") -> None:
        self._constants.append(Constant(declaration, np.ascontiguousarray(values, dtype=kind), option))

    def _add_options(self) -> None:
        """Add the tables of the optional parts."""
        design = nal_r_design()
        rates, reach = np.asarray(design["frequencies"], np.float32), self._nal_r_reach
        for declaration, values, kind in (
            ("float nalr_frequencies[HAAQI_NALR_GAINS]", rates, "float32"),
            ("uint8_t nalr_levels[HAAQI_NALR_GAINS]", [FREQUENCIES.index(int(rate)) for rate in rates], "uint8"),
            ("float nalr_bias[HAAQI_NALR_GAINS]", design["bias"], "float32"),
            ("float nalr_window[HAAQI_NALR_REACH + 1]", np.hamming(2 * reach + 1)[: reach + 1], "float32"),
        ):
            self._add(declaration, values, kind, "HAAQI_NALR")
        self._add("float decimator[HAAQI_DECIMATOR_REACH + 1]", decimator_taps(), option="HAAQI_DECIMATE")

    def _add_tables(self) -> None:
        """Add the tables of the front end. Those that the runtime does not have are computed in double precision."""
        layout = tx.bands()
        angle = 2 * np.pi * np.arange(tx.SPECTRUM // 2) / tx.SPECTRUM
        self._add("float turns[HAAQI_SPECTRUM / 2][2]", np.stack([np.cos(angle), -np.sin(angle)], axis=1))
        self._add("float long_window[HAAQI_SPECTRUM / 2]", tx.hann(tx.SPECTRUM)[: tx.SPECTRUM // 2])
        self._add("float short_window[HAAQI_FRAME / 2]", tx.hann(tx.FRAME)[: tx.FRAME // 2])
        starts = layout.long.start + np.append(layout.long_starts, layout.long.stop - layout.long.start)
        self._add("uint16_t long_starts[HAAQI_BANDS + 1]", starts, "uint16")
        starts = np.append(layout.short_starts, len(layout.short))
        self._add("uint16_t short_starts[HAAQI_BANDS + 1]", starts, "uint16")
        self._add("uint8_t short_bins[HAAQI_SHORT_BINS]", layout.short, "uint8")
        self._add("float short_weights[HAAQI_SHORT_BINS]", layout.short_weights)
        kernel = tx.modulation_kernel().reshape(2, -1, tx.FRAMES)
        self._add("float rate_kernel[2][HAAQI_RATE_BINS][HAAQI_FRAMES]", kernel)
        rates = tx.modulation_bins()
        edges = np.array([rates[0].start, *(rate.stop for rate in rates)]) - rates[0].start
        self._add("uint8_t rate_starts[HAAQI_RATES + 1]", edges, "uint8")
        if self._nano.config.texture_version != 1:
            self._add("float polynomials[HAAQI_SEGMENT_POWERS][HAAQI_SEGMENT]", tx.trend_basis().polynomials.T)
            self._add("float trend[HAAQI_TREND][HAAQI_SEGMENTS * HAAQI_SEGMENT_POWERS]", tx.trend_basis().rows)

    def _add_network(self) -> None:
        encoder, head = self._nano.encoder, self._nano.head
        self._add("float texture_mean[HAAQI_PLANES * HAAQI_BANDS]", _array(encoder.mean).ravel())
        self._add("float texture_scale[HAAQI_PLANES * HAAQI_BANDS]", 1 / _array(encoder.scale).ravel())
        self._add("float level_offset[HAAQI_BANDS]", _array(encoder.to_level) / net.LEVEL_UNIT)
        self._add("float threshold_weights[HAAQI_FREQUENCIES][HAAQI_BANDS]", _array(head.thresholds))
        self._add("uint8_t frequencies[HAAQI_FREQUENCIES]", _array(head.frequency_indices), "uint8")
        for name, output in (("frame", head.frame), ("share", head.attention)):
            self._add(f"float {name}_weights[2][HAAQI_HIDDEN]", _array(output.weight).reshape(2, -1))

        if self._nano.config.interval:
            self._add("float interval_weights[2][2][HAAQI_HIDDEN]", _array(head.interval.weight).reshape(2, 2, -1))
            self._add("float interval_bias[2]", _array(head.interval.bias))
            self._add("float interval_margins[HAAQI_GROUPS + 1]", _array(head.interval_margins))
            self._add("float loss_weights[HAAQI_LEVELS]", _array(head.loss_weights).ravel())
            self._add("float loss_groups[HAAQI_GROUPS]", _array(head.loss_groups)[1:])

        linears = [one for one in encoder.layers if isinstance(one, nn.Linear)] + [encoder.linear]
        norms = [one for one in encoder.layers if isinstance(one, nn.LayerNorm)] + [encoder.norm]
        rows = []
        for index, (linear, norm) in enumerate(zip(linears, norms, strict=True)):
            name = f"layer_{index}"
            self._add(f"float {name}_gain[{len(norm.weight)}]", _array(norm.weight))
            self._add(f"float {name}_shift[{len(norm.bias)}]", _array(norm.bias))
            product = self._add_dense(name, _array(linear.weight), _array(linear.bias))
            rows.append(f"{{{product}, {name}_gain, {name}_shift}}")
        self._add_structure("layer encoder_layers[HAAQI_LAYERS]", rows)
        products = [one for one in head.conditioning if isinstance(one, nn.Linear)]
        conditioning = [
            self._add_dense(f"conditioning_{index}", _array(one.weight), _array(one.bias))
            for index, one in enumerate(products)
        ]
        self._add_structure("dense conditioning[2]", conditioning)
        audibility = self._add_dense("audibility", _array(head.audibility.weight), _array(head.audibility.bias))
        self._structures.append(f"static const dense audibility = {audibility};\n")
        self._add_structure("gru directions[2]", list(self._add_gru(head.gru)))

    def _add_gru(self, gru: nn.GRU) -> Iterator[str]:
        for name, suffix in (("forwards", "_l0"), ("backwards", "_l0_reverse")):
            products = [
                self._add_dense(
                    f"{name}_{kind}",
                    _array(gru.get_parameter(f"weight_{place}{suffix}")),
                    _array(gru.get_parameter(f"bias_{place}{suffix}")),
                )
                for kind, place in (("input", "ih"), ("state", "hh"))
            ]
            yield f"{{{products[0]},\n     {products[1]}}}"

    def _add_dense(self, name: str, weight: Array, bias: Array) -> str:
        """Add the constants of a product, and return the initializer of its structure."""
        outputs, inputs = weight.shape
        parts = [f"{name}_weights"]
        if self._weights == "int8":
            integers, scale = round_to_int8(weight)
            self._add(f"weight {name}_weights[{outputs * inputs}]", integers.ravel(), "int8")
            self._add(f"float {name}_scales[{outputs}]", scale.ravel())
            parts.append(f"{name}_scales")
        else:
            self._add(f"weight {name}_weights[{outputs * inputs}]", weight.ravel())
        self._add(f"float {name}_bias[{outputs}]", bias)
        return f"{{{', '.join([*parts, f'{name}_bias', str(outputs), str(inputs)])}}}"

    def _add_structure(self, declaration: str, rows: list[str]) -> None:
        self._structures.append(f"static const {declaration} = {{\n    " + ",\n    ".join(rows) + ",\n};\n")


def _array(tensor: Tensor) -> Array:
    values: Array = tensor.detach().cpu().numpy()
    return values


def _format_number(value: float) -> str:
    """Return a number in single precision as an exact C literal."""
    return f"{np.float32(value)!s}f"


def _format_array(values: npt.NDArray[np.generic]) -> str:
    if values.ndim > 1:
        return "{\n" + ",\n".join(_format_array(part) for part in values) + "}"
    words = [f"{value!s}f" for value in values] if values.dtype == np.float32 else [str(value) for value in values]
    lines = [", ".join(words[at : at + _ROW]) for at in range(0, len(words), _ROW)]
    return "{\n" + ",\n".join(lines) + "}"
