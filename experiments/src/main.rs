//! Run experiments and show checkpointed runs from the command line; `jarzynski --help` says how.

use jarzynski::io::{frame, write_atomic, write_table};
use jarzynski::sweep::Claim;
use jarzynski::{Error, Result, Run, device, display};
use jarzynski_experiments::results::Manifest;
use jarzynski_experiments::sweep::{self, Plan};
use jarzynski_experiments::{Context, Entry, Size, config, find, registry};
use std::path::{Path, PathBuf};
use std::time::Duration;

const USAGE: &str = "\
Runs the experiments of the library jarzynski and shows what they and your own runs left.

jarzynski list                  names all experiments and says what each shows
jarzynski NAME [options]        runs one; tables, figures and manifest.json go to results/NAME/
jarzynski run NAME [options]    does the same
jarzynski resume DIR            continues an experiment that was interrupted in that folder
jarzynski config NAME           prints its settings, as TOML
jarzynski show DIR              prints a kept run or a result: summary, curves, tables
jarzynski compare DIR DIR...    puts kept runs into one table and one figure, in --out DIR

jarzynski sweep plan FILE --shards N   plans seeds x settings of an experiment, in --out DIR (results/NAME of NAME.toml)
jarzynski sweep run DIR --shard I      computes members that no other process has; start any number, anywhere
jarzynski sweep collect DIR            puts the members' tables together, in DIR/collected

Options of a run:
  --KEY VALUE     changes one setting: --walkers 1e4, --lr .05, --h '[.1, .2]'
  --config FILE   changes the settings that a TOML file names
  --full          takes the published size; takes hours
  --small         takes the smallest size; takes seconds
  --seed S        sets the first seed
  --out DIR       writes to another folder
  --device D      computes on cpu (the default) or cuda:0
Other options:
  --stale SECS    says when `sweep run` takes over from a process that is silent (300)
  --columns A,B   says what `compare` plots
  --version       prints the version
  --help          prints this text

A VALUE is a number, true, false, a list in brackets, or text. In KEY, `-` may stand for `_`.
For scripts: `jarzynski list names`, `list figures` (those of `make figures`), `list data` (name and data set).";

/// What the command line requests.
#[derive(Default)]
struct Request {
    words: Vec<String>,
    overrides: toml::Table,
    size: Size,
    out: Option<PathBuf>,
    device: Option<String>,
    columns: Option<String>,
}

