"""Prepare executed notebooks as pages: nothing is executed, figures get an alternative text, links lead to pages."""
import html
import json
import re
from pathlib import Path


def joined(value):
    return value if isinstance(value, str) else "".join(value)


def title(path):
    """The first heading of a notebook."""
    for cell in json.loads(path.read_text())["cells"]:
        found = re.search(r"^# (.+)$", joined(cell["source"]), re.M)
        if cell["cell_type"] == "markdown" and found:
            return found[1]
    raise SystemExit(f"{path}: expected a first heading, which titles its page")


def described(svg, heading):
    """What a figure shows: the section it stands in and the texts in it that are no numbers."""
    words = []
    for text in re.findall(r"<text[^>]*>\s*([^<]*?)\s*</text>", svg):
        if re.search(r"[A-Za-zα-ω]{2}", text) and text not in words:
            words.append(html.unescape(text))
    return f"Figure in the section “{heading}”" + (f": {', '.join(words[:12])}" if words else "")


def plain(markdown):
    """A heading without marks: `code`, $formulas$."""
    return re.sub(r"\\[a-z]*|[`${}]", "", markdown).strip()


def page(path, links):
    """The notebook at `path` with what a page of the site needs, as JSON."""
    book = json.loads(path.read_text())
    # the name of the key that Pygments' users agree on; the kernel writes another
    book["metadata"].setdefault("language_info", {})["pygments_lexer"] = "rust"
    heading, first = path.stem, True
    for cell in book["cells"]:
        if cell["cell_type"] == "markdown":
            text = links.rewrite(joined(cell["source"]))
            found = re.findall(r"^#+ (.+)$", text, re.M)
            if found:
                heading = plain(found[-1])
            if first and re.match(r"# ", text):
                text = re.sub(r"\A(# .+\n)", rf"\1\n```{{note}}\nA notebook with its outputs as they were committed. `make lab` opens it, "
                              rf"`make notebook-{path.stem}` executes it again: {{download}}`the file <{path.name}>`.\n```\n", text + "\n")
                first = False
            cell["source"] = text
            continue
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/svg+xml" in data:
                alt = described(joined(data["image/svg+xml"]), heading)
                cell.setdefault("metadata", {}).setdefault("mystnb", {})["image"] = {"alt": alt}
            if "text/html" in data:
                text = joined(data["text/html"])
                data["text/html"] = re.sub(
                    r"<svg (?![^>]*role=).*?</svg>", lambda m: m[0].replace(
                        "<svg ", f'<svg role="img" aria-label="{html.escape(described(m[0], heading))}" ', 1), text, flags=re.S)
    return json.dumps(book, ensure_ascii=False, indent=1)


def thumbnail(path):
    """The first figure of a notebook, as SVG."""
    for cell in json.loads(path.read_text())["cells"]:
        for output in cell.get("outputs", []):
            if "image/svg+xml" in output.get("data", {}):
                return joined(output["data"]["image/svg+xml"])
    return None


def gallery(root):
    """A card for each notebook."""
    cards = []
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        image = f":img-top: images/{path.stem}.svg\n:img-alt: First figure of the notebook {path.stem}\n" if thumbnail(path) else ""
        cards.append(f":::{{grid-item-card}} {title(path)}\n:link: notebooks/{path.stem}\n:link-type: doc\n{image}\n"
                     f"`make notebook-{path.stem}`\n:::")
    return "::::{grid} 1 1 2 2\n:gutter: 3\n\n" + "\n\n".join(cards) + "\n::::"
