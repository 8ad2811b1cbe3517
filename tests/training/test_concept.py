"""Photographs are read as a viewer would show them, or refused in one line."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noiseprobe.core.errors import UserError
from noiseprobe.pictures.photographs import PhotographWarning, load_pixels
from noiseprobe.run.resolving import resolve
from noiseprobe.training.concept import load_concept
from noiseprobe.training.preparing import concept_of

RED = (250, 10, 20)


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def mean_colour(path: Path) -> list[float]:
    values = load_pixels(path, 32, center_crop=True)
    assert values.shape == (3, 32, 32)
    return ((values.mean((1, 2)) + 1) * 127.5).tolist()


def test_pixels_span_minus_one_to_one(tmp_path: Path) -> None:
    half = np.zeros((32, 32, 3), np.uint8)
    half[:, 16:] = 255
    pixels = load_pixels(saved(Image.fromarray(half), tmp_path / "a.png"), 32, center_crop=True)
    assert pixels[:, :, 0].unique().tolist() == [-1.0]
    assert pixels[:, :, -1].unique().tolist() == [1.0]


@pytest.mark.parametrize("mode", ["RGB", "P", "CMYK", "RGBA"])
def test_colour_modes_show_the_same_colour(tmp_path: Path, mode: str) -> None:
    suffix = "tiff" if mode == "CMYK" else "png"
    path = saved(Image.new("RGB", (40, 40), RED).convert(mode), tmp_path / f"a.{suffix}")
    assert mean_colour(path) == pytest.approx(RED, abs=3)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    grey = Image.fromarray(np.full((40, 40), 128 * 257, np.uint16))
    assert mean_colour(saved(grey, tmp_path / "a.png")) == pytest.approx([128] * 3, abs=1)


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    assert mean_colour(saved(clear, tmp_path / "a.png")) == pytest.approx([255] * 3)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:20] = 255
    exif = Image.Exif()
    exif[0x0112] = 3
    path = saved(Image.fromarray(picture), tmp_path / "a.jpg", exif=exif, quality=95)
    pixels = load_pixels(path, 32, center_crop=True)
    assert pixels[:, :8].mean() < -0.9
    assert pixels[:, -8:].mean() > 0.9


def test_centre_crop_keeps_proportions_and_squeezing_keeps_all(tmp_path: Path) -> None:
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, :40] = 255
    path = saved(Image.fromarray(wide), tmp_path / "a.png")
    assert load_pixels(path, 32, center_crop=True).max() < -0.9
    assert load_pixels(path, 32, center_crop=False)[:, :, 0].min() > 0.9


def test_a_small_photograph_is_enlarged_with_a_warning(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (10, 12), RED), tmp_path / "a.png")
    with pytest.warns(PhotographWarning, match="10x12"):
        assert mean_colour(path) == pytest.approx(RED, abs=1)


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("hello")
    with pytest.raises(UserError, match=r"a\.jpg: not an image"):
        load_pixels(path, 32, center_crop=True)


def test_a_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    whole = BytesIO()
    noisy = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noisy).save(whole, "JPEG")
    path = tmp_path / "a.jpg"
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(UserError, match=r"a\.jpg: cannot be read .*truncated"):
        load_pixels(path, 32, center_crop=True)


def test_a_concept_is_a_folder_of_photographs(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", ".hidden.png"):
        saved(Image.new("RGB", (8, 8)), tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a photograph")
    concept = load_concept(tmp_path, "dog")
    assert [path.name for path in concept.photographs] == ["a.png", "b.JPG"]
    assert concept.captions("<v>")[0] == "a photo of a <v>"


def test_captions_beside_photographs_are_not_read_and_it_says_so(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("sks dog on a lawn")
    with pytest.warns(PhotographWarning, match=r"a\.txt: captions beside photographs are not read"):
        concept_of(resolve({"concept": str(tmp_path), "class_noun": "dog"}))


def test_bundled_concepts_are_found_by_name() -> None:
    concept = load_concept("banded-cup", None)
    assert concept.class_noun == "cup"
    assert 4 <= len(concept.photographs) <= 6


@pytest.mark.parametrize(
    ("source", "mend"),
    [("no/such/folder", "bundled are"), ("banded-cop", "did you mean 'banded-cup'")],
)
def test_an_unknown_concept_is_refused(source: str, mend: str) -> None:
    with pytest.raises(UserError, match=mend):
        load_concept(source, "dog")


def test_an_empty_folder_a_file_and_a_missing_noun_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no photographs in"):
        load_concept(tmp_path, "dog")
    path = saved(Image.new("RGB", (8, 8)), tmp_path / "a.png")
    with pytest.raises(UserError, match="is a file"):
        load_concept(path, "dog")
    with pytest.raises(UserError, match="--class"):
        load_concept(tmp_path, None)
    with pytest.raises(UserError, match="--placeholder"):
        load_concept(tmp_path, "dog", "two words")
