//! Regenerate every figure: one file per experiment, each a configuration, a function that returns frames, and a plot.

mod classifier;
mod config;
mod continuous;
mod digits;
mod distances;
mod divergences;
mod flow_exact;
mod flow_learned;
mod flow_order;
mod flow_tune;
mod gaussian_rbm;
mod gradient_bias;
mod images;
mod mixture;
mod mnist;
mod pair;
mod rbm_exact;
mod rbm_kernels;
mod rbm_mnist;
pub mod results;
mod ula_bias;

pub use config::configure;
pub use continuous::Continuous;
pub use digits::Digits;
pub use divergences::Divergences;
pub use flow_exact::FlowExact;
pub use flow_learned::{FlowLearned, Learning};
pub use flow_order::FlowOrder;
pub use flow_tune::FlowTune;
pub use gaussian_rbm::GaussianRbm;
pub use images::Images;
pub use mixture::MixtureModes;
pub use mnist::Mnist;
pub use rbm_exact::RbmExact;
pub use rbm_kernels::RbmKernels;
pub use rbm_mnist::RbmMnist;
pub use ula_bias::UlaBias;

use crate::error::{Error, Result};
use crate::experiments::results::{Manifest, Results};
use crate::run::{Checkpointing, Run};
use crate::walkers::Estimate;
use config::{nearest, refused};
use polars::prelude::{Column, DataFrame, DataType};
use serde::{Serialize, de::DeserializeOwned};
use std::path::{Path, PathBuf};
use tch::Device;

/// What an experiment returns: named tables and figures, and what was measured in words.
#[derive(Debug, Default)]
pub struct Output {
    /// Tables by name; verification tables have the columns `case, method, quantity, value, se, exact`.
    pub tables: Vec<(String, DataFrame)>,
    /// Figures by name.
    #[cfg(feature = "plot")]
    pub figures: Vec<(String, crate::plot::Figure)>,
    /// Lines for a person: the result in numbers.
    pub notes: Vec<String>,
}

impl Output {
    /// Adds a table.
    pub fn table(&mut self, name: &str, df: DataFrame) -> &mut Self {
        self.tables.push((name.into(), df));
        self
    }

    /// Adds a figure.
    #[cfg(feature = "plot")]
    pub fn figure(&mut self, name: &str, figure: crate::plot::Figure) -> &mut Self {
        self.figures.push((name.into(), figure));
        self
    }

    /// Adds a line for a person.
    pub fn note(&mut self, line: impl Into<String>) -> &mut Self {
        self.notes.push(line.into());
        self
    }

    /// The figure of that name. Errors: there is none.
    #[cfg(feature = "plot")]
    pub fn get_figure(&self, name: &str) -> Result<&crate::plot::Figure> {
        let found = self.figures.iter().find(|(n, _)| n == name).map(|(_, figure)| figure);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.figures.iter().map(|(n, _)| n.as_str()).collect();
            Error::param("figure", name, format!("one of {}", names.join(", ")))
        })
    }

    /// The table of that name. Errors: there is none.
    pub fn get(&self, name: &str) -> Result<&DataFrame> {
        let found = self.tables.iter().find(|(n, _)| n == name).map(|(_, df)| df);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.tables.iter().map(|(n, _)| n.as_str()).collect();
            Error::param("table", name, format!("one of {}", names.join(", ")))
        })
    }
}

/// A configuration that runs. The `Default` fits a laptop; `full` is the published size.
pub trait Experiment: Serialize + DeserializeOwned + Default {
    /// Its name on the command line and under `results/`.
    const NAME: &'static str;
    /// What it shows, in one line.
    const ABOUT: &'static str;

    /// The published size.
    fn full() -> Self {
        Self::default()
    }

    /// The first seed; `--seed` replaces it.
    fn seed(&self) -> u64;

    /// Computes tables and figures where `work` says, and keeps the trainings on the way where it says.
    fn run_in(&self, work: &Work) -> Result<Output>;

    /// Computes tables and figures; writes nothing.
    fn run(&self) -> Result<Output> {
        self.run_in(&Work::default())
    }
}

