"""Write the pages of the site as Sphinx reads them: `stage.py FOLDER`.

Pages are docs/site/, other documents of the repository, which stay where they are and as they are, and the notebooks. Links
between them are rewritten to the places that they have in the site; one that leads nowhere is an error. A comment
`<!-- from FILE: ... -->` of a page is replaced by what stands in FILE or is computed from it, so that nothing is written twice.
"""
import os
import re
import shutil
import sys
from pathlib import Path

import notebooks
import performance
import tables

ROOT = Path(__file__).resolve().parents[2]
# documents of the repository that are pages; all others of docs/ are guides
PLACES = {
    "docs/glossary.md": "glossary.md",
    "docs/results.md": "results/measured.md",
    "docs/paper.md": "paper.md",
    "datasets/README.md": "guides/datasets.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
# not pages themselves: a page of docs/site/ shows what they say
SHOWN = {"src/run/columns.md": "columns.md", "experiments/README.md": "gallery.md", "README.md": "index.md"}
# code and formulas come first: what looks like a link in them is none
TOKEN = re.compile(
    r"(?P<fence>^(?P<ticks>```+)(?P<info>.*)\n(?:.*\n)*?(?P=ticks)[ ]*$)|(?P<code>(?P<tick>`+)[^`].*?(?P=tick))"
    r"|(?P<math>\$\$[^$]+\$\$|\$[^$\n]+\$)|(?P<head>\]\()(?P<to>[^()\s]+)\)|(?P<dhead>^\[[^\]^]+\]:\s+)(?P<dto>\S+)", re.M)
FROM = re.compile(r"^<!-- from (?P<file>\S+)(?:: (?P<what>.+?))? -->$", re.M)


class Site:
    """The folder that Sphinx reads; a file is written only where its content changes, so that Sphinx reads no page twice."""

    def __init__(self, folder):
        self.folder, self.written = Path(folder), set()

    def write(self, name, content):
        path = self.folder / name
        data = content if isinstance(content, bytes) else content.encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
        self.written.add(path)

    def sweep(self):
        """Removes what an earlier build wrote and this one did not."""
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path not in self.written:
                path.unlink()


def places():
    """Repository path of every page: its path in the site."""
    found = dict(PLACES)
    for path in sorted((ROOT / "docs").glob("*.md")):
        name = path.relative_to(ROOT).as_posix()
        found.setdefault(name, f"guides/{path.name}")
    for path in sorted((ROOT / "docs/site").rglob("*.md")):
        found[path.relative_to(ROOT).as_posix()] = path.relative_to(ROOT / "docs/site").as_posix()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        found[path.relative_to(ROOT).as_posix()] = f"notebooks/{path.name}"
    return {name: place for name, place in found.items() if (ROOT / name).exists()}


class Links:
    """Rewrites the links of one document."""

    def __init__(self, site, pages, source, place):
        self.site, self.pages, self.source, self.place = site, pages, source, place

    def target(self, to):
        if re.match(r"[a-z]+:", to) or to.startswith("#"):
            return to
        path, _, anchor = to.partition("#")
        anchor = anchor and f"#{anchor}"
        # from a page of docs/site/ a link may also name the place in the site
        inside = os.path.normpath(os.path.join(os.path.dirname(self.place), path))
        if self.source.startswith("docs/site/") and inside in {*self.pages.values(), *self.generated()}:
            return to
        name = os.path.normpath(os.path.join(os.path.dirname(self.source), path))
        folder = re.fullmatch(r"docs/results/([^/]+)", name)
        figure = re.fullmatch(r"docs/figures/([^/]+\.png)", name)
        place = self.pages.get(name) or SHOWN.get(name) or (f"results/{folder[1]}.md" if folder and (ROOT / name).is_dir() else None)
        if place is None:
            if not (ROOT / name).is_file():
                raise SystemExit(f"{self.source}: the link {to} leads to {name}, which is no page and no file of the repository")
            place = f"images/{figure[1]}" if figure else f"files/{name}"
            self.site.write(place, (ROOT / name).read_bytes())
        return os.path.relpath(place, os.path.dirname(self.place) or ".") + anchor

    @staticmethod
    def generated():
        return {f"results/{d.name}.md" for d in (ROOT / "docs/results").iterdir() if d.is_dir()}

    def rewrite(self, text):
        def one(match):
            if match["to"]:
                return match["head"] + self.target(match["to"]) + ")"
            if match["dto"]:
                return match["dhead"] + self.target(match["dto"])
            # rustdoc's own words after the language mean nothing to a reader of the page
            return re.sub(r"^```rust,\S+", "```rust", match[0]) if match["fence"] else match[0]

        return TOKEN.sub(one, text)


# `U_θ`, `e^{−U_θ}`, `N_eff`, `h^.95`, but no name such as log_z
INDEX = re.compile(
    r"(?P<of>(?<![\w`])[^\W\d_]\u0302?|[∂∇Σ)⟩\]]|mean)(?P<kind>[_^])"
    r"(?P<by>\{[^{}]*\}|(?<=∂_)[a-z]|[α-ωΑ-Ω*]|[A-Z0-9](?!\w)|[a-z]{1,4}(?![\w{])|[−-]?\.?\d+)")


def typeset(text):
    """Text with its subscripts and superscripts set as such; code and formulas stay."""
    def one(match):
        # an index may have one of its own: e^{−U_θ}
        tag, inner = "sub" if match["kind"] == "_" else "sup", INDEX.sub(one, match["by"].strip("{}"))
        return f"{match['of']}<{tag}>{inner}</{tag}>"

    parts, end = [], 0
    for token in TOKEN.finditer(text):
        parts += [INDEX.sub(one, text[end:token.start()]), token[0]]
        end = token.end()
    return "".join([*parts, INDEX.sub(one, text[end:])])


def section(file, heading):
    """What stands under a heading of a document, down to the next one of its level."""
    text = (ROOT / file).read_text()
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,2}} |\Z)", text, re.M | re.S)
    if not found:
        raise SystemExit(f"{file} has no heading {heading!r}, which a page of docs/site/ shows")
    return found[2].strip()


