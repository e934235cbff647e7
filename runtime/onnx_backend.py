"""The backends on ONNX Runtime: of bundles, which have an encoder and a head, and of fused files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import numpy.typing as npt

from .backend import HeadOutput
from .bundle import HAAQI, TEXTURE_VERSION, Bundle, Card, Precision, Scale
from .errors import BundleError, BundleNotFoundError, OptionError
from .features import patches as fe
from .files import is_file
from .head import Head
from .session import GPU_PROVIDERS, Options, Session, provider_name
from .windows import window_patches

if TYPE_CHECKING:
    from .gpu.io_binding import BoundModel
    from .gpu.provider_options import ProviderOptions

Array = npt.NDArray[np.float32]


class Encoder:
    """The encoder of a bundle.

    Args:
        bundle: the model.
        provider: see `Session`.
        threads: see `Session`.
        options: see `Session`.

    Attributes:
        session: session of the encoder's graph.
    """

    def __init__(
        self, bundle: Bundle, provider: str | None, threads: int | None, options: Options | None = None
    ) -> None:
        self.session = Session(bundle.path("encoder"), provider, threads, options)
        self._input = bundle.card.encoder_input

    def encode(self, features: Array) -> Array:
        """Compute tokens from features.

        Args:
            features: float32 [patches, ...], as the encoder's graph reads them; see
                `features.front_ends.FEATURE_EXTRACTORS`.

        Returns:
            float32 [patches, tokens per patch, width].
        """
        return self.session.run(**{self._input: features})[0]


class FusedBackend:
    """A fused file, from waveform to score, that is loaded on ONNX Runtime.

    `Scorer` splits longer audio into windows of the file's length and averages their scores, as for a bundle. Tokens
    stay inside the file: the patches of a window are passed through to `run_head`, which joins them again.

    Args:
        path: an .onnx or .ort file that `haaqi-edge export --fused` wrote.
        provider: see `Scorer`.
        threads: see `Scorer`.

    Attributes:
        card: description of the model, from the metadata of the file. It has no files.
        session: session of the graph.
        provider: ONNX Runtime's name of the provider in use.
        threads: number of CPU threads in use.

    Raises:
        BundleNotFoundError: if the file does not exist.
        BundleError: if the file is not a fused file.
        ProviderError: if the provider is not installed, does not start or cannot run the model.
        OptionError: if `threads` is out of range.
    """

    encodes_windows: Final = True

    def __init__(self, path: Path, *, provider: str | None = None, threads: int | None = None) -> None:
        if not is_file(path):
            raise BundleNotFoundError(f"{path} does not exist: give a fused file, the folder of a bundle, or a name")
        self.session = Session(path, provider, threads)
        self.card: Card = _describe_fused(path, self.session)
        self.provider: str = self.session.provider
        self.threads: int = self.session.threads
        self._path = path

    def encode(self, features: Array) -> Array:
        """Return the samples of the patches of a window as they are, [patches, 1, 2800]."""
        return features[:, None]

    def run_head(self, tokens: Array, audiograms: Array) -> HeadOutput:
        """Score a window; see `Backend.run_head`.

        Raises:
            OptionError: if the window is longer than that of the file.
        """
        if len(tokens) > window_patches(self.card.window):
            raise OptionError(
                f"a window of {len(tokens)} patches: {self._path} scores up to {self.card.window:g} s; leave out the "
                "window, or use the bundle"
            )
        samples = tokens[:, 0]
        waveform = np.concatenate([samples[:, : fe.PATCH_SHIFT].ravel(), samples[-1, fe.PATCH_SHIFT :]])
        frame_scores, scores, *intervals = self.session.run(waveform=waveform[None], audiogram=audiograms)
        per_patch = frame_scores.reshape(len(audiograms), len(tokens), -1).mean(axis=2)
        return HeadOutput(per_patch, scores, *intervals)


class OnnxBackend:
    """A bundle that is loaded on ONNX Runtime.

    Args:
        bundle: the model.
        provider: see `Scorer`.
        threads: see `Scorer`.
        cuda_graphs: see `Scorer`.

    Attributes:
        card: description of the model.
        encoder: the encoder.
        head: the head.
        bound: encoder and head bound to each other on a GPU; None on the CPU.
        provider: ONNX Runtime's name of the provider in use.
        placement: for `encoder` and `head`, how often each operator runs on each provider; see `Session.placement`.
        threads: number of CPU threads in use.

    Raises:
        BundleError: if a graph disagrees with the card, or if ONNX Runtime cannot load it.
        ProviderError: if the provider is not installed, does not start or cannot run the model.
        OptionError: if `threads` is out of range, or if `cuda_graphs` is used with another provider.
    """

    encodes_windows: Final = False

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: str | None = None,
        threads: int | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        self.card: Card = bundle.card
        options: ProviderOptions | None = None
        if cuda_graphs or provider_name(provider) in GPU_PROVIDERS:
            from .gpu.provider_options import resolve_provider_options  # here: the CPU needs nothing of it

            options = resolve_provider_options(bundle, provider, cuda_graphs=cuda_graphs)
        by_role = options.options if options else {}
        self.encoder = Encoder(bundle, provider, threads, by_role.get("encoder"))
        self.head = Head(bundle, provider, threads, by_role.get("head"), options.listeners if options else None)
        for role, session in (("encoder", self.encoder.session), ("head", self.head.session)):
            differences = _differences(self.card, role, session)
            if differences:
                raise BundleError(f"the {role} of {bundle.folder} disagrees with its card on {differences}")
        self.bound: BoundModel | None = None
        if options and self.head.session.device == "cuda" and self.card.front_end.block == 1:
            from .gpu.io_binding import BoundModel

            self.bound = BoundModel(self.encoder.session, self.head.session, self.card, options)
        self.provider: str = self.head.session.provider
        self.placement = {"encoder": self.encoder.session.placement, "head": self.head.session.placement}
        self.threads: int = self.head.session.threads

    def encode(self, features: Array) -> Array:
        """Compute tokens; see `Backend.encode`."""
        return self.encoder.encode(features)

    def run_head(self, tokens: Array, audiograms: Array) -> HeadOutput:
        """Score a window; see `Backend.run_head`."""
        return self.head.run(tokens, audiograms)


def _describe_fused(path: Path, session: Session) -> Card:
    """Return the card of a fused file.

    Raises:
        BundleError: if the graph is not one that `haaqi-edge export --fused` wrote.
    """
    found = session.metadata
    if set(session.inputs) != {"waveform", "audiogram"} or list(session.outputs)[:2] != ["frame_scores", "score"]:
        raise BundleError(
            f"{path} is not a fused file, from waveform to score: it maps {', '.join(session.inputs)} to "
            f"{', '.join(session.outputs)}; give the folder of its bundle, or a file of `haaqi-edge export --fused`"
        )
    try:
        return Card(
            name=found["name"],
            version=found["version"],
            family=found["family"],
            precision=cast(Precision, found["precision"]),
            streamable=False,
            window=float(found["window"]),
            level1=float(found["level1"]),
            encoder_input="samples",
            tokens_per_patch=1,
            width=fe.PATCH_LENGTH,
            parameters=int(found["parameters"]),
            source_sha256=found["source_sha256"],
            files={},
            predicts=Scale.parse(found["predicts"]) if "predicts" in found else HAAQI,
            interval=float(found["interval"]) if "interval" in found else None,
            notes={"source": found["source"]} if "source" in found else {},
        )
    except (KeyError, ValueError) as error:
        raise BundleError(f"{path} has no valid metadata ({error!r}): export it again with this version") from error


def _differences(card: Card, role: str, session: Session) -> list[str]:
    """Return the properties in which a graph disagrees with the card.

    Sizes that the graph leaves open are not compared.
    """
    described = card.metadata() | {"precision": card.files[role].precision}
    expected, actual = ({TEXTURE_VERSION: "1", **metadata} for metadata in (described, session.metadata))
    wrong = sorted(k for k, v in expected.items() if actual.get(k) != v)
    inputs, outputs = {
        "encoder": ({card.encoder_input}, ["tokens"]),
        "head": ({"tokens", "audiogram"}, card.head_outputs),
    }[role]
    if set(session.inputs) != inputs or list(session.outputs) != outputs:
        return [*wrong, "inputs and outputs"]
    tokens = session.outputs["tokens"][1:] if role == "encoder" else session.inputs["tokens"][2:]
    sizes = ["tokens_per_patch", "width"] if role == "encoder" else ["width"]
    return wrong + [k for k, n in zip(sizes, tokens, strict=False) if isinstance(n, int) and n != getattr(card, k)]
