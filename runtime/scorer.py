"""Score audio for listeners: predict a quality from 0 to 1 from the audio and an audiogram."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from .audio.channels import Channel, check_channel
from .audio.levels import SILENCE
from .audio.presentation import Presentation, silence_error
from .audio.reading import TOO_SHORT, ArrayAudio, AudioLike, FileAudio, open_audio
from .audiogram import Audiogram, AudiogramLike, EarPair, EarsLike, as_audiogram, as_audiograms, as_ears
from .backend import Backend
from .batch.prefetch import BATCH, Job, score_jobs
from .bundle import Bundle, Card, shipped_models
from .ears import EARS, Ear, EarScores, interleave, of_ear, open_ear, pair_scores
from .errors import AudioError, AudiogramError, BundleError, HaaqiEdgeError, OptionError
from .features.front_ends import read_patches
from .files import display_name, is_graph
from .onnx_backend import FusedBackend, OnnxBackend
from .scores import Score, short_name
from .streaming.ear_stream import EarStream
from .streaming.stream import Stream
from .window_scoring import WholeWindows, WindowModel, score_features, score_tokens
from .windows import PatchFeatures, PatchTokens, WindowLike, slice_windows, window_length

Array = npt.NDArray[np.float32]
_One: TypeAlias = "str | Audiogram | Mapping[Any, Any] | Sequence[float]"
"""One listener. An array may also be a table of several, one per row."""


@dataclass(frozen=True, repr=False)
class Tokens:
    """An encoded clip from `Scorer.encode`, which can be scored for any number of listeners.

    Attributes:
        encoded: tokens float32 [patches, tokens per patch, width], and silent bool [patches].
        source_sha256: SHA-256 of the checkpoint from which the model was made. Only the same model can score the
            tokens.
        listener: the listener for whom NAL-R amplified the audio; None without amplification.
    """

    encoded: PatchTokens
    source_sha256: str
    listener: Audiogram | None = None

    def __repr__(self) -> str:
        """Return one line: the number of patches, how many are silent, the size of a token, and the origin."""
        patches, per_patch, width = self.encoded.tokens.shape
        listener = "" if self.listener is None else f", listener={short_name(self.listener)!r}"
        return (
            f"Tokens(patches={patches}, silent={int(self.encoded.silent.sum())}, tokens_per_patch={per_patch}, "
            f"width={width}, source_sha256='{self.source_sha256[:8]}...'{listener})"
        )


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
        model: name of a shipped model (see `shipped_models`), path of a bundle's folder, a `Bundle`, a fused file
            (.onnx or .ort, see `haaqi-edge export --fused`), or a backend (see `runtime.backend.Backend`), such as a
            checkpoint that `haaqi_edge.model.backend.load_backend` loads.
        provider: execution provider: `cpu`, `cuda`, `tensorrt`, `coreml`, `openvino`, `xnnpack`, or ONNX Runtime's name
            of a provider. Default: `cpu`. There is no fallback: if the provider cannot run the model, you get an error.
        threads: number of CPU threads, 1 to 1024. Default: the number of cores that this process may use.
        cuda_graphs: with `cuda` or `tensorrt`, replay the encoder's kernels as CUDA graphs for shapes that recur
            (windows of one length).

    The other options choose how ONNX Runtime runs a bundle. They cannot be combined with a backend.

    Attributes:
        card: description of the model, a `Card`.
        backend: the model.
        provider: name of the provider in use: ONNX Runtime's for a bundle.
        placement: for `encoder` and `head`, or for `fused`, how often each operator runs on each provider; see
            `Session.placement`. Empty for a backend of your own or a checkpoint.
        threads: number of CPU threads in use.

    Raises:
        BundleNotFoundError: if `model` is neither a shipped name nor the folder of a bundle.
        BundleError: if the bundle is incomplete, altered or inconsistent, or if ONNX Runtime cannot load it.
        ProviderError: if the provider is not installed, does not start or cannot run the model.
        OptionError: if `threads` is out of range, if `cuda_graphs` is used with another provider, if `model` is none of
            these, or if an option is given together with a backend.
    """

    def __init__(
        self,
        model: str | Path | Bundle | Backend = "nano",
        *,
        provider: str | None = None,
        threads: int | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        self._options = {"provider": provider, "threads": threads, "cuda_graphs": cuda_graphs}
        self._model: str | Backend
        if isinstance(model, str | Path) and is_graph(model):
            if cuda_graphs:
                raise OptionError("cuda_graphs is an option of a bundle: leave it out for a fused file")
            self._model = str(Path(model).absolute())
            fused = FusedBackend(Path(model), provider=provider, threads=threads)
            self.backend: Backend = fused
            self.placement = {"fused": fused.session.placement}
            self._window_model: WindowModel | None = WholeWindows(fused)
        elif isinstance(model, str | Path | Bundle):
            bundle = model if isinstance(model, Bundle) else Bundle(model)
            # For pickling. A path is absolute, since the other process may have another working directory.
            self._model = str(model) if str(model) in shipped_models() else str(bundle.folder.absolute())
            onnx = OnnxBackend(bundle, provider=provider, threads=threads, cuda_graphs=cuda_graphs)
            self.backend = onnx
            self.placement = onnx.placement
            self._window_model = onnx.bound
        elif isinstance(model, Backend):
            if provider is not None or threads is not None or cuda_graphs:
                raise OptionError(
                    "provider, threads and cuda_graphs are options of a bundle: leave them out, and set the options of "
                    "the backend where you create it"
                )
            self._model = self.backend = model
            self.placement = {}
            self._window_model = WholeWindows(model) if model.encodes_windows else None
        else:
            raise OptionError(
                f"{model!r} is not a model: give a shipped name ({', '.join(shipped_models())}), the folder of a "
                "bundle, a Bundle, or a backend"
            )
        self.card: Card = self.backend.card
        self.provider: str = self.backend.provider
        self.threads: int = self.backend.threads

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the model's name or folder, or the backend, and the options. Unpickling opens the model again.

        The model must be installed, or its folder must exist, where the scorer is unpickled.
        """
        return _reopen, (type(self), self._model, self._options, self.card.digest)

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
        channel: Channel = "mix",
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
        channel: Channel = "mix",
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
        channel: Channel = "mix",
    ) -> Score | list[Score]: ...

    @overload
    def score(
        self,
        audio: AudioLike,
        *,
        ears: list[EarsLike] | list[EarPair],
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
        window: WindowLike = "default",
    ) -> list[EarScores]: ...

    @overload
    def score(
        self,
        audio: AudioLike,
        *,
        ears: EarsLike,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
        window: WindowLike = "default",
    ) -> EarScores: ...

    def score(
        self,
        audio: AudioLike | Tokens,
        audiogram: AudiogramLike | Sequence[AudiogramLike] | None = None,
        *,
        ears: EarsLike | list[EarsLike] | list[EarPair] | None = None,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
        window: WindowLike = "default",
        channel: Channel = "mix",
    ) -> Score | list[Score] | EarScores | list[EarScores]:
        """Score a clip for one or more listeners.

        Args:
            audio: path of an audio file (`-` for standard input), a binary file that is open for reading,
                `(samples, rate)`, or tokens from `encode`. Samples are [n] or [n, channels]; floating point with full
                scale 1.0, or signed integers with the full scale of their type. The rate is in Hz.
            audiogram: the name of a standard audiogram (`NH`, `N1` to `N7`, `S1` to `S3`), 8 hearing levels in dB HL at
                250, 500, 1000, 2000, 3000, 4000, 6000 and 8000 Hz, a mapping of Hz to dB HL, the path of a CSV or JSON
                file, or an `Audiogram`. For several listeners, a list of these.
            ears: in place of `audiogram`, `(left, right)`, the audiograms of a listener's two ears, for a stereo
                recording: the left channel is scored with the left audiogram, and the right channel with the right
                one. Also an `EarPair`, pyclarity's `Listener`, text such as `listeners.json:L5001`, or a list of these.
            level1: presentation level, in dB SPL of a signal with RMS 1.0. Default: the model's value (85).
            spl: presentation level, in dB SPL of the whole clip before amplification; with `ears`, of each channel.
                Replaces `level1`; you can set only one of them.
            nal_r: whether to amplify the audio for each listener by NAL-R first, True or False. Use this for
                unprocessed music. By default the audio is taken as the signal that reaches the ear.
            window: seconds that one score covers, from 0.16 to 60; `whole` for one window of the whole clip (up to
                60 s); `default` for the model's window.
            channel: `mix` for the mean of the channels, `left` or `right` of a stereo recording, or the number of a
                channel, from 0. If the channels cancel each other in the mix, a `CancellationWarning` is issued.

        Returns:
            A `Score`, or a list with one `Score` per listener if `audiogram` is a list of audiograms. With `ears`, an
            `EarScores`, or a list of them.

        Raises:
            AudioError: if the audio cannot be read as a whole, is shorter than one patch (175 ms), is silent
                throughout, contains invalid samples, or is above 120 dB SPL before amplification.
            AudiogramError: if an audiogram is invalid.
            DependencyError: if the file needs FFmpeg and PyAV is not installed.
            OptionError: if an option is invalid, if `level1`, `spl`, `nal_r` or `channel` is set for tokens (set them
                in `encode`), or if the tokens come from another model or were amplified for another listener.
        """
        _check_nal_r(nal_r)
        _check_listeners(audiogram, ears, channel)
        length = window_length(window, self.card.window)
        if ears is not None:
            if isinstance(audio, Tokens):
                raise OptionError(
                    "tokens are of one signal, and ears=(left, right) need two: encode with channel='left' and with "
                    "channel='right', and score each with the audiogram of its ear"
                )
            pairs, several_pairs = as_ears(ears)
            both = _Source(audio, "mix")
            left, right = (
                self._score_plans(_EarSource(both, ear), _plans(of_ear(pairs, ear), level1, spl, nal_r), length)
                for ear in EARS
            )
            results = pair_scores(interleave(left, right), pairs)
            return results if several_pairs else results[0]
        assert audiogram is not None
        listeners, several = as_audiograms(audiogram)
        if isinstance(audio, Tokens):
            if level1 is not None or spl is not None or nal_r or channel != "mix":
                raise OptionError(
                    "level1, spl, nal_r and channel act before the encoder: give them to encode (nal_r as nal_r_for), "
                    "not with tokens"
                )
            self._check_tokens(audio, listeners)
            scores = score_tokens(self.backend, slice_windows([audio.encoded], length), listeners, "the tokens")
        else:
            source = _Source(audio, check_channel(channel))
            scores = self._score_plans(source, _plans(listeners, level1, spl, nal_r), length)
        return scores if several else scores[0]

    def score_many(
        self,
        audios: Iterable[AudioLike],
        audiograms: AudiogramLike | Sequence[AudiogramLike] | None = None,
        *,
        ears: EarsLike | list[EarsLike] | list[EarPair] | None = None,
        batch: int = BATCH,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
        window: WindowLike = "default",
        channel: Channel = "mix",
    ) -> Generator[list[Score] | HaaqiEdgeError, None, None]:
        """Score many clips.

        Clips are read while others are scored, and patches of several clips are encoded together. Clips are pulled from
        `audios` as they are needed, so it may be a generator without an end: at most 64 + 2 x `threads` clips are ahead
        of the results. They are pulled in the thread that asks for the results. An error that `audios` raises is raised
        after the results of the clips before.

        Args:
            audios: the clips: paths, open files or `(samples, rate)`, as for `score`.
            audiograms: one listener or a list of listeners, as for `score`.
            ears: in place of `audiograms`, the two ears of one listener or of several, as for `score`. The scores of a
                clip are those of all ears: the left and the right one of each listener, see `runtime.ears.pair_scores`.
            batch: number of patches to encode in one run, from as many clips as needed.
            level1: as for `score`.
            spl: as for `score`.
            nal_r: as for `score`.
            window: as for `score`.
            channel: as for `score`.

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
        if not (self.card.streamable or self.backend.encodes_windows):
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
        _check_listeners(audiograms, ears, channel)
        length = window_length(window, self.card.window)
        choice = check_channel(channel)
        sources = (_Source(audio, choice) for audio in audios)
        if ears is not None:
            return self._score_many_ears(sources, as_ears(ears)[0], level1, spl, nal_r, int(batch), length)
        assert audiograms is not None
        listeners, _ = as_audiograms(audiograms)
        return self._score_many(sources, _plans(listeners, level1, spl, nal_r), int(batch), length)

    def _score_many_ears(
        self,
        sources: Iterator[_Source],
        pairs: Sequence[EarPair],
        level1: float | None,
        spl: float | None,
        nal_r: bool,
        batch: int,
        length: int | None,
    ) -> Generator[list[Score] | HaaqiEdgeError, None, None]:
        """Score stereo clips as `score_many` does, the left and the right ear in turn."""
        plans = {ear: _plans(of_ear(pairs, ear), level1, spl, nal_r) for ear in EARS}
        jobs = (
            Job(partial(self._read, source, presentation), group, source.name)
            for both in sources
            for ear in EARS
            for source in [_EarSource(both, ear)]
            for group, presentation in plans[ear]
        )
        outcomes = score_jobs(jobs, length, batch, self.threads, self._window_model or self.backend)
        with closing(outcomes):
            for parts in zip(*[outcomes] * sum(map(len, plans.values())), strict=True):
                scores = _merge_outcomes(parts)
                if isinstance(scores, list):
                    scores = interleave(scores[: len(pairs)], scores[len(pairs) :])
                yield scores

    def _score_many(
        self,
        sources: Iterator[_Source],
        plans: Sequence[tuple[Sequence[Audiogram], Presentation]],
        batch: int,
        length: int | None,
    ) -> Generator[list[Score] | HaaqiEdgeError, None, None]:
        """Score clips as `score_many` does, for groups of listeners who hear the same presented signal."""
        jobs = (
            Job(partial(self._read, source, presentation), group, source.name)
            for source in sources
            for group, presentation in plans
        )
        outcomes = score_jobs(jobs, length, batch, self.threads, self._window_model or self.backend)
        with closing(outcomes):
            for parts in zip(*[outcomes] * len(plans), strict=True):
                yield _merge_outcomes(parts)

    @overload
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
        channel: Channel = "mix",
        channels: int | None = None,
    ) -> Stream: ...

    @overload
    def stream(
        self,
        *,
        sample_rate: int,
        ears: EarsLike | list[EarsLike] | list[EarPair],
        window: WindowLike = "default",
        hop: float | None = None,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
        channels: int | None = None,
    ) -> EarStream: ...

    def stream(
        self,
        audiogram: AudiogramLike | Sequence[AudiogramLike] | None = None,
        sample_rate: int | None = None,
        *,
        ears: EarsLike | list[EarsLike] | list[EarPair] | None = None,
        window: WindowLike = "default",
        hop: float | None = None,
        level1: float | None = None,
        spl: float | None = None,
        nal_r: bool = False,
        channel: Channel = "mix",
        channels: int | None = None,
    ) -> Stream | EarStream:
        """Create a stream, which scores audio while it arrives.

        Args:
            audiogram: one listener or a list of listeners, as for `score`. All listeners share one encoder pass, except
                with `nal_r`.
            sample_rate: sample rate of the audio, Hz.
            ears: in place of `audiogram`, the two ears of one listener or of several, as for `score`. Each channel has
                its own encoder pass.
            window: seconds that one score covers, from 0.16 to 60; `default` for the model's window. `whole` is not
                possible.
            hop: seconds between updates, a multiple of 0.16. Default: 0.16.
            level1: as for `score`.
            spl: not supported, because it needs the whole clip. Use `level1`.
            nal_r: as for `score`.
            channel: as for `score`.
            channels: number of channels of the chunks. Default: that of the first chunk.

        Returns:
            A `Stream`, or with `ears` an `EarStream`.

        Raises:
            BundleError: if a patch's tokens depend on the other patches in a batch (see `Card.streamable`).
            AudioError: if the sample rate cannot be used.
            AudiogramError: if an audiogram is invalid.
            OptionError: if an option is invalid.
        """
        self._check_encodes_patches("stream")
        if not self.card.streamable:
            raise BundleError(
                f"{self.card.name} ({self.card.precision}) cannot stream: its card says `streamable: false`, for a "
                "patch's tokens depend on what it is batched with; take its fp32 or static int8 form"
            )
        _check_nal_r(nal_r)
        length = window_length(window, self.card.window)
        if length is None:
            raise OptionError('window="whole": a stream has no end; give seconds, up to 60, or "default"')
        _check_listeners(audiogram, ears, channel)
        if sample_rate is None:
            raise OptionError("no sample rate: give sample_rate=, the rate of the audio in Hz")
        create = partial(
            Stream,
            self.backend,
            sample_rate=sample_rate,
            length=length,
            hop=hop,
            presentation=Presentation(level1, spl),
            nal_r=nal_r,
            channels=channels,
        )
        if ears is not None:
            return EarStream(create, ears)
        assert audiogram is not None
        return create(audiogram, channel=check_channel(channel))

    def encode(
        self,
        audio: AudioLike,
        *,
        level1: float | None = None,
        spl: float | None = None,
        nal_r_for: AudiogramLike | None = None,
        channel: Channel = "mix",
    ) -> Tokens:
        """Encode a clip once, to score it for any number of listeners.

        Args:
            audio: path of an audio file, an open file, or `(samples, rate)`, as for `score`.
            level1: as for `score`.
            spl: as for `score`.
            nal_r_for: the listener for whom NAL-R amplifies the audio first, an audiogram as for `score`. You can then
                score the tokens for this listener only. Default: no amplification.
            channel: as for `score`.

        Returns:
            `Tokens`, to pass to `score` in place of audio.

        Raises:
            AudioError: as for `score`.
            AudiogramError: if the audiogram is invalid.
            OptionError: if an option is invalid, or if the tokens of the model depend on the whole window.
        """
        self._check_encodes_patches("encode")
        if isinstance(nal_r_for, bool | np.bool_):
            raise OptionError(
                f"nal_r_for={nal_r_for}: give the audiogram of the listener for whom the audio is amplified, such as "
                'nal_r_for="N3", or leave it out'
            )
        listener = None if nal_r_for is None else as_audiogram(nal_r_for)
        source = _Source(audio, check_channel(channel))
        blocks = list(self._encode(source, Presentation(level1, spl, listener)))
        tokens = np.concatenate([b.tokens for b in blocks])
        encoded = PatchTokens(tokens, np.concatenate([b.silent for b in blocks]))
        return Tokens(encoded, self.card.source_sha256, listener)

    def _encode(self, source: _Clip, presentation: Presentation) -> Iterator[PatchTokens]:
        for block in self._read(source, presentation):
            yield PatchTokens(self.backend.encode(block.features), block.silent)

    def _read(self, source: _Clip, presentation: Presentation) -> Iterator[PatchFeatures]:
        """Yield the patches of a clip.

        Raises:
            AudioError: if the clip is shorter than one patch, or silent throughout.
        """
        audio = source.open()
        gain = presentation.gain(audio, self.card.level1)
        presented = presentation.blocks(audio, gain, self.card.level1)
        any_patch = any_sound = False
        for block in read_patches(presented, self.card.front_end_name, SILENCE * gain, self.card.front_end.block):
            any_patch, any_sound = True, any_sound or not block.silent.all()
            yield block
        if not any_patch:
            raise AudioError(f"{audio.name} is shorter than one patch: {TOO_SHORT}")
        if not any_sound:
            raise silence_error(audio)

    def _score_plans(
        self, source: _Clip, plans: Sequence[tuple[Sequence[Audiogram], Presentation]], length: int | None
    ) -> list[Score]:
        return [score for group, presentation in plans for score in self._score(source, group, presentation, length)]

    def _score(
        self, source: _Clip, listeners: Sequence[Audiogram], presentation: Presentation, length: int | None
    ) -> list[Score]:
        if self._window_model is not None:
            windows = slice_windows(self._read(source, presentation), length)
            return score_features(self._window_model, windows, listeners, source.name)
        tokens = slice_windows(self._encode(source, presentation), length)
        return score_tokens(self.backend, tokens, listeners, source.name)

    def _check_encodes_patches(self, method: str) -> None:
        if isinstance(self.backend, FusedBackend):
            raise OptionError(
                f"{method} does not work with a fused file, which scores whole windows: give the bundle of "
                f"{self.card.name}, or use score or score_many"
            )
        if self.backend.encodes_windows:
            raise OptionError(
                f"{method} does not work with {self.card.name} ({self.card.family}): its tokens depend on the whole "
                "window, so that patches cannot be encoded one by one; use score or score_many, or another model"
            )

    def _check_tokens(self, tokens: Tokens, listeners: Sequence[Audiogram]) -> None:
        if tokens.source_sha256 != self.card.source_sha256:
            raise OptionError(f"these tokens come from another model than {self.card.name}: encode with this one")
        others = [a.name for a in listeners if tokens.listener and a.levels != tokens.listener.levels]
        if tokens.listener and others:
            raise OptionError(
                f"these tokens were amplified for {tokens.listener.name} and cannot be scored for {', '.join(others)}: "
                "encode once for each listener, or call score(..., nal_r=True)"
            )


