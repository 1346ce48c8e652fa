//! Run an experiment from the command line: `jarzynski NAME [--config FILE] [--full] [--seed S] [--out DIR] [--KEY VALUE]`.

use jarzynski::{Error, Result, experiments};
use std::path::PathBuf;

const USAGE: &str = "\
jarzynski NAME [options]     run an experiment: tables, figures and manifest.json go to results/NAME/
jarzynski list               what there is
jarzynski config NAME        its configuration, as TOML

  --config FILE   TOML over the defaults        --full      the published size
  --KEY VALUE     one key over the defaults     --seed S    the first seed
  --out DIR       another folder for results    --version   of this program

VALUE is read as TOML (3, 0.5, true, [1, 2]), else as text; `-` may stand for `_` in KEY.";

/// What the command line asks for.
struct Request {
    words: Vec<String>,
    overrides: toml::Table,
    full: bool,
    out: Option<PathBuf>,
}

fn parse() -> Result<Request> {
    use lexopt::prelude::*;
    let bad = |e: lexopt::Error| Error::param("arguments", e, "as `jarzynski --help` says");
    let mut request = Request { words: Vec::new(), overrides: toml::Table::new(), full: false, out: None };
    let (mut files, mut keys) = (toml::Table::new(), toml::Table::new());
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next().map_err(bad)? {
        match arg {
            Short('h') | Long("help") => request.words = vec!["help".into()],
            Short('V') | Long("version") => request.words = vec!["version".into()],
            Long("full") => request.full = true,
            Long("out") => request.out = Some(args.value().map_err(bad)?.into()),
            Long("config") => {
                let path = PathBuf::from(args.value().map_err(bad)?);
                let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
                files = text.parse().map_err(|e| malformed(&path, &text, &e))?;
            }
            Long(key) => {
                let key = key.replace('-', "_");
                let text = args.value().map_err(bad)?.string().map_err(bad)?;
                keys.insert(key, value(&text));
            }
            Value(word) => request.words.push(word.string().map_err(bad)?),
            other => return Err(Error::param("arguments", format!("{other:?}"), "as `jarzynski --help` says")),
        }
    }
    request.overrides = files;
    request.overrides.extend(keys);
    Ok(request)
}

/// File, line and column of what is not TOML.
fn malformed(path: &std::path::Path, text: &str, e: &toml::de::Error) -> Error {
    let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or("");
    let (line, column) =
        (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
    let place = format!("line {line}, column {column}");
    Error::data(path, place, format!("TOML ({})", e.message().trim().replace('\n', " ")))
}

/// `3`, `0.5`, `true`, `[1, 2]` as TOML reads them, anything else as a string.
fn value(text: &str) -> toml::Value {
    let line: std::result::Result<toml::Table, _> = format!("v = {text}").parse();
    line.ok().and_then(|mut t| t.remove("v")).unwrap_or_else(|| toml::Value::String(text.into()))
}

fn run() -> Result<()> {
    let request = parse()?;
    let words: Vec<&str> = request.words.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["help"] => println!("{USAGE}"),
        ["version"] => println!("jarzynski {}", env!("CARGO_PKG_VERSION")),
        ["list"] => experiments::ALL.iter().for_each(|e| println!("{:<14} {}", e.name, e.about)),
        ["config", name] => print!("{}", experiments::find(name)?.config(&request.overrides, request.full)?),
        [name] => {
            let entry = experiments::find(name)?;
            let dir = request.out.unwrap_or_else(|| PathBuf::from("results").join(name));
            println!("{name}: {}", entry.about);
            let (manifest, notes) = entry.run(&request.overrides, request.full, &dir)?;
            notes.iter().for_each(|line| println!("  {line}"));
            let tables: Vec<&str> = manifest.tables.iter().map(|t| t.name.as_str()).collect();
            println!(
                "{name}: {:.0} s; tables {} and figures {} in {}",
                manifest.duration_s,
                tables.join(", "),
                manifest.figures.join(", "),
                dir.display()
            );
        }
        _ => return Err(Error::param("arguments", words.join(" "), "one experiment; see `jarzynski --help`")),
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("jarzynski: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
