"""Test the built pages without a browser: `check.py FOLDER`.

Every internal link leads to a page and to a place on it, every page has a title and one first heading, every image has an
alternative text, and nothing is loaded from a foreign host.
"""
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# attributes whose address a browser fetches by itself; a link that a reader follows may lead anywhere
FETCHED = {"img": ("src", "srcset"), "script": ("src",), "iframe": ("src",), "source": ("src", "srcset"), "video": ("src", "poster"),
           "audio": ("src",), "embed": ("src",), "object": ("data",), "input": ("src",), "use": ("href", "xlink:href"), "image": ("href", "xlink:href")}
FETCHING_LINKS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload", "manifest"}
FOREIGN = re.compile(r"^(?:[a-z][a-z0-9+.-]*:)?//", re.I)
# pages that the generator makes for itself: without content of their own
MACHINERY = {"genindex.html", "search.html"}


def written(folder):
    """The site's own pages: those of rustdoc, which lie beside them, are rustdoc's business."""
    return [p for p in sorted(folder.rglob("*.html")) if p.relative_to(folder).parts[0] != "api"]


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.title, self.headings, self.ids, self.links, self.fetched, self.faults, self.within = "", [], set(), [], [], [], []

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        self.ids |= {a[k] for k in ("id", "name") if a.get(k)}
        if tag in ("title", "h1", "svg", "article"):
            self.within.append(tag)
        if tag == "h1":
            self.headings.append("")
        if tag == "a" and a.get("href"):
            self.links.append(a["href"])
        if tag == "img" and not (a.get("alt") or "").strip():
            self.faults.append(f"an image without an alternative text: {a.get('src', '')[:80]}")
        # icons of the theme stand outside the article, in buttons that have a name
        if tag == "svg" and "article" in self.within and self.within.count("svg") == 1 and not (a.get("aria-label") or a.get("aria-hidden") == "true"):
            self.faults.append(f"a drawing without a label: <svg {' '.join(f'{k}={v}' for k, v in attributes)[:80]}>")
        for name in FETCHED.get(tag, ()):
            if a.get(name):
                self.fetched += [part.split()[0] for part in a[name].split(",") if part.strip()] if name == "srcset" else [a[name]]
        if tag == "link" and set((a.get("rel") or "").split()) & FETCHING_LINKS and a.get("href"):
            self.fetched.append(a["href"])
        if a.get("style"):
            self.fetched += re.findall(r"url\(['\"]?([^'\")]+)", a["style"])

    def handle_startendtag(self, tag, attributes):    # <svg/>
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag in self.within:
            while self.within and self.within.pop() != tag:
                pass

    def handle_data(self, data):
        # the title of a drawing is none of the page's
        if "title" in self.within and "svg" not in self.within:
            self.title += data
        elif self.within and self.within[-1] == "h1":
            self.headings[-1] += data


def read(path):
    page = Page()
    page.feed(path.read_text())
    return page


def faults(folder):
    """Everything that is wrong, as `page: what`."""
    pages = {path.relative_to(folder).as_posix(): read(path) for path in written(folder)}
    for name, page in pages.items():
        found = list(page.faults)
        if name not in MACHINERY:
            if not page.title.split("-")[0].strip():
                found.append("no title")
            if len(page.headings) != 1 or not page.headings[0].strip(" ¶#\n"):
                found.append(f"{len(page.headings)} first headings, expected one with a text")
        for address in page.fetched:
            if FOREIGN.match(address):
                found.append(f"loads from a foreign host: {address}")
        for address in page.links + page.fetched:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (folder / name).parent / unquote(parts.path) if parts.path else folder / name
            target = target.resolve()
            if target.is_dir():
                target = target / "index.html"
            if not target.is_file():
                found.append(f"a link to nothing: {address}")
            elif parts.fragment and (inside := target.relative_to(folder.resolve()).as_posix()) in pages:
                if unquote(parts.fragment) not in pages[inside].ids:
                    found.append(f"a link to a place that the page has not: {address}")
        yield from (f"{name}: {what}" for what in found)
    for path in sorted(folder.rglob("*.css")):
        for address in re.findall(r"url\(['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", path.read_text()):
            address = next(filter(None, address))
            if FOREIGN.match(address):
                yield f"{path.relative_to(folder)}: loads from a foreign host: {address}"


def main(folder):
    found = sorted(set(faults(folder)))
    count = len(written(folder))
    print("\n".join(found) if found else f"{count} pages: links, titles, alternative texts and hosts are in order")
    if found or count < 10:
        raise SystemExit(f"{len(found)} faults in {count} pages of {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
