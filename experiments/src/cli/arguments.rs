//! Read the command line, refuse options that a command does not take, and add a hint to an error.

use super::commands::{self, SETTINGS};
use jarzynski::{Error, Result};
use jarzynski_experiments::{Size, config};
use std::path::{Path, PathBuf};

/// What the command line requests.
#[derive(Default)]
pub struct Request {
    /// Everything that is no option.
    pub words: Vec<String>,
    /// Settings of an experiment: those of a file, and over them those of options.
    pub overrides: toml::Table,
    /// The size of a run.
    pub size: Size,
    /// The folder of the results.
    pub out: Option<PathBuf>,
    /// The device of a run.
    pub device: Option<String>,
    /// The columns to be compared.
    pub columns: Option<String>,
    /// The folder of the library's sources.
    pub library: Option<PathBuf>,
    /// Whether an explanation is asked for.
    pub help: bool,
    /// The options that were given, by name.
    given: Vec<String>,
}

/// Reads the command line.
///
/// # Errors
/// `Param` for what cannot be read or does not apply; `Io` and `Data` for a file of settings.
pub fn parse() -> Result<Request> {
    use lexopt::prelude::*;
    let bad = |e: lexopt::Error| Error::param("arguments", e, "as `jarzynski --help` says");
    let mut request = Request::default();
    let (mut files, mut keys) = (toml::Table::new(), toml::Table::new());
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next().map_err(bad)? {
        if let Long(name) = &arg {
            request.given.push((*name).into());
        }
        match arg {
            Short('h') | Long("help") => request.help = true,
            Short('V') | Long("version") => request.words = vec!["version".into()],
            Long("full") => request.size = Size::Full,
            Long("small") => request.size = Size::Small,
            Long("out") => request.out = Some(args.value().map_err(bad)?.into()),
            Long("library") => request.library = Some(args.value().map_err(bad)?.into()),
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
    request.refuse_what_does_not_apply()?;
    Ok(request)
}

impl Request {
    /// An option that the command does not take is a mistake, not something to be ignored.
    fn refuse_what_does_not_apply(&self) -> Result<()> {
        let word = self.words.first().map_or("help", String::as_str);
        if self.help || word == "version" {
            return Ok(());
        }
        // anything that is no command is the name of an experiment
        let Some(command) = commands::command(word).or(commands::command("run")) else { return Ok(()) };
        let known = |name: &str| name != SETTINGS && commands::FLAGS.iter().any(|f| f.name == name);
        let setting = |name: &str| (!known(name) || name == "seed") && command.options.contains(&SETTINGS);
        match self.given.iter().find(|name| !command.options.contains(&name.as_str()) && !setting(name)) {
            None => Ok(()),
            Some(name) => {
                let takes: Vec<String> = command.options.iter().map(|o| format!("--{o}")).collect();
                let takes = if takes.is_empty() { "no option".into() } else { format!("one of {}", takes.join(", ")) };
                Err(Error::param("option", format!("--{name}"), format!("{takes} after `jarzynski {}`", command.name)))
            }
        }
    }
}

/// File, line and column of what is not TOML.
fn malformed(path: &Path, text: &str, e: &toml::de::Error) -> Error {
    let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or("");
    let (line, column) =
        (before.matches('\n').count() + 1, before.chars().rev().take_while(|c| *c != '\n').count() + 1);
    let place = format!("line {line}, column {column}");
    Error::data(path, place, format!("TOML ({})", e.message().trim().replace('\n', " ")))
}

/// What to do next about an error, where the error itself does not say.
pub fn hint(e: &Error) -> Option<String> {
    use std::io::ErrorKind::{NotFound, PermissionDenied, StorageFull};
    let text = match e {
        Error::Param { name, .. } => match *name {
            "experiment" => "`jarzynski list` says what each experiment shows; `jarzynski help` lists the commands",
            "arguments" | "option" => "`jarzynski help` lists the commands, `jarzynski help COMMAND` gives examples",
            "device" => "`jarzynski doctor` says whether there is a GPU and which libtorch is used",
            _ => return None,
        },
        Error::RunLocked { .. } => "wait until the other program ends, or choose another folder with --out DIR",
        Error::Io { source, path } => match source.kind() {
            NotFound if path.components().any(|c| c.as_os_str() == "datasets") => "`make datasets` fetches data sets",
            PermissionDenied => "choose a folder that you may write to, with --out DIR",
            StorageFull => "make room there, or choose a folder on another disk with --out DIR",
            _ => return None,
        },
        Error::Torch { what, .. } if what.contains("out of memory") => {
            "fewer walkers or a smaller network take less: --walkers N; `jarzynski config NAME` lists the settings"
        }
        _ => return None,
    };
    Some(text.into())
}