/// The mean of independent estimates, with the standard error that theirs give it.
pub(crate) fn pool(of: &[Estimate]) -> Estimate {
    let n = of.len() as f64;
    let square: f64 = of.iter().map(|e| e.se * e.se).sum();
    Estimate { value: of.iter().map(|e| e.value).sum::<f64>() / n, se: square.sqrt() / n }
}

/// The runs' frames one below the other with `method` and `seed` in front; a column that a run lacks is null in its rows.
pub(crate) fn stack(runs: &[(String, u64, Run)], columns: &[&str]) -> Result<DataFrame> {
    let mut frames = Vec::new();
    for (method, seed, run) in runs {
        let height = run.stats.height();
        let mut out = vec![
            Column::new("method".into(), vec![method.as_str(); height]),
            Column::new("seed".into(), vec![*seed as i64; height]),
        ];
        for name in columns {
            let integer = crate::run::record::column(name).is_some_and(|c| c.integer);
            let kind = if integer { DataType::Int64 } else { DataType::Float64 };
            out.push(match crate::io::frame::column(&run.stats, name) {
                Ok(c) => c.cast(&kind)?,
                Err(_) => Column::full_null((*name).into(), height, &kind),
            });
        }
        frames.push(DataFrame::new(height, out)?);
    }
    crate::io::frame::concat(&frames)
}

/// Where an experiment works.
#[derive(Debug, Clone)]
pub struct Work {
    /// The device of models, paths, walkers and data.
    pub device: Device,
    /// The folder in which trainings are kept while they go on, if any.
    runs: Option<PathBuf>,
}

impl Default for Work {
    fn default() -> Self {
        Work { device: Device::Cpu, runs: None }
    }
}

impl Work {
    /// On a device, keeping nothing.
    pub fn on(device: Device) -> Self {
        Work { device, runs: None }
    }

    /// Where the training of that name is kept.
    pub(crate) fn checkpointing(&self, name: &str) -> Option<Checkpointing> {
        self.runs.as_ref().map(|runs| Checkpointing::resume_or_start(runs.join(name)))
    }
}

/// The folder of unfinished trainings beside an experiment's results.
const RUNS: &str = ".runs";
/// The configuration that began them.
const BEGUN: &str = "begun.toml";

/// What began in a folder: enough to go on there.
#[derive(Debug, Serialize, serde::Deserialize)]
struct Begun {
    experiment: String,
    config: toml::Table,
}

type Runner = fn(&toml::Table, bool, &Path, &Go) -> Result<(Manifest, Vec<String>)>;
type Shower = fn(&toml::Table, bool) -> Result<String>;

/// How [`Entry::run_in`] goes about it.
#[derive(Debug, Clone)]
pub struct Go {
    /// Whether trainings that are kept in the folder go on; else they begin anew.
    pub resume: bool,
    /// The device.
    pub device: Device,
}

impl Default for Go {
    fn default() -> Self {
        Go { resume: false, device: Device::Cpu }
    }
}

/// The experiment that was begun in `dir` and did not finish, to go on with `resume`. Errors: there is none.
pub fn begun(dir: &Path) -> Result<(&'static Entry, toml::Table)> {
    let path = dir.join(RUNS).join(BEGUN);
    let text = std::fs::read_to_string(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::param("folder", dir.display(), "one in which an experiment was begun and not finished")
        }
        _ => Error::io(&path, e),
    })?;
    let bad = |e: String| Error::data(&path, "its content", format!("what an experiment writes as it begins ({e})"));
    let begun: Begun = toml::from_str(&text).map_err(|e| bad(e.message().to_string()))?;
    Ok((find(&begun.experiment)?, begun.config))
}

/// An experiment by name.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    runner: Runner,
    shower: Shower,
}

impl Entry {
    const fn of<E: Experiment>() -> Self {
        Entry { name: E::NAME, about: E::ABOUT, runner: run_as::<E>, shower: show_as::<E> }
    }

    /// Runs it with `overrides` over the default (or full) configuration and writes everything to `dir`.
    ///
    /// Errors: an unknown key or a value of the wrong type in `overrides`, and whatever the run refuses.
    pub fn run(&self, overrides: &toml::Table, full: bool, dir: &Path) -> Result<(Manifest, Vec<String>)> {
        self.run_in(overrides, full, dir, &Go::default())
    }