def _reopen(kind: type[Scorer], model: str | Backend, options: Mapping[str, Any], card_digest: str) -> Scorer:
    """Open the model of a pickled scorer.

    Raises:
        BundleError: if the model is not the one of the pickled scorer.
    """
    scorer = kind(model, **options)
    if scorer.card.digest != card_digest:
        raise BundleError(
            f"{model} is not the model that it was when this scorer was pickled: create the scorer again, with "
            f"Scorer({model!r})"
        )
    return scorer


def _check_nal_r(nal_r: object) -> None:
    """Raise `OptionError` unless `nal_r` is True or False. An audiogram would otherwise count as True."""
    if not isinstance(nal_r, bool | np.bool_):
        raise OptionError(
            f"nal_r={nal_r!r}: write nal_r=True or nal_r=False; with True the audio is amplified for each listener who "
            "is scored. To encode audio that is amplified for one listener, write encode(audio, nal_r_for=audiogram)"
        )


def _check_listeners(audiogram: object, ears: object, channel: Channel) -> None:
    """Raise an error unless there are either audiograms or ears, and no channel with ears."""
    if audiogram is None and ears is None:
        raise AudiogramError("no audiogram was given: give one, or for a stereo recording ears=(left, right)")
    if audiogram is not None and ears is not None:
        raise OptionError("audiogram and ears are both given: give an audiogram, or for stereo ears=(left, right)")
    if ears is not None and channel != "mix":
        raise OptionError(
            f"channel={channel!r} with ears: the left and the right channel are scored; leave out channel"
        )


