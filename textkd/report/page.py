"""report.html: one file that opens offline and prints, for whoever must decide whether to ship the student."""

from __future__ import annotations

from pathlib import Path

from textkd.models.files import write_atomic
from textkd.report import frontier, layer_map, lines, looks, plots, table, words
from textkd.report.headline import headline, timing_noise
from textkd.report.results import Results, load
from textkd.report.templates import environment

FILE = "report.html"


def render(results: Results) -> str:
    """The page as text. The same results give the same bytes; nothing in it is read from another place."""
    templates = environment(autoescape=True)
    templates.globals.update(words=words)
    template = templates.get_template("page.html.j2")
    return template.render(
        results=results,
        headline=headline(results),
        looks=looks.looks(results),
        grey=looks.TEACHER,
        rows=table.comparison(results),
        seed_heads=table.seed_heads(results),
        seed_rows=table.by_seed(results),
        loss=plots.loss_plot(results),
        losses=list(plots.losses(results)),
        parts=plots.parts_plot(results),
        metric=plots.metric_plot(results),
        learners=plots.learners(results),
        drawings=layer_map.drawings(results),
        geometry=layer_map,
        examples=table.examples(results),
        gallery=lines.shown(results),
        rule=lines.rule(results),
        speed=speed_sentence(results),
        own=[name for name, model in results.models.items() if model.loads_with],
        candidates=frontier.rows(results),
        frontier=frontier.picture(results),
        budget="" if results.search is None else frontier.budget(results.search),
    )


def write_page(run_dir: str | Path) -> Path:
    """Writes report.html into a finished run's folder. Raises a TextkdError as `results.load` does."""
    return write_atomic(Path(run_dir) / FILE, render(load(run_dir)))


def speed_sentence(results: Results) -> str:
    """How the speeds were measured, in words."""
    how = results.measure
    threads = f", {words.plural(how.threads, 'thread')}" if how.threads is not None else ""
    length = f" of {words.plural(how.sequence_length, 'token')}" if how.sequence_length is not None else ""
    one, many = how.batch.get("latency", 1), how.batch.get("throughput", 1)
    seen = _noise(results)
    if how.generation is not None:
        return (
            f"Speed: whole texts written by generate() ({words.settings(how.generation)}; the same for all models and "
            f"the metrics) on {how.device}{threads}, {how.dtype}; the models take turns on the same inputs in one "
            f"process and the median of {words.plural(how.repeats, 'round')} counts. Latency is the time of one batch "
            f"of {one}; a batch of {many} lasts as long as its longest text. Reading and preparing the inputs is not "
            "included. The encoder alone is timed in the same rounds, the decoder has the rest. A model that writes "
            "more tokens takes longer, one that stops early looks fast. The numbers hold for this machine." + seen
        )
    return (
        f"Speed: forward passes on {how.device}{threads}, {how.dtype}, sequences{length}; "
        f"the models take turns in one process and the median of {words.plural(how.repeats, 'round')} counts. "
        f"Latency is the time of one batch of {one}, throughput is samples per second in batches of {many}; "
        "tokenizing is not included. The numbers hold for this machine." + seen
    )


def _noise(results: Results) -> str:
    """What student and control, two models of one shape, say of the timing's noise."""
    noise, compare = timing_noise(results), results.compare
    if noise is None or compare.control is None:
        return ""
    both = f"{words.title(compare.student)} and {words.label(compare.control)}"
    apart = f"their latencies differ by {words.percent(noise - 1)}"
    return f" {both} are models of one shape, yet {apart}: that much is noise."