def example(file, number):
    """A tested example of the documentation in a Rust file, without the lines that rustdoc hides."""
    blocks, block = [], None
    for line in (ROOT / file).read_text().splitlines():
        found = re.match(r"\s*//[/!] ?(.*)", line)
        text = found[1] if found else ""
        if text.startswith("```"):
            if block is None:
                block = [text]
            else:
                blocks.append(block)
                block = None
        elif block is not None:
            block.append(text)
    tested = [b[1:] for b in blocks if b[0] in ("```", "```rust", "```no_run")]
    if len(tested) < number:
        raise SystemExit(f"{file} has {len(tested)} tested examples, but a page of docs/site/ shows number {number}")
    return "```rust\n" + "\n".join(line for line in tested[number - 1] if not re.match(r"\s*#( |$)", line)) + "\n```"


def opening(file):
    """The `//!` documentation that opens a Rust file, without its tested examples."""
    text = "\n".join(re.findall(r"^//! ?(.*)$", (ROOT / file).read_text(), re.M))
    text = re.sub(r"^```(.*)\n(?:.*\n)*?```$", lambda m: m[0] if m[1] == "text" else "", text, flags=re.M).strip()
    # a link to another item of the documentation is a name here
    return re.sub(r"\[(`[^`]+`)\](?:\([^)]*\))?", r"\1", text)


def shown(match):
    """What replaces a comment `<!-- from FILE: WHAT -->`."""
    file, what = match["file"], match["what"] or ""
    if file == "experiments/README.md":
        return tables.gallery(ROOT)
    if file == "notebooks/":
        return notebooks.gallery(ROOT)
    if file == "docs/results/":
        return tables.index(ROOT)
    if file == "tests/it/layers.rs":
        return tables.layers(ROOT)
    if file == "benches/":
        return performance.page(ROOT)
    if file == "rustdoc":
        # copied beside the pages by site.sh where `make doc` has been run
        made = Path(os.environ["JZ_DOC"], "jarzynski/index.html").exists()
        return '<a href="api/jarzynski/index.html">The library\'s own pages</a> are part of this site.' if made else \
            "This site was built without them: run the command, then `make site` again."
    if what == "opening":
        return opening(file)
    if what.startswith("example "):
        return example(file, int(what.removeprefix("example ")))
    if not what:
        return (ROOT / file).read_text().strip()
    heading, _, part = what.partition(" / ")
    text = section(file, heading)
    kind, _, number = part.partition(" ")
    found = {"": [text], "table": re.findall(r"(?:^\|.*\n?)+", text, re.M), "code": re.findall(r"^```.*?^```$", text, re.M | re.S)}.get(kind, [])
    if len(found) < int(number or 1):
        raise SystemExit(f"{file}, {heading}: a page of docs/site/ shows {part}, but there are {len(found)}")
    return found[int(number or 1) - 1].strip()


def main(folder):
    site, pages = Site(folder), places()
    for source, place in pages.items():
        path = ROOT / source
        links = Links(site, pages, source, place)
        if place.endswith(".ipynb"):
            site.write(place, notebooks.page(path, links))
            thumbnail = notebooks.thumbnail(path)
            if thumbnail:
                site.write(f"images/{path.stem}.svg", thumbnail)
            continue
        text = path.read_text()
        # what is shown of another file has that file's links
        text = FROM.sub(lambda m: Links(site, pages, m["file"], place).rewrite(shown(m)), links.rewrite(text))
        site.write(place, typeset(text))
    for name, text in tables.pages(ROOT):
        site.write(name, text)
    for path in sorted((ROOT / "docs/figures").glob("*.png")):
        site.write(f"images/{path.name}", path.read_bytes())
    for path in sorted((ROOT / "docs/results").rglob("*.csv")):
        site.write(f"results/{path.relative_to(ROOT / 'docs/results')}", path.read_bytes())
    site.write("conf.py", (ROOT / "docs/site/conf.py").read_bytes())
    for name in ("style.css", "favicon.svg"):
        site.write(f"static/{name}", (ROOT / "docs/site" / name).read_bytes())
    mathjax = tables.package("sphinx-mathjax-offline") / "static/mathjax/tex-svg.js"
    (site.folder / "static").mkdir(exist_ok=True)
    if not (site.folder / "static/tex-svg.js").exists():
        shutil.copyfile(mathjax, site.folder / "static/tex-svg.js")
    site.written.add(site.folder / "static/tex-svg.js")
    site.sweep()


if __name__ == "__main__":
    main(sys.argv[1])
