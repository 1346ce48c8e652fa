//! Run experiments, show their results and kept runs, and start projects; `jarzynski --help` says how.

mod cli;

use cli::arguments::{Request, hint, parse};
use cli::{commands, completions, doctor, new, show, sweep};
use jarzynski::{Error, Result, device};
use jarzynski_experiments::{Context, Entry, Size, find, index, registry};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where results go unless `--out` says otherwise.
const RESULTS: &str = "results";

fn run() -> Result<ExitCode> {
    let mut request = parse()?;
    let words = std::mem::take(&mut request.words);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => print!("{}", commands::overview()),
        ["help"] if !request.help => print!("{}", commands::overview()),
        ["version"] => println!("jarzynski {}", env!("CARGO_PKG_VERSION")),
        ["help", name] => print!("{}", commands::help(name)?),
        // after `run` the name of the experiment tells more
        ["run", name, ..] | [name, ..] if request.help => print!("{}", commands::help(name)?),
        ["list"] => registry::ALL.iter().for_each(|e| println!("{:<15} {}", e.name, e.about)),
        ["list", "names"] => registry::ALL.iter().for_each(|e| println!("{}", e.name)),
        ["list", "figures"] => registry::plan().iter().for_each(|e| println!("{}", e.name)),
        ["list", "plan"] => registry::plan().iter().for_each(|e| println!("{} {}", e.name, e.seconds)),
        ["list", "data"] => {
            registry::ALL
                .iter()
                .filter_map(|e| Some((e.name, e.data?)))
                .for_each(|(name, set)| println!("{name} {set}"));
        }
        ["config", name] => print!("{}", find(name)?.config(&request.overrides, request.size)?),
        ["show", dir] => print!("{}", show::look(Path::new(dir))?),
        ["compare", first, ref rest @ ..] if !rest.is_empty() => {
            let dirs: Vec<&Path> = [first].iter().chain(rest).map(|d| Path::new(*d)).collect();
            show::compare(&dirs, request.columns.as_deref(), request.out.clone())?;
        }
        ["index"] => println!("{}", index::write(RESULTS)?.display()),
        ["index", dir] => println!("{}", index::write(dir)?.display()),
        ["new", path] => print!("{}", new::write(Path::new(path), request.library.as_deref())?),
        ["doctor"] => return doctor::run(),
        ["sweep", "plan", file] => sweep::plan(Path::new(file), request)?,
        ["sweep", "run", dir] => sweep::shard(Path::new(dir), request)?,
        ["sweep", "collect", dir] => sweep::collect(Path::new(dir), &request)?,
        ["completions", shell] => print!("{}", completions::script(shell)?),
        ["resume", dir] => {
            let (entry, config) = registry::begun(Path::new(dir))?;
            run_entry(entry, &config, PathBuf::from(dir), true, &request)?;
        }
        ["run", name] | [name] if commands::command(name).is_none() => {
            let entry = find(name)?;
            let dir = request.out.clone().unwrap_or_else(|| PathBuf::from(RESULTS).join(name));
            run_entry(entry, &request.overrides, dir, false, &request)?;
            if request.out.is_none() {
                index::write(RESULTS)?;
            }
        }
        [name, ..] if name != "run" && commands::command(name).is_some() => {
            let usage = commands::command(name).map_or(String::new(), |c| format!("jarzynski {name} {}", c.arguments));
            return Err(Error::param("arguments", words.join(" "), format!("`{usage}`")));
        }
        _ => return Err(Error::param("arguments", words.join(" "), "one experiment; see `jarzynski --help`")),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs an experiment and says what came out.
fn run_entry(entry: &Entry, config: &toml::Table, dir: PathBuf, resume: bool, request: &Request) -> Result<()> {
    let device = device(request.device.as_deref().unwrap_or("cpu"))?;
    println!("{}: {}", entry.name, entry.about);
    let context = if resume { Context::on(device).resuming() } else { Context::on(device) };
    let size = if resume { Size::Usual } else { request.size };
    let manifest = entry.run(config, size, &dir, &context)?;
    manifest.info.notes.iter().for_each(|line| println!("  {line}"));
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

fn main() -> ExitCode {
    run().unwrap_or_else(|e| {
        eprintln!("jarzynski: {e}");
        if let Some(hint) = hint(&e) {
            eprintln!("hint: {hint}");
        }
        ExitCode::FAILURE
    })
}
