"""Scoring: audio and an audiogram to a quality from 0 to 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from . import frontend as fe
from .audio import TOO_SHORT, AudioLike, open_audio
from .audiogram import Audiogram, AudiogramLike, as_audiogram, as_audiograms
from .bundle import HAAQI, Bundle, Card, Scale
from .encoder import Encoder
from .errors import AudioError, BundleError, OptionError
from .head import Head
from .lane import Network
from .levels import SILENCE
from .presentation import Presentation, silent
from .sessions import Session
from .stream import Stream
from .windows import Cut, Encoded, cut, window_patches

Array = npt.NDArray[np.float32]
WindowLike = float | None | Literal["card"]


@dataclass(frozen=True)
class Window:
    """A stretch of a clip in seconds, and its score; None where it is silent."""

    start: float
    end: float
    score: float | None


@dataclass(frozen=True)
class Score:
    """The quality that one listener hears.

    Attributes:
        score: 0 to 1, the mean of the windows weighted by the patches that each adds.
        frame_scores: float32 [patches], NaN in silent windows.
        times: float64 [patches], seconds from the start of the clip to the middle of each patch.
        windows: the windows that were scored.
        audiogram: the listener.
        scale: what the score stands for.
    """

    score: float
    frame_scores: Array
    times: npt.NDArray[np.floating]
    windows: tuple[Window, ...]
    audiogram: Audiogram
    scale: Scale = HAAQI

    @property
    def value(self) -> float:
        """The score on the scale of what the model predicts: itself for HAAQI, 1 to 5, say, for ratings."""
        return self.scale.of_score(self.score)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: silence is null."""
        return {
            "audiogram": self.audiogram.name,
            "levels": list(self.audiogram.levels),
            "score": self.score,
            **({} if self.scale == HAAQI else {"value": self.value}),
            "windows": [{"start": w.start, "end": w.end, "score": w.score} for w in self.windows],
            "frame_scores": [None if np.isnan(v) else round(float(v), 6) for v in self.frame_scores],
            "times": [round(float(t), 4) for t in self.times],
        }


@dataclass(frozen=True)
class Tokens:
    """An encoded clip, to be scored for any number of listeners.

    Attributes:
        encoded: tokens float32 [patches, tokens per patch, width] and silent bool [patches].
        source_sha256: of the checkpoint behind the model that made them; only that model can score them.
        listener: for whom NAL-R amplified the music, if it did.
    """

    encoded: Encoded
    source_sha256: str
    listener: Audiogram | None = None


