"""Score audio for listeners: predict a quality from 0 to 1 from the audio and an audiogram."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from .audio.levels import SILENCE
from .audio.presentation import Presentation, silent
from .audio.reading import TOO_SHORT, AudioLike, open_audio
from .audiogram import Audiogram, AudiogramLike, as_audiogram, as_audiograms
from .batch.prefetch import BATCH, Job, score_jobs
from .bundle import TEXTURE_VERSION, Bundle, Card, shipped_models
from .encoder import Encoder
from .errors import AudioError, BundleError, HaaqiEdgeError, OptionError
from .gpu.io_binding import Pair
from .gpu.provider_options import acceleration
from .head import Head
from .scores import Assembly, Score
from .session import Session
from .streaming.signal_window import Network
from .streaming.stream import Stream
from .windows import Cut, Encoded, WindowLike, cut, window_length

Array = npt.NDArray[np.float32]
_One: TypeAlias = "str | Audiogram | Mapping[Any, Any] | Sequence[float]"
"""One listener. An array may also be a table of several, one per row."""


@dataclass(frozen=True)
class Tokens:
    """An encoded clip from `Scorer.encode`, which can be scored for any number of listeners.

    Attributes:
        encoded: tokens float32 [patches, tokens per patch, width], and silent bool [patches].
        source_sha256: SHA-256 of the checkpoint from which the model was made. Only the same model can score the
            tokens.
        listener: the listener for whom NAL-R amplified the audio; None without amplification.
    """

    encoded: Encoded
    source_sha256: str
    listener: Audiogram | None = None


class Scorer:
    """A model that predicts how good music sounds to a listener, from the audio and the listener's audiogram.

    Scores are from 0 to 1. They predict HAAQI, unless the model's card names another quantity (`Card.predicts`). You
    can score any number of clips and listeners with one scorer, also from several threads at once.

        scorer = Scorer("nano")
        scorer.score("song.flac", "N3").score

        tokens = scorer.encode("song.flac")  # encode once, score for many listeners
        for score in scorer.score(tokens, ["N2", "N3", "N4"]):
            print(score.audiogram.name, score.score)

    Args:
        model: name of a shipped model (see `shipped_models`), or path of a bundle's folder.
        provider: execution provider: `cpu`, `cuda`, `tensorrt`, `coreml`, `openvino`, `xnnpack`, or ONNX Runtime's name
            of a provider. Default: `cpu`. There is no fallback: if the provider cannot run the model, you get an error.
        threads: number of CPU threads, 1 to 1024. Default: the number of cores that this process may use.
        cuda_graphs: with `cuda` or `tensorrt`, replay the encoder's kernels as CUDA graphs for shapes that recur
            (windows of one length).

    Attributes:
        card: description of the model, a `Card`.
        provider: ONNX Runtime's name of the provider in use.
        placement: for `encoder` and `head`, how often each operator runs on each provider; see `Session.placement`.
        threads: number of CPU threads in use.

    Raises:
        BundleNotFoundError: if `model` is neither a shipped name nor the folder of a bundle.
        BundleError: if the bundle is incomplete, altered or inconsistent, or if ONNX Runtime cannot load it.
        ProviderError: if the provider is not installed, does not start or cannot run the model.
        OptionError: if `threads` is out of range, or if `cuda_graphs` is used with another provider.
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
        # For pickling. A path is absolute, since the other process may have another working directory.
        self._model = str(model) if str(model) in shipped_models() else str(bundle.folder.absolute())
        self._options = {"provider": provider, "threads": threads, "cuda_graphs": cuda_graphs}
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
        self.placement = {"encoder": self._encoder.session.placement, "head": self._head.session.placement}
        self.threads: int = self._head.session.threads

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the model's name or folder and the options. Unpickling opens the model again.

        The model must be installed, or its folder must exist, where the scorer is unpickled.
        """
        return _reopened, (type(self), self._model, self._options, self.card)

    @overload
    def score(  # type: ignore[overload-overlap]  # text is one listener, although also a sequence of text
        self,
        audio: AudioLike | Tokens,
        audiogram: _One,
        *,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
        window: WindowLike = "default",
    ) -> Score: ...

    @overload
    def score(
        self,
        audio: AudioLike | Tokens,
        audiogram: Sequence[AudiogramLike],
        *,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
        window: WindowLike = "default",
    ) -> list[Score]: ...

    @overload
    def score(
        self,
        audio: AudioLike | Tokens,
        audiogram: AudiogramLike | Sequence[AudiogramLike],
        *,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
        window: WindowLike = "default",
    ) -> Score | list[Score]: ...

    def score(
        self,
        audio: AudioLike | Tokens,
        audiogram: AudiogramLike | Sequence[AudiogramLike],
        *,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
        window: WindowLike = "default",
    ) -> Score | list[Score]:
        """Score a clip for one or more listeners.

        Args:
            audio: path of an audio file, `(samples, rate)`, or tokens from `encode`. Samples are [n] or [n, channels];
                floating point with full scale 1.0, or signed integers with the full scale of their type. The rate is in
                Hz. Channels are averaged.
            audiogram: the name of a standard audiogram (`NH`, `N1` to `N7`, `S1` to `S3`), 8 hearing levels in dB HL at
                250, 500, 1000, 2000, 3000, 4000, 6000 and 8000 Hz, a mapping of Hz to dB HL, the path of a CSV or JSON
                file, or an `Audiogram`. For several listeners, a list of these.
            level1: presentation level, in dB SPL of a signal with RMS 1.0. Default: the model's value (85).
            spl: presentation level, in dB SPL of the whole clip before amplification. Replaces `level1`; you can set
                only one of them.
            nal_r: whether to amplify the audio for each listener by NAL-R first, True or False. Use this for
                unprocessed music. By default the audio is taken as the signal that reaches the ear.
            window: seconds that one score covers, from 0.16 to 60; `whole` for one window of the whole clip (up to
                60 s); `default` for the model's window.

        Returns:
            A `Score`, or a list with one `Score` per listener if `audiogram` is a list of audiograms.

        Raises:
            AudioError: if the audio cannot be read, is shorter than one patch (175 ms), is silent throughout, or
                contains invalid samples.
            AudiogramError: if an audiogram is invalid.
            OptionError: if an option is invalid, if `level1`, `spl` or `nal_r` is set for tokens (set them in
                `encode`), or if the tokens come from another model or were amplified for another listener.
        """
        _check_nal_r(nal_r)
        listeners, several = as_audiograms(audiogram)
        length = window_length(window, self.card.window)
        if isinstance(audio, Tokens):
            if level1 is not None or spl is not None or nal_r:
                raise OptionError(
                    "level1, spl and nal_r act before the encoder: give them to encode (nal_r as nal_r_for), not with "
                    "tokens"
                )
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
        window: WindowLike = "default",
    ) -> Generator[list[Score] | HaaqiEdgeError, None, None]:
        """Score many clips.

        Clips are read while others are scored, and patches of several clips are encoded together. Clips are pulled from
        `audios` as they are needed, so it may be a generator without an end: at most 64 + 2 x `threads` clips are ahead
        of the results. They are pulled in the thread that asks for the results. An error that `audios` raises is raised
        after the results of the clips before.

        Args:
            audios: the clips: paths or `(samples, rate)`, as for `score`.
            audiograms: one listener or a list of listeners, as for `score`.
            batch: number of patches to encode in one run, from as many clips as needed.
            level1: as for `score`.
            spl: as for `score`.
            nal_r: as for `score`.
            window: as for `score`.

        Returns:
            A generator. For each clip, in order, it gives a list with one `Score` per listener, or the error that
            `score` would raise. On the CPU, the scores are identical to those of `score`, to the last bit. Exhaust or
            close it to end its threads.

        Raises:
            BundleError: if a patch's tokens depend on the other patches in a batch (see `Card.streamable`).
            AudiogramError: if an audiogram is invalid.
            OptionError: if an option is invalid, which concerns all clips. These errors are raised at the call. Only a
                clip that is too long for the window `whole` is found out later.
        """
        if not self.card.streamable:
            raise BundleError(
                f"{self.card.name} ({self.card.precision}) cannot be batched: a patch's tokens depend on what it is "
                "encoded with; take its fp32 or static int8 form"
            )
        if isinstance(batch, bool) or not isinstance(batch, int | np.integer) or batch < 1:
            raise OptionError(f"a batch of {batch!r} patches: give a whole number, 1 or more")
        if _is_clip(audios):
            raise OptionError("one clip where several were expected: give a list of them, or call score")
        if not isinstance(audios, Iterable):
            raise OptionError(f"{audios!r} where clips were expected: give a list of paths or of (samples, rate)")
        _check_nal_r(nal_r)
        listeners, _ = as_audiograms(audiograms)
        length = window_length(window, self.card.window)
        groups = [[listener] for listener in listeners] if nal_r else [listeners]
        plans = [(group, Presentation(level1, spl, group[0] if nal_r else None)) for group in groups]
        return self._score_many(iter(audios), plans, int(batch), length)

    def _score_many(
        self,
        audios: Iterator[AudioLike],
        plans: Sequence[tuple[Sequence[Audiogram], Presentation]],
        batch: int,
        length: int | None,
    ) -> Generator[list[Score] | HaaqiEdgeError, None, None]:
        """Score clips as `score_many` does, for groups of listeners who hear the same presented signal."""
        jobs = (
            Job(partial(self._read, audio, presentation), group, _name(audio))
            for audio in audios
            for group, presentation in plans
        )
        outcomes = score_jobs(jobs, length, batch, self.threads, self._encoder, self._heard, self._pair)
        with closing(outcomes):
            for parts in zip(*[outcomes] * len(plans), strict=True):
                yield _joined(parts)

    def stream(
        self,
        audiogram: AudiogramLike | Sequence[AudiogramLike],
        sample_rate: int,
        *,
        window: WindowLike = "default",
        hop: float | None = None,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
    ) -> Stream:
        """Create a stream, which scores audio while it arrives.

        Args:
            audiogram: one listener or a list of listeners, as for `score`. All listeners share one encoder pass, except
                with `nal_r`.
            sample_rate: sample rate of the audio, Hz.
            window: seconds that one score covers, from 0.16 to 60; `default` for the model's window. `whole` is not
                possible.
            hop: seconds between updates, a multiple of 0.16. Default: 0.16.
            level1: as for `score`.
            spl: not supported, because it needs the whole clip. Use `level1`.
            nal_r: as for `score`.

        Returns:
            A `Stream`.

        Raises:
            BundleError: if a patch's tokens depend on the other patches in a batch (see `Card.streamable`).
            AudioError: if the sample rate cannot be used.
            AudiogramError: if an audiogram is invalid.
            OptionError: if an option is invalid.
        """
        if not self.card.streamable:
            raise BundleError(
                f"{self.card.name} ({self.card.precision}) cannot stream: its card says `streamable: false`, for a "
                "patch's tokens depend on what it is batched with; take its fp32 or static int8 form"
            )
        _check_nal_r(nal_r)
        card = self.card
        length = window_length(window, card.window)
        if length is None:
            raise OptionError('window="whole": a stream has no end; give seconds, up to 60, or "default"')
        network = Network(self._encoder, self._head, (card.tokens_per_patch, card.width), card.level1)
        return Stream(
            network,
            audiogram,
            sample_rate,
            length=length,
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
        nal_r_for: AudiogramLike | None = None,
    ) -> Tokens:
        """Encode a clip once, to score it for any number of listeners.

        Args:
            audio: path of an audio file, or `(samples, rate)`, as for `score`.
            level1: as for `score`.
            spl: as for `score`.
            nal_r_for: the listener for whom NAL-R amplifies the audio first, an audiogram as for `score`. You can then
                score the tokens for this listener only. Default: no amplification.

        Returns:
            `Tokens`, to pass to `score` in place of audio.

        Raises:
            AudioError: as for `score`.
            AudiogramError: if the audiogram is invalid.
            OptionError: if an option is invalid.
        """
        if isinstance(nal_r_for, bool | np.bool_):
            raise OptionError(
                f"nal_r_for={nal_r_for}: give the audiogram of the listener for whom the audio is amplified, such as "
                'nal_r_for="N3", or leave it out'
            )
        listener = None if nal_r_for is None else as_audiogram(nal_r_for)
        blocks = list(self._encode(audio, Presentation(level1, spl, listener)))
        encoded = Encoded(np.concatenate([b.tokens for b in blocks]), np.concatenate([b.silent for b in blocks]))
        return Tokens(encoded, self.card.source_sha256, listener)

    def _encode(self, audio: AudioLike, presentation: Presentation) -> Iterator[Encoded]:
        for block in self._read(audio, presentation):
            yield block._replace(tokens=self._encoder.tokens(block.tokens))

    def _read(self, audio: AudioLike, presentation: Presentation) -> Iterator[Encoded]:
        """Yield the patches of a clip, with features in place of tokens.

        Raises:
            AudioError: if the clip is shorter than one patch, or silent throughout.
        """
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
        name = _name(audio)
        if self._pair is not None:
            return self._pair.score(cut(self._read(audio, presentation), length), listeners, name)
        return self._heard(cut(self._encode(audio, presentation), length), listeners, name)

    def _heard(self, windows: Iterable[Cut], listeners: Sequence[Audiogram], name: str) -> list[Score]:
        """Run the head on windows of tokens, and return one score per listener."""
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


def _reopened(kind: type[Scorer], model: str, options: Mapping[str, Any], card: Card) -> Scorer:
    """Open the model of a pickled scorer.

    Raises:
        BundleError: if the model is not the one of the pickled scorer.
    """
    scorer = kind(model, **options)
    if scorer.card != card:
        raise BundleError(
            f"{model} is not the model that it was when this scorer was pickled: create the scorer anew, with "
            f"Scorer({model!r})"
        )
    return scorer


def _check_nal_r(nal_r: object) -> None:
    """Refuse anything but True and False. A listener given here would otherwise be taken as True."""
    if not isinstance(nal_r, bool | np.bool_):
        raise OptionError(
            f"nal_r={nal_r!r}: write nal_r=True or nal_r=False; with True the audio is amplified for each listener who "
            "is scored. To encode audio that is amplified for one listener, write encode(audio, nal_r_for=audiogram)"
        )


def _name(audio: AudioLike) -> str:
    """Return the name of a clip in error messages."""
    return "the audio" if isinstance(audio, tuple) else str(audio)


def _is_clip(audios: object) -> bool:
    """Return whether `audios` is a single clip, rather than several: a path, `(samples, rate)`, or bare samples."""
    return isinstance(audios, str | Path | np.ndarray) or (
        isinstance(audios, tuple) and len(audios) == 2 and isinstance(audios[1], int | np.integer)
    )


def _joined(parts: Sequence[list[Score] | HaaqiEdgeError]) -> list[Score] | HaaqiEdgeError:
    """Return the scores of a clip's groups of listeners, or the first error. Raise errors that concern every clip."""
    scores: list[Score] = []
    for part in parts:
        if isinstance(part, OptionError):
            raise part
        if isinstance(part, HaaqiEdgeError):
            return part
        scores += part
    return scores


def _disagreements(card: Card, role: str, session: Session) -> list[str]:
    """Return the properties in which a graph disagrees with the card.

    Sizes that the graph leaves open are not compared.
    """
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
