"""The example campaign that `init` writes and `demo` runs: twelve shots over all four models."""

from __future__ import annotations

from pathlib import Path

from callsheet.files import usable_folder

CAMPAIGN = """\
# A campaign: one manifest, the values its rows leave empty, and the most it may cost.
[campaign]
name = "spring-launch"
manifest = "shots.csv"

[defaults]                        # for columns that are absent or empty
model = "seedance-1.0-pro-fast"
resolution = "480p"
duration = "2"

[budget]
total_usd = 5.00                  # over all runs of this campaign

[budget.client]
acme = 3.00

[output]
name = "{client}-{custom_id}"
"""

SHOTS = """\
custom_id,client,prompt,model,image_url,end_image_url,aspect_ratio,resolution,duration,generate_audio,priority
hero-wide,acme,"A glass teapot on a sunlit table, steam rising. [Push in]",seedance-1.0-pro,,,21:9,480p,2,,9
hero-tall,acme,"The same teapot, close, tea being poured. [Tilt up]",seedance-1.0-pro,,,9:16,480p,2,,8
hero-pot,acme,The teapot turns slowly in morning light. [Pan left],seedance-1.0-pro,teapot.png,,auto,480p,2,,8
morning,acme,A quiet kitchen at seven in the morning. [Static shot],seedance-1.0-pro-fast,,,16:9,480p,2,,5
market,acme,"A street market in the rain, umbrellas from above. [Overhead shot]",seedance-1.0-pro-fast,,,1:1,480p,3,,5
pot-fast,acme,Steam drifts past the teapot. [Zoom out],seedance-1.0-pro-fast,teapot.png,,auto,480p,2,,5
bicycle,northwind,A bicycle leans on a blue wall; leaves blow by. [Truck right],seedance-1.0-lite,,,4:3,480p,2,,3
tower,northwind,A lighthouse before a storm. [Pedestal up],seedance-1.0-lite,,,9:21,480p,2,,3
day-night,northwind,From day to night over the harbour. [Pull out],seedance-1.0-lite,harbour.png,teapot.png,16:9,480p,2,,3
song,northwind,A street musician plays under an arch at dusk,seedance-1.5-pro,,,16:9,480p,4,true,2
silent,northwind,The same arch in silence and empty,seedance-1.5-pro,,,3:4,480p,4,false,2
gulls,northwind,Gulls over the harbour and their cries. [Pan right],seedance-1.5-pro,harbour.png,,auto,480p,4,true,2
"""  # noqa: E501 -- one line a shot, as in any CSV


def write_example(folder: Path) -> Path:
    """Write the campaign into `folder` and return the campaign file. What is there already is replaced.

    Raises UsageError for a folder that cannot be used.
    """
    usable_folder(folder, what="the folder", instead="name another")
    (folder / "shots.csv").write_text(SHOTS, encoding="utf-8")
    _teapot(folder / "teapot.png")
    _harbour(folder / "harbour.png")
    campaign = folder / "campaign.toml"
    campaign.write_text(CAMPAIGN, encoding="utf-8")
    return campaign


def _teapot(path: Path) -> None:
    from PIL import Image, ImageDraw, ImageFilter

    picture = Image.linear_gradient("L").resize((960, 720))
    canvas = Image.merge(
        "RGB",
        [
            picture.point(lambda v: 250 - v // 5),
            picture.point(lambda v: 226 - v // 4),
            picture.point(lambda v: 200 - v // 3),
        ],
    )
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 520, 960, 720), fill=(168, 120, 84))
    draw.ellipse((300, 500, 700, 560), fill=(140, 98, 68))
    draw.ellipse((330, 280, 650, 540), fill=(44, 92, 110))
    draw.arc((600, 320, 760, 480), 250, 110, fill=(44, 92, 110), width=26)
    draw.polygon([(345, 390), (220, 320), (205, 340), (350, 470)], fill=(44, 92, 110))
    draw.ellipse((400, 262, 580, 306), fill=(36, 76, 92))
    draw.ellipse((474, 236, 506, 268), fill=(214, 158, 72))
    draw.ellipse((390, 320, 450, 420), fill=(92, 146, 162))
    canvas.filter(ImageFilter.GaussianBlur(0.8)).save(path)


def _harbour(path: Path) -> None:
    from PIL import Image, ImageDraw, ImageFilter

    picture = Image.linear_gradient("L").resize((1280, 720))
    canvas = Image.merge(
        "RGB",
        [
            picture.point(lambda v: 90 + v // 2),
            picture.point(lambda v: 130 + v // 4),
            picture.point(lambda v: 190 - v // 6),
        ],
    )
    draw = ImageDraw.Draw(canvas)
    draw.ellipse((880, 120, 980, 220), fill=(255, 236, 190))
    draw.polygon([(0, 430), (260, 300), (520, 430)], fill=(70, 92, 120))
    draw.polygon([(340, 430), (700, 260), (1040, 430)], fill=(58, 80, 108))
    draw.rectangle((0, 430, 1280, 720), fill=(46, 92, 122))
    for left, top, scale in ((180, 470, 1.0), (620, 520, 1.5), (980, 455, 0.8)):
        hull = [
            (left, top),
            (left + 150 * scale, top),
            (left + 120 * scale, top + 36 * scale),
            (left + 26 * scale, top + 36 * scale),
        ]
        draw.polygon(hull, fill=(240, 236, 226))
        draw.polygon(
            [
                (left + 70 * scale, top - 110 * scale),
                (left + 70 * scale, top - 6),
                (left + 136 * scale, top - 6),
            ],
            fill=(222, 108, 86),
        )
    canvas.filter(ImageFilter.GaussianBlur(0.7)).save(path)
