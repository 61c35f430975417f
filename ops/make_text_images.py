#!/usr/bin/env python3
"""Draws lines of text, upright and upside down, as the text-angle classifier sees them in photographs.

The same seed draws the same pictures. Writes OUT/<class>/<n>.png with class 0 (upright) and 1 (turned by 180 degrees):
the class folder is the label.
"""
import argparse
import pathlib
import random

from PIL import Image, ImageDraw, ImageFilter, ImageFont

WORDS = ("invoice total amount street number delivery window opening hours closed monday platform departure gate "
         "warning voltage serial model weight net contents keep dry this side up exit entrance ticket price valid until "
         "account balance transfer signature date place of issue nationality Please return before 2024 2025 17:45 "
         "No. 4821 EUR 39.90 kg 12.5 Ltd. Co. & Sons Main Road Hotel Bakery Pharmacy Coffee Tea").split()
FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf", "DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf",
         "DejaVuSansMono-Bold.ttf")


def draw(rng: random.Random, fonts: pathlib.Path) -> Image.Image:
    text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 4)))
    if rng.random() < 0.3:
        text = text.upper()
    names = [name for name in FONTS if (fonts / name).exists()]
    font = ImageFont.truetype(str(fonts / rng.choice(names)), rng.randint(26, 36))
    left, top, right, bottom = font.getbbox(text)
    margin = rng.randint(3, 9)
    paper = rng.randint(170, 255)
    ink = rng.randint(0, 90)
    tint = [rng.randint(-12, 12) for _ in range(3)]
    if rng.random() < 0.2:
        paper, ink = ink, paper
    clamp = lambda v: max(0, min(255, v))
    image = Image.new("RGB", (right - left + 2 * margin, bottom - top + 2 * margin), tuple(clamp(paper + t) for t in tint))
    ImageDraw.Draw(image).text((margin - left, margin - top), text, font=font, fill=tuple(clamp(ink + t) for t in tint))
    image = image.rotate(rng.uniform(-2, 2), expand=False, fillcolor=tuple(clamp(paper + t) for t in tint))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.9)))
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fonts", type=pathlib.Path, default=pathlib.Path("/usr/share/fonts/truetype/dejavu"))
    args = parser.parse_args()
    rng = random.Random(args.seed)
    for label in ("0", "1"):
        (args.out / label).mkdir(parents=True, exist_ok=True)
    for index in range(args.count):
        image = draw(rng, args.fonts)
        label = index % 2
        if label:
            image = image.transpose(Image.Transpose.ROTATE_180)
        image.save(args.out / str(label) / f"{index:05d}.png")


if __name__ == "__main__":
    main()
