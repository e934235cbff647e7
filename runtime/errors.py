"""The error classes and warnings of haaqi-edge.

Every error derives from `HaaqiEdgeError` and from a matching built-in exception, so you can catch either. A message
says what was given, what was expected and how to fix it.
"""

from __future__ import annotations


class HaaqiEdgeError(Exception):
    """Base class of all errors that haaqi-edge raises deliberately.

    Attributes:
        exit_code: exit code of the command line after this error.
    """

    exit_code: int = 2


class AudioError(HaaqiEdgeError, ValueError):
    """Raised if audio cannot be scored.

    Such audio is empty, too short, silent or not finite, or has an unusable sample rate or shape.
    """


class AudioFileError(AudioError):
    """Raised if an audio file is unreadable, truncated or of an unknown format."""


class AudioFileNotFoundError(AudioFileError, FileNotFoundError):
    """Raised if a path leads to no audio file."""


class AudiogramError(HaaqiEdgeError, ValueError):
    """Raised if an audiogram has the wrong length, range, name or format."""


class OptionError(HaaqiEdgeError, ValueError):
    """Raised if an option, or a combination of options, is invalid."""


class BundleError(HaaqiEdgeError, ValueError):
    """Raised if a bundle is incomplete or altered, or if this version does not support it."""


class GraphError(BundleError):
    """Raised if the installed ONNX Runtime cannot load a graph."""


class BundleNotFoundError(BundleError, FileNotFoundError):
    """Raised if a model is neither the name of a shipped model nor the folder of a bundle."""


class ProviderError(HaaqiEdgeError, RuntimeError):
    """Raised if an execution provider is not installed, does not start or cannot run the model."""


class StreamError(HaaqiEdgeError, RuntimeError):
    """Raised if a stream is used after its end, after an error, once it is closed, or from two threads at once."""


class DeviceError(HaaqiEdgeError, RuntimeError):
    """Raised if there is no microphone, or if it stopped."""


class CheckpointError(HaaqiEdgeError, ValueError):
    """Raised if a checkpoint is of the wrong kind or cannot be read safely."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """Raised if a path leads to no checkpoint."""


class ExportError(HaaqiEdgeError, RuntimeError):
    """Raised if the result of an export does not agree with the exported network."""

    exit_code = 1


class WorkerError(HaaqiEdgeError, RuntimeError):
    """Raised if a worker process was ended from outside."""

    exit_code = 1


class DependencyError(HaaqiEdgeError, ImportError):
    """Raised if a command needs an extra that is not installed."""


class CorpusError(HaaqiEdgeError, ValueError):
    """Raised if a music corpus or a label table is missing or does not have the expected format."""


class LabelError(HaaqiEdgeError, RuntimeError):
    """Raised if labels differ from the recomputed scores of their sounds."""

    exit_code = 1


class TrainingError(HaaqiEdgeError, RuntimeError):
    """Raised if a training fails because its loss is not finite."""

    exit_code = 1


class AudioWarning(UserWarning):
    """Base class of warnings about audio that is scored nevertheless."""


class DamagedAudioWarning(AudioWarning):
    """Issued if parts of a damaged file are missing from what is scored. Unless you allow it, this is an error."""


class SkippedBytesWarning(AudioWarning):
    """Issued if bytes that are neither audio nor a tag were skipped, which may be audio that was destroyed."""


class CancellationWarning(AudioWarning):
    """Issued if the channels of a recording cancel each other in their mean."""


class ChannelWarning(AudioWarning):
    """Issued if the channels of a recording may not be those that the audiograms belong to."""


class SilenceWarning(AudioWarning):
    """Issued if a signal that is compared with another one is silent."""


class SampleFormatWarning(AudioWarning):
    """Issued if the samples of a stream suggest another full scale than that of their type."""
