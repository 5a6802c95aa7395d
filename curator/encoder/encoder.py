"""Owns the OpenCLIP model: pixels and texts to unit vectors. Knows no label, no shard and no configuration file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from curator.data import Decoded, Preprocess
from curator.encoder.batching import Batching
from curator.encoder.catalog import EMBEDDED
from curator.encoder.fused import can_fuse, fuse, rescale_quick_gelu
from curator.encoder.hardware import DTYPES, choose_device, choose_precision
from curator.encoder.images import PixelReader
from curator.encoder.patches import PatchTower
from curator.encoder.sources import Source, resolve
from curator.encoder.spelling import pieces, spell
from curator.encoder.texts import TextTower
from curator.encoder.weights import digest_of, load_weights, quiet_root_logger
from curator.errors import ConfigError
from curator.kernels.vectors import l2_normalize

if TYPE_CHECKING:
    from curator.encoder.images import ImageLike

_CACHED = 1 << 18  # float32 numbers that a core keeps close


class Encoder:
    """An OpenCLIP model on one device at one precision; open one with ``Encoder.open``.

    ``digest`` identifies configuration and weights (not the precision), the same in every process. ``logit_scale`` is
    the factor itself, not its logarithm; ``logit_bias`` is None for models trained with a softmax.
    """

    def __init__(
        self, name: str, model: Any, tokenizer: Callable[[list[str]], Tensor], *, digest: str, dim: int, compile: bool
    ) -> None:
        """``model`` is an open_clip model on its device in its final dtype. ``Encoder.open`` makes all of this."""
        self.name = name
        self.digest = digest
        self.dim = dim
        self.preprocess = _preprocess_of(model)
        self.logit_scale = float(model.logit_scale.float().exp())
        bias = getattr(model, "logit_bias", None)
        self.logit_bias = None if bias is None else float(bias)
        weight = next(model.visual.parameters())
        self.device: torch.device = weight.device
        self.precision = next(word for word, dtype in DTYPES.items() if dtype == weight.dtype)
        self._dtype = weight.dtype
        self._mean = torch.tensor(self.preprocess.mean, device=self.device).view(3, 1, 1)
        self._std = torch.tensor(self.preprocess.std, device=self.device).view(3, 1, 1)
        self._tokenizer = tokenizer
        encode = torch.compile(model.encode_image, dynamic=False) if compile else model.encode_image
        self._image_batches = Batching(lambda pixels: encode(self._normalized(pixels)), fixed_shapes=compile)
        self._patches = lru_cache(maxsize=1)(partial(PatchTower, model, name))
        self._dense_batches = Batching(lambda pixels: self._patches()(self._normalized(pixels)))
        encode_text = TextTower(model)
        self._text_batches = Batching(lambda tokens: encode_text(tokens.to(self.device)))

    @classmethod
    def open(
        cls,
        name: str = EMBEDDED,
        pretrained: str | None = None,
        *,
        precision: str = "auto",
        device: str = "auto",
        cache_dir: str | Path | None = None,
        compile: bool = False,
    ) -> Encoder:
        """Load an encoder for inference.

        ``name`` is ``embedded``, an open_clip architecture (with ``pretrained``: one of its tags, a weights file, or
        ``random`` for seeded untrained weights), ``hf-hub:organisation/name`` or ``local-dir:/path``. Weights are read
        as plain tensors only, never unpickled. ``precision``: float32 | bfloat16 | float16 | auto; the weights
        themselves are cast. ``device``: auto | cpu | cuda | cuda:N. ``cache_dir`` is where downloads go (by default
        where open_clip puts them). ``compile`` passes the image tower through ``torch.compile``.

        Raises ConfigError, with the way out, for unknown names, missing files and weights that do not fit.
        """
        if not isinstance(name, str):
            raise ConfigError(f"encoder {name!r} is not a name; for a directory write 'local-dir:PATH'")
        where = choose_device(device)
        dtype = DTYPES[choose_precision(precision, where)]
        cache = Path(cache_dir) if cache_dir else None
        source = resolve(name, pretrained or None, cache)
        model, tokenizer = _build(source, cache)
        config = {"model": source.config, "preprocess": asdict(_preprocess_of(model))}
        digest = digest_of(config, model.state_dict())
        # The factor and the bias stay in float32: a scale of 100 would be off by up to 0.25 in bfloat16.
        scale_and_bias = {key: value.detach() for key, value in model.named_parameters() if key.startswith("logit_")}
        fused = where.type == "cpu" and dtype == torch.bfloat16 and not compile and can_fuse()
        if fused:
            rescale_quick_gelu(model)
        model.to(device=where, dtype=dtype)
        for key, value in scale_and_bias.items():
            setattr(model, key, torch.nn.Parameter(value.float().to(where), requires_grad=False))
        if fused:
            fuse(model)
        shown = f"{name}:{pretrained}" if pretrained else name
        return cls(shown, model, tokenizer, digest=digest, dim=source.config["embed_dim"], compile=compile)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Unit vectors float32 [B, dim], on the encoder's device, of uint8 ``pixels`` [B, 3, H, W] of any device.

        H and W are ``preprocess.size``. Runs out of memory into smaller batches; RetryableError if one image is too
        many.
        """
        self._check(pixels)
        return self._unit(self._image_batches, pixels)

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Rows and columns of patches that ``embed_dense`` gives. ConfigError where the image tower has none."""
        return self._patches().grid

    def embed_dense(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """``embed_pixels`` and, of the same forward pass, unit vectors float32 [B, h, w, dim] of the patches.

        A patch's vector lies in the space of the texts, too (``PatchTower``). ConfigError where the image tower is not
        one of open_clip's own ViTs.
        """
        self._check(pixels)
        height, width = self.patch_grid
        if not len(pixels):
            return self._unit(self._image_batches, pixels), torch.empty(0, height, width, self.dim, device=self.device)
        features = self._unit(self._dense_batches, pixels)
        return features[:, 0], features[:, 1:].reshape(-1, height, width, self.dim)

    def _check(self, pixels: Tensor) -> None:
        expected = (3, *self.preprocess.size)
        if pixels.dtype != torch.uint8 or tuple(pixels.shape[1:]) != expected:
            raise ValueError(f"pixels are uint8 [B, {expected}], not {pixels.dtype} {tuple(pixels.shape)}")

    def embed(
        self,
        images: Iterable[ImageLike],
        *,
        decode: Callable[[bytes], Decoded] | None = None,
        batch_size: int = 64,
    ) -> Tensor:
        """Unit vectors float32 [N, dim] of PIL images, paths, encoded bytes or uint8 arrays, in order.

        An array is [H, W, 3], or [3, H, W] where it has the encoder's size already. Paths and bytes are opened as
        open_clip does; pass ``decode=Decoder(encoder.preprocess)`` (of ``curator.shards.decode``) for the pipeline's
        own treatment of transparency and oversized images. Raises SampleError for what is no image.
        """
        single = getattr(images, "ndim", 4) < 4  # one array or tensor, which could be taken for several rows
        if isinstance(images, (str, bytes, Path)) or single or not isinstance(images, Iterable):
            raise TypeError(f"embed takes several images: write embed([image]), also for one {_kind(images)}")
        read = PixelReader(self.preprocess, decode)
        remaining = iter(images)
        vectors = [torch.empty(0, self.dim, device=self.device)]
        while batch := [read(image) for image in islice(remaining, batch_size)]:
            vectors.append(self.embed_pixels(torch.stack(batch)))
        return torch.cat(vectors)

    def embed_text(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """Unit vectors float32 [N, dim], on the encoder's device, of ``texts``. Equal texts are encoded once.

        Texts longer than the model's context are cut by its own tokenizer.
        """
        if isinstance(texts, str) or not isinstance(texts, Iterable):
            raise TypeError(
                f"embed_text takes several texts: write embed_text([text]), also for a single {_kind(texts)}"
            )
        texts = list(texts)
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(f"embed_text takes texts, not {_kind(text)}")
        place = {text: position for position, text in enumerate(dict.fromkeys(texts))}
        unique = list(place)
        vectors = [torch.empty(0, self.dim, device=self.device)]
        for start in range(0, len(unique), batch_size):
            tokens = self._tokenizer(unique[start : start + batch_size])
            vectors.append(self._unit(self._text_batches, tokens))
        order = torch.tensor([place[text] for text in texts], dtype=torch.long, device=self.device)
        return torch.cat(vectors)[order]

    def spell(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, without the marks of beginning and end and the padding."""
        return spell(self._tokenizer, texts)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each token, with the space where a word begins or ends."""
        return pieces(self._tokenizer, ids)

    def provenance(self) -> dict[str, str]:
        """What a reader of the vectors needs to make them again: goes into the footer of every part."""
        import open_clip

        return {
            "encoder": self.name,
            "encoder_digest": self.digest,
            "precision": self.precision,
            "device": self.device.type,
            "preprocess": json.dumps(asdict(self.preprocess), sort_keys=True),
            "logit_scale": repr(self.logit_scale),
            "logit_bias": "" if self.logit_bias is None else repr(self.logit_bias),
            "open_clip": open_clip.__version__,
            "torch": torch.__version__,
        }

    def _normalized(self, pixels: Tensor) -> Tensor:
        # The order of operations is that of ToTensor and Normalize, so that float32 is equal to them bit for bit.
        pixels = pixels.to(self.device, non_blocking=True)
        if self.device.type != "cpu":
            return pixels.float().div_(255).sub_(self._mean).div_(self._std).to(self._dtype)
        # A few images at a time stay in a core's cache from one step to the next: three times as fast.
        normalized = torch.empty(pixels.shape, dtype=self._dtype)
        few = max(1, _CACHED // pixels[0].numel())
        for start in range(0, len(pixels), few):
            some = pixels[start : start + few].float().div_(255)
            normalized[start : start + few] = some.sub_(self._mean).div_(self._std)
        return normalized

    def _unit(self, batches: Batching, inputs: Tensor) -> Tensor:
        if not len(inputs):
            return torch.empty(0, self.dim, device=self.device)
        with torch.inference_mode():
            features = batches(inputs)
        return l2_normalize(features)  # outside, since tensors of inference mode cannot be changed by who gets them


def _build(source: Source, cache_dir: Path | None) -> tuple[Any, Callable[[list[str]], Tensor]]:
    """The model in float32 on the CPU, weights loaded, and its tokenizer."""
    import open_clip

    cache = str(cache_dir) if cache_dir else None
    try:
        with quiet_root_logger(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = open_clip.create_model(
                source.model_name,
                load_weights=False,
                pretrained_text=False,
                force_preprocess_cfg=dict(source.preprocess),
                cache_dir=cache,
            )
            tokenizer = open_clip.get_tokenizer(source.model_name, cache_dir=cache)
    except (RuntimeError, ValueError, OSError, ImportError, TypeError, KeyError, AssertionError) as error:
        raise ConfigError(f"encoder {source.model_name!r} could not be built: {error}") from error
    if source.weights is not None:
        with quiet_root_logger():
            load_weights(model, source.weights)
    return model.eval().requires_grad_(False), tokenizer


def _preprocess_of(model: Any) -> Preprocess:
    import open_clip

    stated = open_clip.get_model_preprocess_cfg(model)
    size = stated["size"]
    height, width = (size, size) if isinstance(size, int) else size
    return Preprocess(
        size=(int(height), int(width)),
        mean=tuple(stated["mean"]),
        std=tuple(stated["std"]),
        interpolation="bilinear" if stated.get("interpolation") == "bilinear" else "bicubic",
        resize_mode=stated.get("resize_mode") or "shortest",
        fill_color=stated.get("fill_color") or 0,
    )


def _kind(value: object) -> str:
    return type(value).__name__
