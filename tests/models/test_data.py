"""Data of packages: read from small files made here, split without overlap, and refused with the way out."""

from __future__ import annotations

import gzip
import hashlib
import struct
import wave
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from models.data import DATASETS, Data, DataError, digits, fashion_mnist, load, motions, noise, speech
from models.data.images import MEAN, STD, framed, read_idx, resized
from models.data.motions import FILE, windows
from models.data.speech import FRAME, FRAMES, HOP, LANGUAGES, RATE, mel_filters

if TYPE_CHECKING:
    from pathlib import Path


def write_idx(path: Path, content: np.ndarray) -> None:
    header = struct.pack(f">BBBB{content.ndim}I", 0, 0, 8, content.ndim, *content.shape)
    path.write_bytes(gzip.compress(header + content.astype(np.uint8).tobytes()))


@pytest.fixture
def clothes(tmp_path: Path) -> Path:
    """Fifty images to train by, of which the i-th is all i, and ten to test by, all 200; labels i modulo ten."""
    for part, values in (("train", np.arange(50)), ("t10k", np.full(10, 200))):
        write_idx(
            tmp_path / f"{part}-images-idx3-ubyte.gz", np.broadcast_to(values[:, None, None], (len(values), 28, 28))
        )
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(len(values)) % 10)
    return tmp_path


def greys(images: torch.Tensor) -> list[int]:
    """Undo the normalisation of images of one grey each."""
    return ((images[:, 0, 0, 0] * STD + MEAN) * 255).round().int().tolist()


def test_fashion_mnist_is_read_normalised_and_split_in_parts_that_share_nothing(clothes: Path) -> None:
    data = fashion_mnist(clothes)
    assert [len(labels) for _, labels in (data.train, data.validation, data.test)] == [40, 10, 10]
    assert sorted(greys(data.train[0]) + greys(data.validation[0])) == list(range(50))
    assert set(greys(data.test[0])) == {200}
    for images, labels in (data.train, data.validation):
        assert [grey % 10 for grey in greys(images)] == labels.tolist()
    assert greys(fashion_mnist(clothes, seed=1).train[0]) != greys(data.train[0])
    assert greys(fashion_mnist(clothes).train[0]) == greys(data.train[0])


def test_the_files_are_found_in_a_folder_below(clothes: Path) -> None:
    assert len(fashion_mnist(clothes.parent).test[1]) == 10


def test_missing_data_name_the_command_that_brings_them(tmp_path: Path) -> None:
    for name in ("fashion-mnist", "motions", "speech"):
        shape = {"fashion-mnist": (3, 32, 32), "motions": (6, 100), "speech": (1, 49, 10)}[name]
        with pytest.raises(DataError, match=f"bash tools/fetch_data {name}") as caught:
            load(name, shape, folder=tmp_path)
        assert f"below {tmp_path};" in str(caught.value)


def test_a_broken_idx_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"images\.gz.*fetch it anew"):
        read_idx(path)
    path.write_bytes(gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 5) + b"four"))
    with pytest.raises(DataError, match=r"4 elements, its header says \[5\]"):
        read_idx(path)
    for content in (b"", b"\0\0\x0d\x01" + b"\0" * 8, b"\0\0\x08\x04\0"):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(DataError, match="fetch it anew"):
            read_idx(path)


def test_framing_puts_black_around_and_keeps_the_image() -> None:
    images = torch.randn(2, 1, 28, 28)
    made = framed(images)
    assert made.shape == (2, 3, 32, 32)
    assert torch.equal(made[:, 1, 2:-2, 2:-2], images[:, 0])
    assert made.sum().item() == pytest.approx(3 * (images.sum().item() - 2 * (32**2 - 28**2) * MEAN / STD), rel=1e-4)


def test_smaller_images_are_means_over_pixels_and_larger_ones_interpolated() -> None:
    images = torch.arange(16.0).view(1, 1, 4, 4)
    assert resized(2, 1)(images).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    grown = resized(8, 3)(torch.full((1, 1, 4, 4), 7.0))
    assert grown.shape == (1, 3, 8, 8)
    assert grown.unique().tolist() == [7.0]


def test_images_fit_square_inputs_only(clothes: Path) -> None:
    assert load("fashion-mnist", (3, 32, 32), folder=clothes).prepare is framed
    for name, folder in (("fashion-mnist", clothes), ("digits", None)):
        for shape in ((3, 96, 96), (3, 32, 32), (1, 8, 8)):
            data = load(name, shape, folder=folder)
            assert data.prepare(data.test[0][:2]).shape == (2, *shape)
        with pytest.raises(DataError, match=r"images cannot become inputs of shape \(6, 100\)"):
            load(name, (6, 100), folder=folder)


def test_digits_are_those_of_the_example() -> None:
    data = digits()
    assert [len(labels) for _, labels in (data.train, data.validation, data.test)] == [1077, 360, 360]
    assert data.train[0].shape[1:] == (1, 8, 8)
    assert torch.equal(load("digits", (1, 8, 8)).prepare(data.test[0]), data.test[0])


def write_motions(folder: Path) -> str:
    """Ten persons, each with a recording of 250 steps whose sensors all read the person's number; return the hash."""
    content = {
        "X": np.array([np.full((250, 6), float(person)) + np.arange(250)[:, None] for person in range(10)]),
        "y": np.arange(10) % 7,
        "subject": np.arange(10),
    }
    np.save(folder / FILE, np.array(content, dtype=object), allow_pickle=True)
    return hashlib.sha256((folder / FILE).read_bytes()).hexdigest()


