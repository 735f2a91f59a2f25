"""What a reader's browser makes of the pages: a demonstration of everything, and the index."""

import io
import itertools
import re

import pytest

pytestmark = pytest.mark.browser

NAMES = ("index", "demo", "second")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_is_accessible_alone_and_fits(inspected, demo, name, scheme, width):
    found = inspected(demo.site, name, scheme=scheme, width=width)
    assert found.violations == []
    assert found.outside == []
    assert found.errors == []
    assert found.scroll_width <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_follow_the_readers_setting(open_page, demo, scheme):
    """The corner of a picture has the colour of the page around it."""
    from PIL import Image

    page = open_page(demo.site, "demo", scheme=scheme)
    shot = Image.open(io.BytesIO(page.locator(".lr-picture img").screenshot())).convert("RGB")
    around = page.evaluate("getComputedStyle(document.body).backgroundColor")
    surface = tuple(map(int, re.findall(r"\d+", around)[:3]))
    assert max(abs(a - b) for a, b in zip(shot.getpixel((3, 3)), surface, strict=True)) <= 2
    assert (sum(surface) > 600) is (scheme == "light")


def test_wide_things_scroll_in_their_own_frame_on_a_phone(open_page, demo):
    page = open_page(demo.site, "demo", width=390)
    for frame in (".lr-table >> nth=1", ".lr-picture"):
        inside, outside = page.locator(frame).evaluate("e => [e.scrollWidth, e.clientWidth]")
        assert inside > outside, frame
    caption = page.locator(".lr-table caption").first.bounding_box()
    assert caption["x"] + caption["width"] <= 390
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('p,li,td,th,dd')].map(e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert smallest >= 12


def test_everything_the_notebook_showed_is_visible(open_page, demo):
    page = open_page(demo.site, "demo")
    for words in (
        "About one customer in five stops buying within a year.",
        "Sixty made-up orders of seventeen customers",
        "Bought 2 to 5 times",
        "Survival by membership.",
        "printed",
        "the curves cross after 30 weeks",
        "share still buying after a year",
    ):
        assert page.get_by_text(words).first.is_visible(), words
    assert page.get_by_role("img", name="Two falling curves").is_visible()
    assert page.get_by_role("heading", level=1).count() == 1
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => +e.tagName[1])")
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_the_keyboard_reaches_the_content_and_every_region(open_page, demo):
    page = open_page(demo.site, "demo", width=390)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className"))
    assert {"lr-table", "lr-picture", "lr-printed"} <= reached


def test_the_contents_lead_to_their_sections(open_page, demo):
    page = open_page(demo.site, "demo")
    page.get_by_role("navigation").get_by_role("link", name="Checks").click()
    assert page.url.endswith("#checks")
    box = page.locator("#checks").bounding_box()
    assert 0 <= box["y"] < 900


def test_pages_work_without_script_and_their_files_are_there(open_page, demo):
    page = open_page(demo.site, "demo", script=False)
    assert page.get_by_role("heading", name="The answer").is_visible()
    for name in NAMES:
        page = open_page(demo.site, name, script=False)
        links = [a.get_attribute("href") for a in page.locator("a[href]").all()]
        files = [link for link in links if not link.startswith(("#", "https://"))]
        assert files
        assert all((demo.site / file).is_file() for file in files), files


def test_a_page_prints_light_whole_and_without_the_frame(open_page, demo):
    page = open_page(demo.site, "demo", scheme="dark", width=700)
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator(".contents").is_visible()
    assert not page.locator(".bar a").is_visible()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 37, 49)"
    after = page.locator(".text a[href^=http]").first.evaluate("e => getComputedStyle(e, '::after').content")
    assert "https://example.org/method" in after or "attr(href)" in after
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    document = page.pdf(format="A4")
    assert document.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", document)) <= 6


def test_the_instruments_see_a_bad_page(inspected, tmp_path):
    (tmp_path / "bad.html").write_text(
        "<!doctype html><html><body><img src='https://example.invalid/x.png'>"
        "<div style='width:900px'>wide</div><script>nonsense()</script></body></html>"
    )
    found = inspected(tmp_path, "bad", scheme="light", width=390)
    assert {"image-alt", "html-has-lang", "document-title"} <= {rule for rule, _ in found.violations}
    assert found.outside == ["https://example.invalid/x.png"]
    assert found.errors
    assert found.scroll_width > 390
