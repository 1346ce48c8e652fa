"""Test that the tests of the site can fail: pages with one thing wrong, and the fault that has to be found."""
import sys
import tempfile
import unittest
from pathlib import Path

import browse
import check
import notebooks
import performance
import stage
import tables

GOOD = '<html><head><title>A - site</title></head><body><article><h1 id="a">A</h1><a href="#a">a</a>{}</article></body></html>'


class Check(unittest.TestCase):
    def found(self, body, page=GOOD):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "a.html").write_text(page.format(body))
            Path(folder, "b.html").write_text(GOOD.format(""))
            return list(check.faults(Path(folder)))

    def test_a_sound_page_has_no_fault(self):
        for body in ['<a href="b.html#a">b</a>', '<img src="b.html" alt="text">', '<a href="https://example.org">away</a>',
                     '<svg aria-label="drawing"><title>x</title></svg>', '<a href="mailto:a@example.org">m</a>']:
            self.assertEqual(self.found(body), [], body)

    def test_every_fault_is_found(self):
        for body, word in [
            ('<a href="c.html">c</a>', "link to nothing"), ('<a href="b.html#c">c</a>', "place that the page has not"), ('<a href="#c">c</a>', "place that the page has not"),
            ('<img src="b.html">', "alternative text"), ('<img src="b.html" alt=" ">', "alternative text"), ("<svg></svg>", "without a label"),
            ('<img src="https://example.org/x.png" alt="x">', "foreign host"), ('<script src="//example.org/x.js"></script>', "foreign host"),
            ('<link rel="stylesheet" href="https://example.org/x.css">', "foreign host"), ('<img src="missing.png" alt="x">', "link to nothing"), ("<h1>B</h1>", "first headings"),
        ]:
            faults = self.found(body)
            self.assertTrue(faults and all(word in f for f in faults), f"{body}: {faults}")
        self.assertIn("a.html: no title", self.found("", GOOD.replace("A - site", "")))


@unittest.skipUnless(browse.program(), "no Chromium is installed")
class Browse(unittest.TestCase):
    def test_every_fault_is_found(self):
        with tempfile.TemporaryDirectory() as folder:
            icon, bad = '<link rel="icon" href="data:,">', {
                "wide": ("<article><p style='width:700px'>wide</p></article>", "scrolls sideways"), "console": ("<script>console.error('no')</script>", "console: no"),
                "exception": ("<script>throw new Error('no')</script>", "exception"), "lost": ("<script src='lost.js'></script>", "404"),
                "image": ("<img src='wide.html'>", "image that is not there"), "math": ("<span class='math'>x</span>", "formula left as text"),
                "foreign": ("<script src='http://foreign.invalid/x.js'></script>", "foreign host"),
            }
            for name, (body, _) in {**bad, "good": ("<p>good</p>", "")}.items():
                Path(folder, f"{name}.html").write_text(f"<!doctype html><html><head>{icon}</head><body>{body}</body></html>")
            found = browse.faults(folder, [f"{name}.html" for name in (*bad, "good")])
        for name, (_, word) in bad.items():
            self.assertTrue(any(f.startswith(f"{name}.html") and word in f for f in found), f"{name}: {found}")
        self.assertFalse([f for f in found if f.startswith("good.html")])
        self.assertFalse([f for f in found if f.startswith("wide.html") and "1280" in f])


class Rewriting(unittest.TestCase):
    def links(self, source="docs/warnings.md", place="guides/warnings.md"):
        return stage.Links(None, stage.places(), source, place)

    def test_links_lead_to_pages(self):
        self.assertEqual(self.links().rewrite("[n](../notebooks/04_own_kernel.ipynb) [`g`](glossary.md#runs)"),
                         "[n](../notebooks/04_own_kernel.ipynb) [`g`](../glossary.md#runs)")
        self.assertEqual(self.links().rewrite("[c]: ../src/run/columns.md"), "[c]: ../columns.md")

    def test_code_and_formulas_stay(self):
        for text in ["`[a](b.md)`", "```rust\n[a](b.md)\n```", "$[b](X)$", "$$\n[b](X)\n$$", "[w](https://example.org/b.md)", "[h](#here)"]:
            self.assertEqual(self.links().rewrite(text), text)
        self.assertEqual(self.links().rewrite("```rust,no_run\nx\n```"), "```rust\nx\n```")

    def test_indices_are_set_and_names_are_not(self):
        for text, wanted in [
            ("ρ_θ = e^{−U_θ}/Z_θ", "ρ<sub>θ</sub> = e<sup>−U<sub>θ</sub></sup>/Z<sub>θ</sub>"), ("log Z_0, ∂_tU, h^.95", "log Z<sub>0</sub>, ∂<sub>t</sub>U, h<sup>.95</sup>"),
            ("N_eff and λ_min(Σ)", "N<sub>eff</sub> and λ<sub>min</sub>(Σ)"),
        ]:
            self.assertEqual(stage.typeset(text), wanted)
        for text in ["log_z_monitor + energy_data", "`e^{A}`", "$Z_0$", "[a](01_ula.ipynb)", "[00_tour]", "```\nZ_0\n```"]:
            self.assertEqual(stage.typeset(text), text)

    def test_a_link_to_nothing_ends_the_build(self):
        with self.assertRaisesRegex(SystemExit, "no page and no file"):
            self.links().rewrite("[x](nothing.md)")
        with self.assertRaisesRegex(SystemExit, "no heading"):
            stage.section("README.md", "No such heading")
        with self.assertRaisesRegex(SystemExit, "tested examples"):
            stage.example("src/transport/mod.rs", 99)


