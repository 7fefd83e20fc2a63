"""Speech: which of five languages a quarter of a second of a telephone prompt is in.

The prompts are those of Debian's packages ``asterisk-core-sounds-{en,es,fr,it,ru}-wav``, 2.2 hours at 8 kHz. One
studio voice speaks each language, so this is largely voice identification, not language identification: do not read
the accuracy as more than a way to compare networks. The same prompts exist in every language, and all versions of a
prompt are in the same part.
"""

from __future__ import annotations

import random
import wave
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from scipy.fft import dct

from models.data.dataset import DEFAULT_FOLDER, Data, DataError, Part, find, normalised

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["LANGUAGES", "cepstra", "log_mels", "mel_filters", "speech"]

LANGUAGES: Final = ("en", "es", "fr", "it", "ru")
RATE: Final = 8000  # samples in a second
FRAME: Final = 160  # samples: 20 ms
HOP: Final = 40  # samples between the starts of frames: 5 ms
FRAMES: Final = 49  # of a window: 0.26 s
MELS: Final = 40
CEPSTRA: Final = 10
SILENCE: Final = 100.0  # root mean square of 16-bit samples below which nothing is said

_SHARES: Final = (0.7, 0.85)  # of the prompts: training up to the first, validation up to the second
_WINDOW: Final = FRAME + HOP * (FRAMES - 1)


def speech(folder: Path | None = None, *, seed: int = 0) -> Data:
    """Load windows ``(N, 1, 49, 10)`` of 0.26 s: ten cepstral coefficients in 49 frames, labelled with the language.

    That is the shape of MLPerf Tiny's keyword spotting (arXiv 2106.07597), which has 12 keywords and windows of 1 s.
    Each coefficient is normalised by the training windows.

    Args:
        folder: Has folders ``en``, ``es``, ``fr``, ``it``, ``ru`` (or ``en_...``) with the prompts as ``*.wav`` below
            it; None takes those of ``tools/fetch_data``.
        seed: Decides which prompts are held out, and the order.

    Raises:
        DataError: A language is missing, or a file is no mono 16-bit recording at 8 kHz.
    """
    place = folder if folder is not None else DEFAULT_FOLDER
    root = find("en*/digits/1.wav", "speech", place).parent.parent
    features, labels, prompts = [], [], []
    for label, language in enumerate(LANGUAGES):
        recorded = min(root.glob(f"{language}*"), default=None)
        if recorded is None:
            raise DataError(f"speech: no folder '{language}' in {root}; get it with 'bash tools/fetch_data speech'")
        for path in sorted(recorded.rglob("*.wav")):
            prompt = path.relative_to(recorded).as_posix()
            made = cepstra(log_mels(_windows(path))) if not prompt.startswith("silence/") else np.empty((0,))
            if len(made):
                features.append(made.astype(np.float32))
                labels.append(np.full(len(made), label))
                prompts.append(np.full(len(made), prompt))
    return _split(np.concatenate(features), np.concatenate(labels), np.concatenate(prompts), seed)


def mel_filters(bins: int = FRAME // 2 + 1, mels: int = MELS, rate: int = RATE) -> NDArray[np.float64]:
    """Return triangular filters ``(mels, bins)`` over the power spectrum, evenly spaced on the mel scale.

    ``mel(f) = 2595 log10(1 + f / 700)`` (O'Shaughnessy 1987), from 0 to half the rate. A filter narrower than a bin
    takes the share of the nearest bins that interpolation gives it.
    """
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), mels + 2) / 2595) - 1)
    fine = np.linspace(0, rate / 2, 16 * (bins - 1) + 1)  # a filter between two bins would see neither
    rising = (fine - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - fine) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    nearest = np.minimum((np.arange(fine.size) + 8) // 16, bins - 1)
    filters = np.zeros((mels, bins))
    np.add.at(filters.T, nearest, triangles.T / 16)
    return filters


def log_mels(windows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log mel energies ``(N, FRAMES, MELS)`` of windows of samples ``(N, FRAME + HOP * (FRAMES - 1))``."""
    framed = np.lib.stride_tricks.sliding_window_view(windows, FRAME, axis=1)[:, ::HOP]
    spectrum = np.abs(np.fft.rfft(framed * np.hanning(FRAME), axis=2)) ** 2
    return np.log(spectrum @ mel_filters().T + 1e-3)


def cepstra(energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mel-frequency cepstral coefficients ``(N, 1, FRAMES, CEPSTRA)``: the first of a cosine transform."""
    return np.asarray(dct(energies, axis=2, norm="ortho")[:, None, :, :CEPSTRA])


def _windows(path: Path) -> NDArray[np.float64]:
    """Cut a recording into windows, one after the other; those in which nothing is said are left out."""
    try:
        with wave.open(str(path)) as file:
            kind = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            content = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        if path.stat().st_size == 0:  # some languages lack some prompts
            return np.empty((0, _WINDOW))
        raise DataError(f"{path}: {error}; expected a wav file, fetch it anew") from error
    if kind != (1, 2, RATE):
        raise DataError(f"{path}: {kind[0]} channels, {8 * kind[1]} bits, {kind[2]} Hz; expected 1, 16, {RATE}")
    samples = np.frombuffer(content[: len(content) // 2 * 2], "<i2").astype(np.float64)
    cut = samples[: len(samples) // _WINDOW * _WINDOW].reshape(-1, _WINDOW)
    loud: NDArray[np.bool_] = np.sqrt(np.mean(cut**2, axis=1)) > SILENCE
    return cut[loud]


def _split(features: NDArray[np.float32], labels: NDArray[np.int64], prompts: NDArray[np.str_], seed: int) -> Data:
    names = sorted(set(prompts.tolist()))
    random.Random(seed).shuffle(names)
    place = {name: index / len(names) for index, name in enumerate(names)}
    places = np.array([place[name] for name in prompts.tolist()])
    generator = torch.Generator().manual_seed(seed)

    def part(low: float, high: float) -> Part:
        index = torch.from_numpy(np.flatnonzero((low <= places) & (places < high)))
        index = index[torch.randperm(len(index), generator=generator)]
        return torch.from_numpy(features)[index], torch.from_numpy(labels)[index]

    parts = (part(0, _SHARES[0]), part(*_SHARES), part(_SHARES[1], 1))
    return Data("asterisk's telephone prompts", *normalised(parts, (0, 1, 2)), len(LANGUAGES))