class Scorer:
    """A model ready to score. Safe to use from several threads.

    Args:
        model: a shipped name or the folder of a bundle.
        provider: `cpu`, `cuda`, ...; None chooses the CPU. What was asked for runs, or an error says why not.
        threads: None takes the cores that this process may use.

    Raises:
        BundleError, BundleNotFoundError, ProviderError, OptionError: see `Bundle` and `Session`.
    """

    def __init__(self, model: str | Path = "nano", *, provider: str | None = None, threads: int | None = None) -> None:
        bundle = Bundle(model)
        self.card: Card = bundle.card
        self._encoder = Encoder(bundle, provider, threads)
        self._head = Head(bundle, provider, threads)
        for role, session in (("encoder", self._encoder.session), ("head", self._head.session)):
            wrong = _disagreements(self.card, role, session)
            if wrong:
                raise BundleError(f"the {role} of {bundle.folder} disagrees with its card on {wrong}")
        self.provider: str = self._head.session.provider
        self.threads: int = self._head.session.threads

    @overload
    def score(
        self,
        audio: AudioLike | Tokens,
        audiogram: str | Audiogram,
        *,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
        window: WindowLike = "card",
    ) -> Score: ...

    @overload
    def score(
        self,
        audio: AudioLike | Tokens,
        audiogram: AudiogramLike | Sequence[AudiogramLike],
        *,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
        window: WindowLike = "card",
    ) -> Any: ...

    def score(
        self,
        audio: AudioLike | Tokens,
        audiogram: AudiogramLike | Sequence[AudiogramLike],
        *,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
        window: WindowLike = "card",
    ) -> Score | list[Score]:
        """Score a clip for one listener or for several.

        Args:
            audio: a path, `(samples, rate)` with samples [n] or [n, channels], or tokens from `encode`.
            audiogram: a name, 8 numbers, an `Audiogram`, or a list of them.
            level1: dB SPL of RMS 1.0; None is the model's, 85.
            spl: dB SPL at which the whole clip is played instead, before amplification.
            nal_r: amplify raw music for the listener first. Without it the audio is taken as what reaches the ear.
            window: seconds that one score covers; None for the whole clip; `card` for the model's own.

        Returns:
            A `Score`, or a list of them where a list of audiograms was given.

        Raises:
            AudioError, AudiogramError, OptionError: see their messages. Nothing is scored then.
        """
        listeners, several = as_audiograms(audiogram)
        length = window_patches(self.card.window if window == "card" else window)
        if isinstance(audio, Tokens):
            if level1 is not None or spl is not None or nal_r:
                raise OptionError("level1, spl and nal_r act before the encoder: give them to encode, not with tokens")
            self._check_tokens(audio, listeners)
            scores = self._assemble(cut([audio.encoded], length), listeners, "the tokens")
        elif nal_r:
            scores = [
                self._score(audio, [listener], Presentation(level1, spl, listener), length)[0] for listener in listeners
            ]
        else:
            scores = self._score(audio, listeners, Presentation(level1, spl), length)
        return scores if several else scores[0]

    def stream(
        self,
        audiogram: AudiogramLike | Sequence[AudiogramLike],
        sample_rate: int,
        *,
        window: WindowLike = "card",
        hop: float | None = None,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
    ) -> Stream:
        """Score audio as it comes.

        Args:
            audiogram: a listener or a list of them, as for `score`; without `nal_r` all share one encoder pass.
            sample_rate: Hz of the audio.
            window: seconds that one score covers; `card` for the model's own; None, the whole clip, is refused.
            hop: seconds between updates, a multiple of 0.16; None for 0.16.
            level1, nal_r: as for `score`.
            spl: refused, for it needs the whole clip.

        Raises:
            BundleError: a model whose tokens depend on what a patch is batched with.
            AudioError, AudiogramError, OptionError: see their messages.
        """
        if not self.card.streamable:
            raise BundleError(
                f"{self.card.name} ({self.card.precision}) cannot stream: its card says `streamable: false`, for a "
                "patch's tokens depend on what it is batched with; take its fp32 or static int8 form"
            )
        card = self.card
        network = Network(self._encoder, self._head, (card.tokens_per_patch, card.width), card.level1)
        return Stream(
            network,
            audiogram,
            sample_rate,
            window=card.window if window == "card" else window,
            hop=hop,
            presentation=Presentation(level1, spl),
            nal_r=nal_r,
        )

    def encode(
        self,
        audio: AudioLike,
        *,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: AudiogramLike | None = None,
    ) -> Tokens:
        """Encode a clip once, to be scored for any number of listeners.

        Args:
            audio, level1, spl: as for `score`.
            nal_r: the listener for whom the music is amplified first; only that listener can be scored then.

        Raises:
            AudioError, OptionError: as `score`.
        """
        listener = None if nal_r is None else as_audiogram(nal_r)
        blocks = list(self._encode(audio, Presentation(level1, spl, listener)))
        encoded = Encoded(np.concatenate([b.tokens for b in blocks]), np.concatenate([b.silent for b in blocks]))
        return Tokens(encoded, self.card.source_sha256, listener)

    def _encode(self, audio: AudioLike, presentation: Presentation) -> Iterator[Encoded]:
        source = open_audio(audio)
        gain = presentation.gain(source, self.card.level1)
        any_patch = any_sound = False
        for block in self._encoder.encode(presentation.blocks(source, gain), SILENCE * gain):
            any_patch, any_sound = True, any_sound or not block.silent.all()
            yield block
        if not any_patch:
            raise AudioError(f"{source.name} is shorter than one patch: {TOO_SHORT}")
        if not any_sound:
            raise silent(source)

    def _score(
        self, audio: AudioLike, listeners: Sequence[Audiogram], presentation: Presentation, length: int | None
    ) -> list[Score]:
        return self._assemble(cut(self._encode(audio, presentation), length), listeners, str(audio))

    def _check_tokens(self, tokens: Tokens, listeners: Sequence[Audiogram]) -> None:
        if tokens.source_sha256 != self.card.source_sha256:
            raise OptionError(f"these tokens come from another model than {self.card.name}: encode with this one")
        others = [a.name for a in listeners if tokens.listener and a.levels != tokens.listener.levels]
        if tokens.listener and others:
            raise OptionError(
                f"these tokens were amplified for {tokens.listener.name} and cannot be scored for {', '.join(others)}: "
                "encode once for each listener, or call score(..., nal_r=True)"
            )

    def _assemble(self, cuts: Iterable[Cut], listeners: Sequence[Audiogram], name: str) -> list[Score]:
        """Run the head over the windows and put each listener's results together."""
        windows: list[list[Window]] = [[] for _ in listeners]
        frames: list[list[Array]] = [[] for _ in listeners]
        weights: list[int] = []
        audiograms = np.stack([listener.array() for listener in listeners])
        for start, patches, added in cuts:
            weights.append(added)
            span = (start * fe.PATCH_SECONDS, fe.patch_end(start + len(patches.silent)))
            if patches.silent.all():
                frame_scores = np.full((len(listeners), len(patches.silent)), np.nan, dtype=np.float32)
                values: list[float | None] = [None] * len(listeners)
            else:
                frame_scores, scores = self._head.run(patches.tokens, audiograms)
                values = [float(score) for score in scores]
            for i, value in enumerate(values):
                windows[i].append(Window(*span, value))
                frames[i].append(frame_scores[i, len(patches.silent) - added :])
        results = []
        for listener, own, curves in zip(listeners, windows, frames, strict=True):
            curve = np.concatenate(curves)
            sounding = [(w.score, n) for w, n in zip(own, weights, strict=True) if w.score is not None]
            total = sum(n for _, n in sounding)
            if total == 0:
                raise AudioError(f"{name} is silent throughout")
            times = np.arange(len(curve)) * fe.PATCH_SECONDS + fe.PATCH_LENGTH / fe.SAMPLE_RATE / 2
            mean = sum(score * n for score, n in sounding) / total
            results.append(Score(mean, curve, times, tuple(own), listener, self.card.predicts))
        return results


def _disagreements(card: Card, role: str, session: Session) -> list[str]:
    """What a graph says otherwise than the card; a size that the graph leaves open is not compared."""
    wrong = sorted(k for k, v in card.metadata().items() if session.metadata.get(k) != v)
    inputs, outputs = {
        "encoder": ({card.encoder_input}, ["tokens"]),
        "head": ({"tokens", "audiogram"}, ["frame_scores", "score"]),
    }[role]
    if set(session.inputs) != inputs or list(session.outputs) != outputs:
        return [*wrong, "inputs and outputs"]
    tokens = session.outputs["tokens"][1:] if role == "encoder" else session.inputs["tokens"][2:]
    sizes = ["tokens_per_patch", "width"] if role == "encoder" else ["width"]
    return wrong + [k for k, n in zip(sizes, tokens, strict=False) if isinstance(n, int) and n != getattr(card, k)]