class Numbers(unittest.TestCase):
    def test_means_and_errors(self):
        self.assertEqual(tables.shown([1.0, 2.0, 3.0]), "2.00\u00a0±\u00a00.58")        # √(1/3)
        self.assertEqual(tables.shown([-90.0, -91.0]), "−90.50\u00a0±\u00a00.50")
        self.assertEqual(tables.shown([float("nan")]), "–")
        self.assertEqual(tables.shown([0.0]), "0")
        self.assertEqual(tables.shown([1234.6]), "1235")

    def test_distance_is_half_the_sum(self):
        rows = [{"method": "m", "seed": "0", "label": str(i), "data": "0.5", "model": m} for i, m in enumerate(["0.8", "0.2"])]
        self.assertIn("| `distance` |", tables.distances(rows))
        self.assertIn("| 1 | 0.3000 |", tables.distances(rows))

    def test_only_the_last_row_of_a_run_counts(self):
        row = {"method": "m", "log_z_monitor": "2", "log_z_bar": "1.5", "log_lik_train": "-3", "log_lik_lower": "NaN", "log_lik_upper": "NaN",
               "seconds": "1", "ess": "NaN", "round_trips": "NaN"}
        rows = [{**row, "seed": s, "update": u, "log_lik_test": v} for s in "01" for u, v in (("0", "-100"), ("5", f"-9{s}"))]
        text = tables.likelihoods(rows)
        self.assertIn("−90.50\u00a0±\u00a00.50", text)
        self.assertNotIn("100", text)

    def test_tables_that_could_mix_runs_are_not_averaged(self):
        mass = {"method": "m", "seed": "0", "label": "1", "data": "1", "model": "1"}
        with self.assertRaises(tables.Shape):
            tables.distances([mass, mass])
        long = {"method": "m", "seed": "0", "quantity": "q", "value": "1", "se": "NaN"}
        tables.long_form([long])
        with self.assertRaises(tables.Shape):
            tables.long_form([{**long, "K": "4"}, {**long, "K": "8"}])
        ladder = {"seed": "0", "sigma": "1", "ess": "1"}
        with self.assertRaises(tables.Shape):
            tables.last_rows([ladder, {**ladder, "sigma": "0.5"}, ladder], "sigma", ["ess"], "")
        with self.assertRaises(tables.Shape):
            tables.over_seeds([ladder, ladder], ["ess"])

    def test_performance_is_read_from_the_benches(self):
        head = "row,wall,lower,upper,cpu,goal,a_ms,b_ms,turns,date,revision,processor,cores\n"
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "docs/benches").mkdir(parents=True)
            with self.assertRaisesRegex(SystemExit, "docs/benches"):
                performance.page(root)
            file = root / "docs/benches/rbm.csv"
            file.write_text(head)
            with self.assertRaisesRegex(SystemExit, "no rows"):
                performance.page(root)
            file.write_text(head + '"a | b",1.234,1.1,1.3,1.25,,7.1,5.8,3,2026-01-02,abc,CPU,2\n')
            text = performance.page(root)
        self.assertIn("| a \\| b | 1.23 | 1.10 to 1.30 | 1.25 | – | 7.10 | 3 |", text)
        self.assertIn("Measured 2026-01-02, revision abc, CPU, 2 cores.", text)

    def test_figures_belong_to_the_longest_name(self):
        self.assertEqual(tables.owner("mnist-one-level-samples", ["mnist", "mnist-one-level"]), "mnist-one-level")
        self.assertIsNone(tables.owner("mnistics", ["mnist"]))

    def test_a_figure_is_described_by_its_words(self):
        svg = "<svg><text x='1'>ESS / N</text><text>0.5</text><text>jarzynski</text></svg>"
        self.assertEqual(notebooks.described(svg, "Train"), "Figure in the section “Train”: ESS / N, jarzynski")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "--quiet"])