fn parse() -> Result<Request> {
    use lexopt::prelude::*;
    let bad = |e: lexopt::Error| Error::param("arguments", e, "as `jarzynski --help` says");
    let mut request = Request::default();
    let (mut files, mut keys) = (toml::Table::new(), toml::Table::new());
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next().map_err(bad)? {
        match arg {
            Short('h') | Long("help") => request.words = vec!["help".into()],
            Short('V') | Long("version") => request.words = vec!["version".into()],
            Long("full") => request.size = Size::Full,
            Long("small") => request.size = Size::Small,
            Long("out") => request.out = Some(args.value().map_err(bad)?.into()),
            Long("device") => request.device = Some(args.value().map_err(bad)?.string().map_err(bad)?),
            Long("columns") => request.columns = Some(args.value().map_err(bad)?.string().map_err(bad)?),
            Long("config") => {
                let path = PathBuf::from(args.value().map_err(bad)?);
                let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
                files = text.parse().map_err(|e| malformed(&path, &text, &e))?;
            }
            Long(key) => {
                let key = key.replace('-', "_");
                let text = args.value().map_err(bad)?.string().map_err(bad)?;
                keys.insert(key, config::value(&text));
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
fn malformed(path: &Path, text: &str, e: &toml::de::Error) -> Error {
    let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or("");
    let (line, column) =
        (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
    let place = format!("line {line}, column {column}");
    Error::data(path, place, format!("TOML ({})", e.message().trim().replace('\n', " ")))
}

fn run() -> Result<()> {
    let mut request = parse()?;
    let words = std::mem::take(&mut request.words);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] | ["help"] => println!("{USAGE}"),
        ["version"] => println!("jarzynski {}", env!("CARGO_PKG_VERSION")),
        ["list"] => registry::ALL.iter().for_each(|e| println!("{:<14} {}", e.name, e.about)),
        ["list", "names"] => registry::ALL.iter().for_each(|e| println!("{}", e.name)),
        ["list", "figures"] => registry::ALL.iter().filter(|e| !e.on_request).for_each(|e| println!("{}", e.name)),
        ["list", "data"] => {
            registry::ALL
                .iter()
                .filter_map(|e| Some((e.name, e.data?)))
                .for_each(|(name, set)| println!("{name} {set}"));
        }
        ["config", name] => print!("{}", find(name)?.config(&request.overrides, request.size)?),
        ["show", dir] => print!("{}", look(Path::new(dir))?),
        ["compare", first, ref rest @ ..] if !rest.is_empty() => {
            let dirs: Vec<&Path> = [first].iter().chain(rest).map(|d| Path::new(*d)).collect();
            compare(&dirs, &request)?;
        }
        ["resume", dir] => {
            let (entry, config) = registry::begun(Path::new(dir))?;
            run_entry(entry, &config, PathBuf::from(dir), true, &request)?;
        }
        ["sweep", "plan", file] => plan(Path::new(file), request)?,
        ["sweep", "run", dir] => shard(Path::new(dir), request)?,
        ["sweep", "collect", dir] => {
            nothing_left(&request.overrides)?;
            let names = sweep::collect(Path::new(dir))?;
            println!("tables {} in {}", names.join(", "), Path::new(dir).join("collected").display());
        }
        ["sweep", ..] => {
            return Err(Error::param(
                "arguments",
                words.join(" "),
                "sweep plan FILE, sweep run DIR or sweep collect DIR",
            ));
        }
        ["run", name] | [name] => {
            let entry = find(name)?;
            let dir = request.out.clone().unwrap_or_else(|| PathBuf::from("results").join(name));
            run_entry(entry, &request.overrides, dir, false, &request)?;
        }
        _ => return Err(Error::param("arguments", words.join(" "), "one experiment; see `jarzynski --help`")),
    }
    Ok(())
}

/// A whole number of the command line, taken out of the settings.
fn count(request: &mut Request, key: &'static str) -> Result<Option<usize>> {
    let Some(value) = request.overrides.remove(key) else { return Ok(None) };
    let number = value.as_integer().and_then(|n| usize::try_from(n).ok());
    number.map(Some).ok_or_else(|| Error::param(key, value, "a whole number, 0 or more"))
}

fn nothing_left(overrides: &toml::Table) -> Result<()> {
    match overrides.keys().next() {
        Some(key) => {
            Err(Error::param("arguments", format!("--{key}"), "no setting here: those of a sweep are in its plan"))
        }
        None => Ok(()),
    }
}

/// Plans a sweep and says how its shards are started.
fn plan(file: &Path, mut request: Request) -> Result<()> {
    let shards = count(&mut request, "shards")?;
    let shards =
        shards.ok_or_else(|| Error::param("shards", "missing", "--shards N, how many processes share the work"))?;
    if request.size != Size::Usual {
        return Err(Error::param("arguments", "--small or --full", "`size` in the sweep's file"));
    }
    let device = request.device.as_deref().unwrap_or("cpu");
    let plan = Plan::read_file(file, &request.overrides, device, shards)?;
    let dir = request.out.unwrap_or_else(|| Path::new("results").join(file.file_stem().unwrap_or_default()));
    let dir = std::path::absolute(&dir).map_err(|e| Error::io(&dir, e))?;
    plan.write(&dir)?;
    let program = std::env::current_exe().map_err(|e| Error::io("jarzynski", e))?;
    let scripts = [
        ("shards.slurm", sweep::slurm(&plan, &dir, &program)),
        ("parallel.sh", sweep::parallel(&plan, &dir, &program)),
    ];
    for (name, text) in &scripts {
        let path = dir.join(name);
        write_atomic(&path, |out| out.write_all(text.as_bytes()).map_err(|e| Error::io(&path, e)))?;
    }
    println!(
        "{} members of {} in {} shards\non Slurm:        sbatch {}\non this machine: bash {}\none by one:      jarzynski sweep run {} --shard 0",
        plan.members.len(),
        plan.experiment,
        plan.shards,
        dir.join("shards.slurm").display(),
        dir.join("parallel.sh").display(),
        dir.display()
    );
    Ok(())
}

/// Runs one shard of a sweep.
fn shard(dir: &Path, mut request: Request) -> Result<()> {
    let shard = count(&mut request, "shard")?;
    let shard =
        shard.ok_or_else(|| Error::param("shard", "missing", "--shard I, from 0 to the number of shards less 1"))?;
    let stale = count(&mut request, "stale")?.map_or(Claim::STALE, |s| Duration::from_secs(s as u64));
    nothing_left(&request.overrides)?;
    let done = sweep::work(dir, shard, stale)?;
    let elsewhere = match done.elsewhere {
        0 => "none is left to compute".to_string(),
        n => format!("{n} are in the hands of other processes"),
    };
    println!("shard {shard}: computed {} members, {} of them failed; {elsewhere}", done.computed, done.failed);
    Ok(())
}

/// Runs an experiment and says what came out.
fn run_entry(entry: &Entry, config: &toml::Table, dir: PathBuf, resume: bool, request: &Request) -> Result<()> {
    let device = device(request.device.as_deref().unwrap_or("cpu"))?;
    println!("{}: {}", entry.name, entry.about);
    let context = if resume { Context::on(device).resuming() } else { Context::on(device) };
    let size = if resume { Size::Usual } else { request.size };
    let (manifest, notes) = entry.run(config, size, &dir, &context)?;
    notes.iter().for_each(|line| println!("  {line}"));
    let tables: Vec<&str> = manifest.tables.iter().map(|t| t.name.as_str()).collect();
    println!(
        "{}: {:.0} s; tables {} and figures {} in {}",
        entry.name,
        manifest.info.seconds,
        tables.join(", "),
        manifest.figures.join(", "),
        dir.display()
    );
    Ok(())
}

/// A checkpointed run or a result, as text.
fn look(dir: &Path) -> Result<String> {
    if dir.join("run.json").exists() {
        return Ok(Run::open(dir)?.overview(std::io::IsTerminal::is_terminal(&std::io::stdout())) + "\n");
    }
    if !dir.join("manifest.json").exists() {
        return Err(Error::param(
            "folder",
            dir.display(),
            "one with run.json (a kept run) or manifest.json (a result)",
        ));
    }
    let m = Manifest::read(dir)?;
    let info = &m.info;
    let mut text =
        format!("{}, seed {}: {:.0} s on {}, {}\n", info.label, info.seed, info.seconds, m.device, m.started);
    for table in &m.tables {
        text += &format!("{:<14} {} rows: {}\n", table.name, table.rows, shortened(&table.columns.join(", "), 50));
    }
    text += &format!("figures        {}\n", m.figures.join(", "));
    if m.tables.iter().any(|t| t.name == "summary") {
        text += &format!("\n{}\n", display::show(&frame::read(dir.join("summary.parquet"))?).text);
    }
    Ok(text)
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width { text.into() } else { text.chars().take(width - 1).collect::<String>() + "…" }
}

/// Kept runs side by side: a table of their last rows, and their curves over each other.
fn compare(dirs: &[&Path], request: &Request) -> Result<()> {
    let name = |dir: &Path| {
        let path = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
        path.file_name().map_or_else(|| dir.display().to_string(), |n| n.to_string_lossy().into_owned())
    };
    let mut names: Vec<String> = dirs.iter().map(|d| name(d)).collect();
    if (1..names.len()).any(|i| names[..i].contains(&names[i])) {
        names = dirs.iter().map(|d| d.display().to_string()).collect();
    }
    let runs = dirs.iter().map(Run::open).collect::<Result<Vec<_>>>()?;
    let columns: Vec<String> = match &request.columns {
        Some(list) => list.split(',').map(|c| c.trim().to_string()).collect(),
        None => {
            let telling = [["cross_entropy_monitor", "energy_data"], ["log_z_monitor", "log_z"], ["ess", "grad_norm"]];
            let common = |c: &&&str| runs.iter().all(|r| r.column(c).is_ok());
            telling.iter().filter_map(|any| any.iter().find(common)).map(|c| c.to_string()).collect()
        }
    };
    let mut head = vec!["run", "kind", "ended", "step", "seconds"];
    head.extend(columns.iter().map(String::as_str));
    let mut rows = frame::Rows::new(&head);
    let last = |run: &Run, c: &str| Ok::<_, Error>(run.column(c)?.last().copied().unwrap_or(f64::NAN));
    for (name, run) in names.iter().zip(&runs) {
        let mut cells: Vec<frame::Cell> = vec![
            name.into(),
            run.label.as_str().into(),
            run.outcome.word().into(),
            last(run, "step")?.into(),
            run.seconds.into(),
        ];
        for c in &columns {
            cells.push(last(run, c)?.into());
        }
        rows.push(cells);
    }
    let table = rows.finish()?;
    let out = request.out.clone().unwrap_or_else(|| PathBuf::from("compare"));
    std::fs::create_dir_all(&out).map_err(|e| Error::io(&out, e))?;
    write_table(&table, &out, "compare")?;
    #[cfg(feature = "plot")]
    curves(&names, &runs, &columns)?.save(&out, "compare")?;
    println!("{}\ntable and figure: {}", turned(&table)?, out.join("compare.*").display());
    Ok(())
}

/// A table with a line for each column, which fits a terminal where a few rows have many.
fn turned(table: &jarzynski::polars::prelude::DataFrame) -> Result<String> {
    let mut lines = Vec::new();
    let names: Vec<String> = table.get_column_names().iter().map(|n| n.to_string()).collect();
    for name in &names {
        let cells = match frame::column_f64(table, name) {
            Ok(v) => v.iter().map(|v| display::number(*v)).collect(),
            Err(_) => frame::column_str(table, name)?,
        };
        let cells: Vec<String> = cells.iter().map(|c| format!("{:>14}", shortened(c, 14))).collect();
        lines.push(format!("{name:<22}{}", cells.join(" ")));
    }
    Ok(lines.join("\n"))
}

#[cfg(feature = "plot")]
fn curves(names: &[String], runs: &[Run], columns: &[String]) -> Result<jarzynski::plot::Figure> {
    use jarzynski::plot::{Figure, Panel};
    let across = columns.len().clamp(1, 3);
    let height = 300 * columns.len().div_ceil(across).max(1) as u32;
    let mut figure = Figure::new(320 * across as u32 + 40, height).columns(across);
    for column in columns {
        let unit = jarzynski::run::record::column(column).map_or("", |c| c.unit);
        let label = if unit.is_empty() { column.clone() } else { format!("{column} / {unit}") };
        let mut panel = Panel::new("").x("step").y(&label);
        for (name, run) in names.iter().zip(runs) {
            panel = panel.line(name, &run.column("step")?, &run.column(column)?);
        }
        figure = figure.panel(panel);
    }
    Ok(figure)
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