    /// As [`run`](Entry::run), on a device or where an earlier call was interrupted.
    ///
    /// Errors: as [`run`](Entry::run); to resume, a folder in which nothing or something else was begun.
    pub fn run_in(&self, overrides: &toml::Table, full: bool, dir: &Path, go: &Go) -> Result<(Manifest, Vec<String>)> {
        (self.runner)(overrides, full, dir, go)
    }

    /// The configuration that [`run`](Entry::run) would use, as TOML.
    pub fn config(&self, overrides: &toml::Table, full: bool) -> Result<String> {
        (self.shower)(overrides, full)
    }
}

/// All experiments, in the order of the text.
pub const ALL: &[Entry] = &[
    Entry::of::<UlaBias>(),
    Entry::of::<MixtureModes>(),
    Entry::of::<Digits>(),
    Entry::of::<Divergences>(),
    Entry::of::<Mnist>(),
    Entry::of::<FlowExact>(),
    Entry::of::<FlowOrder>(),
    Entry::of::<FlowTune>(),
    Entry::of::<FlowLearned>(),
    Entry::of::<Continuous>(),
    Entry::of::<RbmKernels>(),
    Entry::of::<RbmExact>(),
    Entry::of::<GaussianRbm>(),
    Entry::of::<RbmMnist>(),
];

/// The experiment of that name. Errors: there is none; the message lists them.
pub fn find(name: &str) -> Result<&'static Entry> {
    ALL.iter().find(|e| e.name == name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|e| e.name).collect();
        let nearest = nearest(name, names.iter().copied()).map_or(String::new(), |n| format!("`{n}`? Else "));
        Error::param("experiment", name, format!("{nearest}one of {}", names.join(", ")))
    })
}

fn show_as<E: Experiment>(overrides: &toml::Table, full: bool) -> Result<String> {
    let config = configure::<E>(overrides, full)?;
    toml::to_string_pretty(&config).map_err(|e| Error::param("config", e, "what TOML can hold"))
}

fn run_as<E: Experiment>(overrides: &toml::Table, full: bool, dir: &Path, go: &Go) -> Result<(Manifest, Vec<String>)> {
    let config = configure::<E>(overrides, full)?;
    let mut results = Results::create(dir)?;
    results.experiment(E::NAME).device(go.device);
    let runs = begin(&config, dir, go)?;
    let output = config.run_in(&Work { device: go.device, runs: Some(runs.clone()) })?;
    for (name, df) in &output.tables {
        results.table(name, df)?;
    }
    #[cfg(feature = "plot")]
    for (name, figure) in &output.figures {
        results.figure(name, figure)?;
    }
    let manifest = results.finish(&config, config.seed())?;
    // all that mattered of them is in the tables
    std::fs::remove_dir_all(&runs).map_err(|e| Error::io(&runs, e))?;
    Ok((manifest, output.notes))
}

/// The folder for trainings on the way, with the configuration that they belong to.
fn begin<E: Experiment>(config: &E, dir: &Path, go: &Go) -> Result<PathBuf> {
    let runs = dir.join(RUNS);
    let now = toml::Table::try_from(config).map_err(|e| refused::<E>(&e))?;
    if go.resume {
        let (entry, then) = begun(dir)?;
        // as it would be written today: an earlier version may not have known all keys
        let then = configure::<E>(&then, false).and_then(|c| toml::Table::try_from(&c).map_err(|e| refused::<E>(&e)));
        if entry.name != E::NAME || then.ok().as_ref() != Some(&now) {
            let expected = format!("{} with the configuration it was begun with", entry.name);
            return Err(Error::param("resume", E::NAME, expected));
        }
        return Ok(runs);
    }
    match std::fs::remove_dir_all(&runs) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&runs, e)),
        _ => {}
    }
    std::fs::create_dir_all(&runs).map_err(|e| Error::io(&runs, e))?;
    let path = runs.join(BEGUN);
    let begun = Begun { experiment: E::NAME.into(), config: now };
    let text = toml::to_string(&begun).map_err(|e| Error::param("config", e, "what TOML can hold"))?;
    crate::io::write_atomic(&path, |out| out.write_all(text.as_bytes()).map_err(|e| Error::io(&path, e)))?;
    Ok(runs)
}