def test_motions_hold_out_whole_persons(tmp_path: Path) -> None:
    data = motions(tmp_path, sha256=write_motions(tmp_path))
    parts = (data.train, data.validation, data.test)
    assert [tuple(inputs.shape) for inputs, _ in parts] == [(24, 6, 100), (8, 6, 100), (8, 6, 100)]  # four windows each
    mean, std = data.train[0].mean((0, 2)), data.train[0].std((0, 2))
    assert torch.allclose(mean, torch.zeros(6), atol=1e-5)
    assert torch.allclose(std, torch.ones(6), atol=1e-5)
    least = [{round(float(window[0, 0] - data.train[0].min()), 4) for window in inputs} for inputs, _ in parts]
    assert not least[1] & least[2], "a window of a person starts at a value of its own"


def test_a_pickle_of_unknown_origin_is_not_read(tmp_path: Path) -> None:
    write_motions(tmp_path)
    with pytest.raises(DataError, match="a pickle of unknown origin is not read"):
        motions(tmp_path)


def test_windows_overlap_by_half_and_leave_out_a_rest() -> None:
    cut = windows(np.arange(260.0)[:, None] * np.ones(6))
    assert cut.shape == (4, 6, 100)
    assert cut[:, 0, 0].tolist() == [0, 50, 100, 150]
    assert windows(np.zeros((99, 6))).shape == (0, 6, 100)


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Ten prompts in each language, each language a tone of its own, two windows and a rest long."""
    window = FRAME + HOP * (FRAMES - 1)
    time = np.arange(2 * window + 7) / RATE
    for number, language in enumerate(LANGUAGES):
        tone = 8000 * np.sin(2 * np.pi * 300 * (number + 1) * time)
        for prompt in range(10):
            write_wav(tmp_path / f"{language}_XX" / "digits" / f"{prompt}.wav", tone)
        write_wav(tmp_path / f"{language}_XX" / "silence" / "1.wav", tone)
        write_wav(tmp_path / f"{language}_XX" / "quiet.wav", 0 * tone)
    return tmp_path


def test_speech_keeps_all_versions_of_a_prompt_in_one_part_and_skips_silence(prompts: Path) -> None:
    data = speech(prompts)
    sizes = [tuple(inputs.shape) for inputs, _ in (data.train, data.validation, data.test)]
    assert sum(size[0] for size in sizes) == 5 * 10 * 2
    assert {size[1:] for size in sizes} == {(1, 49, 10)}
    for _, labels in (data.train, data.validation, data.test):
        assert set(torch.bincount(labels, minlength=5).tolist()) == {len(labels) // 5}


def test_a_recording_at_another_rate_is_refused(prompts: Path) -> None:
    write_wav(prompts / "it_XX" / "digits" / "3.wav", np.zeros(4000), rate=16000)
    with pytest.raises(DataError, match=r"it_XX.*3\.wav: 1 channels, 16 bits, 16000 Hz; expected 1, 16, 8000"):
        speech(prompts)


def test_a_missing_language_is_named(prompts: Path) -> None:
    (prompts / "ru_XX").rename(prompts / "other")
    with pytest.raises(DataError, match="no folder 'ru'"):
        speech(prompts)


def test_mel_filters_cover_each_frequency_between_the_outer_ones_once() -> None:
    together = mel_filters().sum(0)
    assert mel_filters().shape == (40, FRAME // 2 + 1)
    assert np.allclose(together[3:70], 1, atol=0.05)


def test_batches_hold_every_sample_once_in_a_new_order_each_time() -> None:
    data = Data(
        "numbers", (torch.arange(10.0)[:, None], torch.arange(10)), *[(torch.zeros(1, 1), torch.zeros(1))] * 2, 2
    )
    batches = data.batches(data.train, 4, torch.Generator().manual_seed(0))
    first, second = ([labels for _, labels in batches] for _ in range(2))
    assert [len(labels) for labels in first] == [4, 4, 2]
    assert sorted(torch.cat(first).tolist()) == list(range(10))
    assert not torch.equal(torch.cat(first), torch.cat(second))
    assert all(torch.equal(inputs[:, 0].long(), labels) for inputs, labels in batches)


def test_a_rest_of_one_sample_is_left_out() -> None:
    data = noise((3,), samples=9)
    assert [len(labels) for _, labels in data.batches(data.train, 4)] == [4, 4]


def test_the_first_samples_of_data_leave_the_test_part_as_it_is() -> None:
    data = noise((3,), samples=8)
    cut = data.first(5, 2)
    assert [len(labels) for _, labels in (cut.train, cut.validation, cut.test)] == [5, 2, 4]
    assert torch.equal(cut.train[0], data.train[0][:5])
    assert data.first().train[0] is not None
    assert len(data.first().train[1]) == 8


def test_noise_is_that_of_its_seed() -> None:
    assert torch.equal(noise((2,), seed=3).train[0], noise((2,), seed=3).train[0])
    assert not torch.equal(noise((2,), seed=3).train[0], noise((2,), seed=4).train[0])


def test_data_of_another_shape_than_the_network_takes_are_refused(tmp_path: Path, prompts: Path) -> None:
    with pytest.raises(DataError, match=r"inputs of shape \(1, 49, 10\), the network takes \(3, 32, 32\)"):
        load("speech", (3, 32, 32), folder=prompts)
    with pytest.raises(ValueError, match=f"there are no data 'cifar'; the data are {', '.join(DATASETS)}"):
        load("cifar", (3, 32, 32))
