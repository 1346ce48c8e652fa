"""Settings of the site's generator. Read from the folder that scripts/site/stage.py writes, where JZ_ROOT names the clone."""
import os
import re
from pathlib import Path

cargo = Path(os.environ["JZ_ROOT"], "Cargo.toml").read_text()
project = "jarzynski"
release = version = re.search(r'^version = "(.+?)"', cargo, re.M)[1]
html_title = f"jarzynski {release}"
extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinx_design"]
exclude_patterns = ["files", "static"]

nb_execution_mode = "off"    # pages show what was committed
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["style.css"]
html_favicon = "static/favicon.svg"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": False}
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"

mathjax_path = "tex-svg.js"    # of the folder static: no formula needs a network
mathjax3_config = {
    "options": {"enableMenu": False},
    "svg": {"fontCache": "local"},
}
