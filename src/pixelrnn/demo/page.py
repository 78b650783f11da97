"""The page: its layout, and the function behind each button."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from pixelrnn.causality import MEANINGS
from pixelrnn.demo.buttons import Pixels, blank, completion, contexts, picked, pixels, samples, top, without
from pixelrnn.demo.guard import HOST, MIDDLEWARE
from pixelrnn.errors import input_error
from pixelrnn.explain.context import AT, NAMES, SIZE
from pixelrnn.figures import BLACK, BLUE, GREY, LIGHT, ORANGE, SKY, WHITE
from pixelrnn.models import ImageModel
from pixelrnn.randomness import generator

SECONDS_PER_STEP = 0.06
MOST_WAITING = 16  # requests of all browsers together: each takes about a second

COLOURS = {"orange": ORANGE, "sky": SKY, "light": LIGHT, "white": WHITE, "grey": GREY, "black": BLACK}


def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _pictures(
    images: list[Pixels], name: str, model: ImageModel, template: str = '<div class="pictures"></div>'
) -> gr.HTML:
    """A view of a model's images. If the template has tools, the user can erase and draw on the only image."""
    script, levels, channels = _file("pictures.js"), model.levels, model.channels
    return gr.HTML(images, html_template=template, js_on_load=script, elem_id=name, levels=levels, channels=channels)


def _contexts() -> gr.HTML:
    grid = '<div><h3>{}</h3><div class="cells"></div><p class="count"></p></div>'
    legend = "".join(f'<span><i style="background: {colour}"></i>{name}</span>' for name, colour in MEANINGS.items())
    template = f'<div class="contexts">{"".join(grid.format(name) for name in NAMES.values())}</div>'
    return gr.HTML(
        {"at": AT, "seen": contexts([*AT])},
        html_template=f'{template}<div class="legend">{legend}</div>',
        js_on_load=_file("contexts.js"),
        server_functions=[contexts],
        elem_id="contexts",
        size=SIZE,
    )


class Page(gr.Blocks):
    """Sends the error of a request to its sender. Gradio alone would print a traceback and send nothing."""

    async def process_api(self, *given: Any, **how: Any) -> Any:
        try:
            return await super().process_api(*given, **how)
        except (ValueError, gr.Error) as error:
            raise gr.Error(" ".join(str(error).split()), print_exception=False) from error


def page(model: ImageModel, name: str) -> gr.Blocks:
    """Lays out the page for a model of grey or RGB images of one size. The page shows it under this ``name``."""
    size = model.size or (0, 0)
    classes = [(each, k) for k, each in enumerate(model.classes or ())]
    noise = generator(0)

    def complete(images: list[Pixels], label: int | None, temperature: float) -> Iterator[list[Pixels]]:
        picture = picked(images, 0)
        for image in completion(model, picture, label, temperature=temperature, generator=noise):
            time.sleep(SECONDS_PER_STEP)
            yield [picture, image]

    def draw(label: int | None, temperature: float) -> list[Pixels]:
        return samples(model, label, temperature=temperature, generator=noise)

    def take(images: list[Pixels], picture: list[Pixels], event: gr.EventData) -> list[Pixels]:
        with input_error("the request does not say which sample was clicked", AttributeError, TypeError):
            index = event.index
        return [without(pixels(picked(images, index), model), pixels(picked(picture, 0), model))]

    informed = "Kept pixels inform only later pixels, so erasing the lower part works best."
    if model.orders > 1:
        sides = "Any side works" if model.orders == 8 else "The upper and the lower part work best"
        informed = f"{sides}: the model takes the best of its {model.orders} orders."
    first = draw(0 if classes else None, 1.0)
    kind = "RGB images" if model.channels == 3 else "images"
    with Page(title="PixelRNN", analytics_enabled=False, fill_width=True) as blocks:
        gr.Markdown(
            f"# PixelRNN\n**{name}** draws {kind} of {size[0]}×{size[1]} pixels and {model.levels} levels, "
            "one pixel after the other, each given all before it."
        )
        with gr.Row():
            label = gr.Radio(classes, value=0 if classes else None, label="Class", visible=bool(classes), scale=2)
            temperature = gr.Slider(0.1, 2, value=1, step=0.1, label="Temperature", scale=1, min_width=260)
        with gr.Row():
            with gr.Column(scale=3):
                gr.Markdown("## Completions\nErase and draw, or pick a sample.")
                picture = _pictures([top(first[0])], "picture", model, _file("picture.html"))
                with gr.Row():
                    clear = gr.Button("Clear", min_width=100)
                    go = gr.Button("Complete", variant="primary", min_width=100)
                gr.Markdown(f"**Complete** draws the erased pixels. {informed}")
            with gr.Column(scale=5):
                gr.Markdown("## Samples\nDrawn whole. Click one to take all but the erased part.")
                shown = _pictures(first, "samples", model)
                again = gr.Button("Draw samples", variant="primary")
        gr.Markdown(
            "## The context of a pixel\nPoint at a pixel. Through one layer of each kind, the prediction for it "
            "depends on these earlier pixels."
        )
        _contexts()

        # One request at a time for all browsers together. The functions check their arguments themselves.
        how: dict[str, Any] = {"concurrency_id": "model", "preprocess": False, "show_progress": "hidden"}
        how["api_visibility"] = "private"
        go.click(complete, [picture, label, temperature], picture, **how)
        clear.click(lambda: [blank(size)], None, picture, **how)
        again.click(draw, [label, temperature], shown, **how)
        label.change(draw, [label, temperature], shown, **how)
        shown.select(take, [shown, picture], picture, **how)
    return blocks.queue(max_size=MOST_WAITING, default_concurrency_limit=1, api_open=False)


def serve(blocks: gr.Blocks, port: int) -> None:
    """Starts to serve the page to this machine only."""
    font = ("system-ui", "sans-serif")  # the system's own fonts, which need no download
    theme = gr.themes.Base(primary_hue=gr.themes.Color(*[BLUE] * 11), font=font, font_mono=("monospace",))
    colours = "".join(f"--{name}: {colour};" for name, colour in COLOURS.items())
    blocks.launch(
        server_name=HOST,
        server_port=port,
        share=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        quiet=True,
        prevent_thread_lock=True,
        app_kwargs={"middleware": MIDDLEWARE},
        theme=theme,
        css=f":root {{{colours} --columns: {SIZE[1]};}}\n{_file('page.css')}",
    )
