//! Write one page that shows all results below a folder: figures, tables, what was measured, and how to make the rest.

use crate::registry::{self, Entry, duration};
use crate::results::Manifest;
use jarzynski::display::show;
use jarzynski::io::{escape, frame, write_atomic};
use jarzynski::{Error, Result};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const STYLE: &str = "\
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2.5rem;border-top:1px solid #8886;padding-top:1rem}
.facts{font-size:.85rem;opacity:.75}
img{max-width:100%;height:auto;background:#fff;border-radius:4px}
pre{overflow-x:auto;font-size:.85rem;background:#8881;padding:.6rem;border-radius:4px}
nav a{display:inline-block;margin:0 .8rem .2rem 0}
summary{cursor:pointer}details{margin:.4rem 0}
.list{overflow-x:auto}.list table{border-collapse:collapse}.list td{padding:.15em .8em;vertical-align:top}";

/// A result below the folder, or one that was begun and did not finish.
enum Found {
    Finished(Box<Manifest>),
    Begun,
}

/// Writes `dir/index.html` from the manifests, tables and figures in the folders of `dir`, and returns its path. The page
/// loads nothing from elsewhere.
///
/// # Errors
/// `Io` where `dir` cannot be read or written; `Data` and `Table` for a result that is damaged.
pub fn write(dir: impl AsRef<Path>) -> Result<PathBuf> {
    let dir = dir.as_ref();
    let found = results(dir)?;
    let page = page(dir, &found)?;
    let path = dir.join("index.html");
    write_atomic(&path, |out| out.write_all(page.as_bytes()).map_err(|e| Error::io(&path, e)))?;
    Ok(path)
}

/// What lies in the folders of `dir`, by folder, in the order of the registry; other folders come last.
fn results(dir: &Path) -> Result<Vec<(String, Found)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))? {
        let path = entry.map_err(|e| Error::io(dir, e))?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()).map(str::to_string) else { continue };
        if path.join("manifest.json").is_file() {
            found.push((name, Found::Finished(Box::new(Manifest::read(&path)?))));
        } else if crate::context::begun(&path).is_ok() {
            found.push((name, Found::Begun));
        }
    }
    let place = |name: &str| registry::ALL.iter().position(|e| e.name == name).unwrap_or(usize::MAX);
    found.sort_by(|a, b| (place(&a.0), &a.0).cmp(&(place(&b.0), &b.0)));
    Ok(found)
}

fn page(dir: &Path, found: &[(String, Found)]) -> Result<String> {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"icon\" href=\"data:,\"><title>Results of jarzynski</title><style>\n{STYLE}\n</style></head><body>\n\
         <h1>Results</h1>\n"
    );
    if found.is_empty() {
        out += "<p>There are none yet. <code>make figures</code> makes them.</p>\n";
    }
    out += "<nav>";
    for (name, _) in found {
        let _ = write!(out, "<a href=\"#{0}\">{0}</a>", escape(name));
    }
    out += "</nav>\n";
    for (name, result) in found {
        match result {
            Found::Finished(manifest) => finished(&mut out, dir, name, manifest)?,
            Found::Begun => {
                let name = escape(name);
                let _ = writeln!(
                    out,
                    "<h2 id=\"{name}\">{name}</h2>\n<p>It is running, or was interrupted. To go on with it: \
                     <code>jarzynski resume {}</code></p>",
                    escape(&dir.join(&name).display().to_string())
                );
            }
        }
    }
    missing(&mut out, found);
    out += "</body></html>\n";
    Ok(out)
}

fn finished(out: &mut String, dir: &Path, name: &str, m: &Manifest) -> Result<()> {
    let (id, info) = (escape(name), &m.info);
    let _ = writeln!(out, "<h2 id=\"{id}\">{id}</h2>");
    if let Some(entry) = registry::ALL.iter().find(|e| e.name == info.label) {
        let _ = writeln!(out, "<p>{}.</p>", escape(&capital(entry.about)));
    }
    let revision = m.git.as_deref().map_or(String::new(), |git| {
        let (commit, dirty) =
            git.split_once('-').map_or((git, ""), |(c, _)| (c, ", with changes that were not committed"));
        format!(", revision {}{dirty}", &commit.get(..10).unwrap_or(commit))
    });
    let _ = writeln!(
        out,
        "<p class=\"facts\">Seed {}, {:.0} s on {}, {}{revision}</p>",
        info.seed,
        info.seconds,
        escape(&m.device),
        escape(&m.started)
    );
    if !info.notes.is_empty() {
        let _ = writeln!(out, "<pre>{}</pre>", escape(&info.notes.join("\n")));
    }
    for figure in &m.figures {
        let f = escape(figure);
        let _ = writeln!(
            out,
            "<p><a href=\"{id}/{f}.svg\"><img src=\"{id}/{f}.svg\" alt=\"Figure {f} of the experiment {id}\" \
             loading=\"lazy\"></a></p>"
        );
    }
    for table in &m.tables {
        let t = escape(&table.name);
        let shown = show(&frame::read(dir.join(name).join(format!("{}.parquet", table.name)))?).html;
        // the table that sums up the others is open
        let open = if table.name == "summary" { " open" } else { "" };
        let _ = writeln!(
            out,
            "<details{open}><summary>Table {t} (<a href=\"{id}/{t}.csv\">CSV</a>, \
             <a href=\"{id}/{t}.parquet\">Parquet</a>)</summary>\n{shown}\n</details>"
        );
    }
    let config = serde_json::to_string_pretty(&info.config)
        .map_err(|e| Error::data(dir.join(name).join("manifest.json"), "config", format!("JSON ({e})")))?;
    let _ = writeln!(
        out,
        "<details><summary>Settings (<a href=\"{id}/manifest.json\">manifest.json</a>)</summary><pre>{}</pre></details>",
        escape(&config)
    );
    Ok(())
}

/// The experiments without a result here.
fn missing(out: &mut String, found: &[(String, Found)]) {
    let rest: Vec<&Entry> = registry::ALL.iter().filter(|e| found.iter().all(|(name, _)| name != e.name)).collect();
    if rest.is_empty() {
        return;
    }
    *out += "<h2 id=\"not-run-here\">Not run here</h2>\n<div class=\"list\"><table>\n";
    for e in rest {
        let _ = writeln!(
            out,
            "<tr><td><code>make figure-{}</code></td><td>about {}</td><td>{}</td></tr>",
            escape(e.name),
            duration(e.seconds),
            escape(e.about)
        );
    }
    *out += "</table></div>\n";
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