class _Source:
    """A clip, which is opened once, when it is first read. A pipe can be read only once.

    Args:
        audio: the clip.
        channel: the channel that is scored.
    """

    def __init__(self, audio: AudioLike, channel: Channel) -> None:
        self._audio, self._channel, self._lock = audio, channel, threading.Lock()
        self._opened: ArrayAudio | FileAudio | HaaqiEdgeError | None = None
        if isinstance(audio, tuple):
            self.name = "the audio"
        elif isinstance(audio, str | os.PathLike):
            self.name = display_name(audio)
        else:
            self.name = str(getattr(audio, "name", "the file given"))

    def open(self) -> ArrayAudio | FileAudio:
        """Return the clip, ready for reading.

        Raises:
            AudioError: if it cannot be read. Each call raises the same error.
        """
        with self._lock:
            if self._opened is None:
                try:
                    self._opened = open_audio(self._audio, channel=self._channel)
                except HaaqiEdgeError as error:
                    self._opened = error
        if isinstance(self._opened, HaaqiEdgeError):
            raise self._opened
        return self._opened


class _EarSource:
    """The channel of an ear of a clip.

    Args:
        both: the stereo clip.
        ear: the ear.
    """

    def __init__(self, both: _Source, ear: Ear) -> None:
        self._both, self._ear, self._lock = both, ear, threading.Lock()
        self._opened: ArrayAudio | FileAudio | None = None
        self.name = f"{both.name} ({ear} ear)"

    def open(self) -> ArrayAudio | FileAudio:
        """Return the channel, ready for reading; see `_Source.open`."""
        audio = self._both.open()
        with self._lock:
            if self._opened is None:
                self._opened = open_ear(audio, self._ear)
            return self._opened


