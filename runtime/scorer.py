"""Scoring: audio and an audiogram to a quality from 0 to 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from .acceleration import acceleration
from .audio import TOO_SHORT, AudioLike, open_audio
from .audiogram import Audiogram, AudiogramLike, as_audiogram, as_audiograms
from .bundle import TEXTURE_VERSION, Bundle, Card
from .device import Pair
from .encoder import Encoder
from .errors import AudioError, BundleError, HaaqiEdgeError, OptionError
from .head import Head
from .lane import Network
from .levels import SILENCE
from .library import BATCH, Job, score_jobs
from .presentation import Presentation, silent
from .scores import Assembly, Score
from .sessions import Session
from .stream import Stream
from .windows import Cut, Encoded, cut, window_patches

Array = npt.NDArray[np.float32]
WindowLike = float | None | Literal["card"]


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
        cuda_graphs: on a GPU, replay the encoder's kernels for shapes that recur (windows of one length).

    Raises:
        BundleError, BundleNotFoundError, ProviderError, OptionError: see `Bundle` and `Session`.
    """

    def __init__(
        self,
        model: str | Path = "nano",
        *,
        provider: str | None = None,
        threads: int | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        bundle = Bundle(model)
        self.card: Card = bundle.card
        limits = acceleration(bundle, provider, cuda_graphs=cuda_graphs)
        self._encoder = Encoder(bundle, provider, threads, limits.options["encoder"])
        self._head = Head(bundle, provider, threads, limits.options["head"], limits.listeners)
        for role, session in (("encoder", self._encoder.session), ("head", self._head.session)):
            wrong = _disagreements(self.card, role, session)
            if wrong:
                raise BundleError(f"the {role} of {bundle.folder} disagrees with its card on {wrong}")
        on_gpu = self._head.session.device == "cuda"
        self._pair = Pair(self._encoder.session, self._head.session, self.card, limits) if on_gpu else None
        self.provider: str = self._head.session.provider
        """the provider that really runs"""
        self.placement = {"encoder": self._encoder.session.placement, "head": self._head.session.placement}
        """role to provider to how often each operator runs there, see `Session.placement`"""
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
            scores = self._heard(cut([audio.encoded], length), listeners, "the tokens")
        elif nal_r:
            scores = [
                self._score(audio, [listener], Presentation(level1, spl, listener), length)[0] for listener in listeners
            ]
        else:
            scores = self._score(audio, listeners, Presentation(level1, spl), length)
        return scores if several else scores[0]

    def score_many(
        self,
        audios: Iterable[AudioLike],
        audiograms: AudiogramLike | Sequence[AudiogramLike],
        *,
        batch: int = BATCH,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
        window: WindowLike = "card",
    ) -> Iterator[list[Score] | HaaqiEdgeError]:
        """Score many clips: one is read while another is scored, and their patches are encoded together.

        Args:
            audios: clips, as for `score`.
            audiograms: the listeners, or one.
            batch: patches that are encoded in one run, of as many clips as it takes.
            level1, spl, nal_r, window: as for `score`.

        Returns:
            A generator: for each clip in turn a list of scores, or the error that `score` would raise. On the CPU the
            scores are the same to the last bit.

        Raises:
            BundleError: a model whose tokens depend on what a patch is batched with.
            AudiogramError, OptionError: what is wrong with all clips.
        """
        if not self.card.streamable:
            raise BundleError(
                f"{self.card.name} ({self.card.precision}) cannot be batched: a patch's tokens depend on what it is "
                "encoded with; take its fp32 or static int8 form"
            )
        if batch < 1:
            raise OptionError(f"a batch of {batch} patches: give 1 or more")
        if _is_clip(audios):
            raise OptionError("one clip where several were expected: give a list of them, or call score")
        listeners, _ = as_audiograms(audiograms)
        length = window_patches(self.card.window if window == "card" else window)
        groups = [[listener] for listener in listeners] if nal_r else [listeners]
        plans = [(group, Presentation(level1, spl, group[0] if nal_r else None)) for group in groups]
        jobs = [
            Job(partial(self._read, audio, presentation), group, str(audio))
            for audio in audios
            for group, presentation in plans
        ]
        outcomes = score_jobs(jobs, length, batch, self.threads, self._encoder, self._heard, self._pair)
        for parts in zip(*[outcomes] * len(plans), strict=True):
            yield _joined(parts)

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
        for block in self._read(audio, presentation):
            yield block._replace(tokens=self._encoder.tokens(block.tokens))

    def _read(self, audio: AudioLike, presentation: Presentation) -> Iterator[Encoded]:
        """The patches of a clip as the encoder reads them, in the place of tokens."""
        source = open_audio(audio)
        gain = presentation.gain(source, self.card.level1)
        any_patch = any_sound = False
        for block in self._encoder.read(presentation.blocks(source, gain), SILENCE * gain):
            any_patch, any_sound = True, any_sound or not block.silent.all()
            yield block
        if not any_patch:
            raise AudioError(f"{source.name} is shorter than one patch: {TOO_SHORT}")
        if not any_sound:
            raise silent(source)

    def _score(
        self, audio: AudioLike, listeners: Sequence[Audiogram], presentation: Presentation, length: int | None
    ) -> list[Score]:
        name = "the audio" if isinstance(audio, tuple) else str(audio)
        if self._pair is not None:
            return self._pair.score(cut(self._read(audio, presentation), length), listeners, name)
        return self._heard(cut(self._encode(audio, presentation), length), listeners, name)

    def _heard(self, windows: Iterable[Cut], listeners: Sequence[Audiogram], name: str) -> list[Score]:
        """Run the head over windows of tokens, and put what is heard together."""
        clip = Assembly(listeners, name, self.card.predicts)
        for window in windows:
            quiet = window.patches.silent.all()
            clip.add(window, None if quiet else self._head.run(window.patches.tokens, clip.audiograms))
        return clip.scores()

    def _check_tokens(self, tokens: Tokens, listeners: Sequence[Audiogram]) -> None:
        if tokens.source_sha256 != self.card.source_sha256:
            raise OptionError(f"these tokens come from another model than {self.card.name}: encode with this one")
        others = [a.name for a in listeners if tokens.listener and a.levels != tokens.listener.levels]
        if tokens.listener and others:
            raise OptionError(
                f"these tokens were amplified for {tokens.listener.name} and cannot be scored for {', '.join(others)}: "
                "encode once for each listener, or call score(..., nal_r=True)"
            )


def _is_clip(audios: object) -> bool:
    """Whether it is a path, or `(samples, rate)`, rather than several clips."""
    return isinstance(audios, str | Path) or (
        isinstance(audios, tuple) and len(audios) == 2 and isinstance(audios[1], int | np.integer)
    )


def _joined(parts: Sequence[list[Score] | HaaqiEdgeError]) -> list[Score] | HaaqiEdgeError:
    """The scores of a clip's groups of listeners, or the first error; one that holds for every clip is raised."""
    scores: list[Score] = []
    for part in parts:
        if isinstance(part, OptionError):
            raise part
        if isinstance(part, HaaqiEdgeError):
            return part
        scores += part
    return scores


def _disagreements(card: Card, role: str, session: Session) -> list[str]:
    """What a graph says otherwise than the card; a size that the graph leaves open is not compared."""
    expected, found = ({TEXTURE_VERSION: "1", **metadata} for metadata in (card.metadata(), session.metadata))
    wrong = sorted(k for k, v in expected.items() if found.get(k) != v)
    inputs, outputs = {
        "encoder": ({card.encoder_input}, ["tokens"]),
        "head": ({"tokens", "audiogram"}, ["frame_scores", "score"]),
    }[role]
    if set(session.inputs) != inputs or list(session.outputs) != outputs:
        return [*wrong, "inputs and outputs"]
    tokens = session.outputs["tokens"][1:] if role == "encoder" else session.inputs["tokens"][2:]
    sizes = ["tokens_per_patch", "width"] if role == "encoder" else ["width"]
    return wrong + [k for k, n in zip(sizes, tokens, strict=False) if isinstance(n, int) and n != getattr(card, k)]
