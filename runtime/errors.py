"""The one error hierarchy of haaqi-edge.

Every error derives from `HaaqiEdgeError` and from the builtin that fits, so that callers may catch either. A message
says what was given, what was expected and how to mend it.
"""

from __future__ import annotations


class HaaqiEdgeError(Exception):
    """Base of every error that haaqi-edge raises on purpose; `exit_code` is what the command line ends with."""

    exit_code: int = 2


class AudioError(HaaqiEdgeError, ValueError):
    """Audio that cannot be scored: empty, not finite, too short, silent, an unusable rate or shape."""


class AudioFileError(AudioError):
    """An audio file that is unreadable, truncated or of an unknown format."""


class AudioFileNotFoundError(AudioFileError, FileNotFoundError):
    """A path at which there is no audio."""


class AudiogramError(HaaqiEdgeError, ValueError):
    """An audiogram of the wrong length, range, name or form."""


class OptionError(HaaqiEdgeError, ValueError):
    """An option, or a combination of options, that has no meaning."""


class BundleError(HaaqiEdgeError, ValueError):
    """A bundle that is incomplete, altered or not of a kind this version understands."""


class GraphError(BundleError):
    """A graph that the installed ONNX Runtime cannot load."""


class BundleNotFoundError(BundleError, FileNotFoundError):
    """Neither a shipped model's name nor a folder that holds a bundle."""


class ProviderError(HaaqiEdgeError, RuntimeError):
    """An execution provider that is not installed, or that did not come up."""


class StreamError(HaaqiEdgeError, RuntimeError):
    """A stream used out of turn: after its end, after an error, or from two threads at once."""


class DeviceError(HaaqiEdgeError, RuntimeError):
    """A microphone that is not there, or that stopped."""


class CheckpointError(HaaqiEdgeError, ValueError):
    """A checkpoint of the wrong kind, or one that cannot be read safely."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """A path at which there is no checkpoint."""


class ExportError(HaaqiEdgeError, RuntimeError):
    """An export whose result does not agree with the network it came from."""

    exit_code = 1


class WorkerError(HaaqiEdgeError, RuntimeError):
    """A process that worked for this one and was ended from outside."""

    exit_code = 1


class DependencyError(HaaqiEdgeError, ImportError):
    """A command that needs an extra which is not installed."""


class CorpusError(HaaqiEdgeError, ValueError):
    """A music corpus or a label table that is missing or not in the expected form."""


class LabelError(HaaqiEdgeError, RuntimeError):
    """Labels that differ from the scores of their sounds."""

    exit_code = 1


class TrainingError(HaaqiEdgeError, RuntimeError):
    """A training came to nothing: its loss is not finite."""

    exit_code = 1