_Clip: TypeAlias = _Source | _EarSource


def _plans(
    listeners: Sequence[Audiogram], level1: float | None, spl: float | None, nal_r: bool
) -> list[tuple[Sequence[Audiogram], Presentation]]:
    """Return the presentations of a clip, each with the listeners who hear it."""
    groups: list[Sequence[Audiogram]] = [[listener] for listener in listeners] if nal_r else [listeners]
    return [(group, Presentation(level1, spl, group[0] if nal_r else None)) for group in groups]


def _is_clip(audios: object) -> bool:
    """Return whether `audios` is one clip, rather than several: a path, an open file, `(samples, rate)`, or samples."""
    return isinstance(audios, str | os.PathLike | np.ndarray | io.IOBase | ArrayAudio | FileAudio) or (
        isinstance(audios, tuple) and len(audios) == 2 and isinstance(audios[1], int | np.integer)
    )


def _merge_outcomes(parts: Sequence[list[Score] | HaaqiEdgeError]) -> list[Score] | HaaqiEdgeError:
    """Return the scores of a clip's groups of listeners, or the first error. Raise errors that concern every clip."""
    scores: list[Score] = []
    for part in parts:
        if isinstance(part, OptionError):
            raise part
        if isinstance(part, HaaqiEdgeError):
            return part
        scores += part
    return scores
