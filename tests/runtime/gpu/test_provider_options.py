"""What CUDA and TensorRT are told, and which engines are taken for whose; the providers themselves need a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest
from haaqi_edge.runtime import Bundle, Scorer
from haaqi_edge.runtime.errors import OptionError, ProviderError
from haaqi_edge.runtime.gpu import provider_options
from haaqi_edge.runtime.gpu.device import Gpu
from haaqi_edge.runtime.gpu.optimization_profiles import MAX_PATCHES, OptimizationProfile
from haaqi_edge.runtime.gpu.provider_options import _RECORD_FILE, _cache_facts, _prepare_cache

H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", "13.0")
EVERY = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As if onnxruntime-gpu and a GPU were there; gives the cache's folder."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: EVERY)
    monkeypatch.setattr(provider_options, "first_gpu", lambda: H100)
    monkeypatch.setenv(provider_options._CACHE_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("installed")
def test_cuda_keeps_fp32_and_captures_the_encoder_alone() -> None:
    plain = provider_options.resolve_provider_options(Bundle("nano"), "cuda")
    assert plain.options == {"encoder": {"use_tf32": "0", "enable_cuda_graph": "0"}, "head": {"use_tf32": "0"}}
    captured = provider_options.resolve_provider_options(Bundle("nano"), "CUDAExecutionProvider", cuda_graphs=True)
    assert captured.options["encoder"]["enable_cuda_graph"] == "1"
    assert captured.options["head"] == plain.options["head"]
    assert provider_options.resolve_provider_options(Bundle("nano"), None).options == {"encoder": {}, "head": {}}


def test_cuda_graphs_need_cuda() -> None:
    for provider in (None, "cpu"):
        with pytest.raises(OptionError, match="--provider cuda"):
            Scorer("nano", provider=provider, cuda_graphs=True)


def test_tensorrt_takes_profiles_and_the_types_of_the_graph(installed: Path) -> None:
    bundle = Bundle("nano")
    told = provider_options.resolve_provider_options(bundle, "tensorrt", cuda_graphs=True)
    encoder, head = told.options["encoder"], told.options["head"]
    assert encoder["trt_profile_min_shapes"] == "texture:1x16x32"
    assert encoder["trt_profile_max_shapes"] == f"texture:{MAX_PATCHES}x16x32"
    assert head["trt_profile_opt_shapes"] == f"tokens:1x62x{bundle.card.width},audiogram:1x8"
    assert (told.patches, told.listeners) == (MAX_PATCHES, 8)
    assert head["trt_profile_max_shapes"] == f"tokens:1x{MAX_PATCHES}x{bundle.card.width},audiogram:8x8"  # one clip
    assert not {"trt_fp16_enable", "trt_int8_enable"} & (encoder.keys() | head.keys())
    assert ("trt_cuda_graph_enable" in encoder, "trt_cuda_graph_enable" in head) == (True, False)
    folder = Path(encoder["trt_engine_cache_path"])
    assert folder.parent == installed / "tensorrt"
    assert json.loads((folder / _RECORD_FILE).read_text())["gpu"] == H100.name


def test_engines_belong_to_model_runtime_gpu_and_shapes(tmp_path: Path) -> None:
    bundle, profile = Bundle("nano"), OptimizationProfile(1, 62, MAX_PATCHES)
    facts = _cache_facts(bundle, H100, profile)
    assert facts["encoder"] == bundle.card.files["encoder"].sha256
    assert facts["onnxruntime"] == onnxruntime.__version__
    folder = _prepare_cache(tmp_path, facts)
    assert _prepare_cache(tmp_path, facts) == folder
    others = [
        _cache_facts(Bundle("nano-int8"), H100, profile),
        _cache_facts(bundle, H100._replace(name="NVIDIA L4"), profile),
        _cache_facts(bundle, H100._replace(driver="12.8"), profile),
        _cache_facts(bundle, H100, OptimizationProfile(1, 10, 20)),
        {**facts, "onnxruntime": "1.20.0"},
    ]
    assert len({folder, *(_prepare_cache(tmp_path, other) for other in others)}) == 6


def test_stale_engines_are_refused(tmp_path: Path) -> None:
    facts = _cache_facts(Bundle("nano"), H100, OptimizationProfile(1, 62, MAX_PATCHES))
    folder = _prepare_cache(tmp_path, facts)
    (folder / "encoder.engine").write_bytes(b"engine")
    for content in (json.dumps({**facts, "gpu": "NVIDIA L4"}), "no json"):
        (folder / _RECORD_FILE).write_text(content)
        with pytest.raises(ProviderError, match=r"not built from this bundle.* delete the folder"):
            _prepare_cache(tmp_path, facts)
    (folder / _RECORD_FILE).unlink()
    with pytest.raises(ProviderError, match="that describes them: delete the folder"):
        _prepare_cache(tmp_path, facts)
