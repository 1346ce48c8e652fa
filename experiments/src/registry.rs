//! List the experiments, find one by name, and run it with its results written to a folder.

use crate::config::{Size, configure, nearest, to_json, to_toml};
use crate::context::Context;
use crate::output::Output;
use crate::results::{Manifest, Results};
use jarzynski::run::Memory;
use jarzynski::{Error, Result, RunInfo};
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;

/// A configuration that runs. The `Default` fits a laptop, [`full`](Experiment::full) is the published size.
pub trait Experiment: Serialize + DeserializeOwned + Default {
    /// Its name on the command line and under `results/`.
    const NAME: &'static str;
    /// What it shows, in one line.
    const ABOUT: &'static str;
    /// Keys over the default, as TOML, that make a run of seconds: the size of the tests.
    const SMALL: &'static str;
    /// The data set that must be downloaded first, as `scripts/datasets.py` names it.
    const DATA: Option<&'static str> = None;
    /// Whether `make figures` leaves it out because it takes hours.
    const ON_REQUEST: bool = false;

    /// The published size.
    fn full() -> Self {
        Self::default()
    }

    /// The first seed; `--seed` replaces it.
    fn seed(&self) -> u64;

    /// What it needs of memory at least, with its data; it is refused before it starts where that is not there. `None` where
    /// only its runs know.
    fn memory(&self) -> Option<Memory> {
        None
    }

    /// Computes tables and figures on the device of `context`, and keeps trainings where it says.
    ///
    /// # Errors
    /// A configuration outside its range; whatever the library refuses.
    fn run_in(&self, context: &Context) -> Result<Output>;

    /// Computes tables and figures; writes nothing.
    ///
    /// # Errors
    /// As [`run_in`](Experiment::run_in).
    fn run(&self) -> Result<Output> {
        self.run_in(&Context::default())
    }
}

/// All experiments, in the order of the text, each with the seconds that its default size takes on two cores.
pub const ALL: &[Entry] = &[
    Entry::of::<crate::quick::Quick>(5),
    Entry::of::<crate::ula_bias::UlaBias>(8),
    Entry::of::<crate::mixture::MixtureModes>(186),
    Entry::of::<crate::digits::Digits>(78),
    Entry::of::<crate::divergences::Divergences>(1),
    Entry::of::<crate::mnist::Mnist>(500),
    Entry::of::<crate::mnist_one_level::MnistOneLevel>(600),
    Entry::of::<crate::flow_exact::FlowExact>(8),
    Entry::of::<crate::flow_order::FlowOrder>(42),
    Entry::of::<crate::flow_tune::FlowTune>(39),
    Entry::of::<crate::flow_learned::FlowLearned>(102),
    Entry::of::<crate::continuous::Continuous>(12),
    Entry::of::<crate::rbm_kernels::RbmKernels>(29),
    Entry::of::<crate::bracket::Brackets>(15),
    Entry::of::<crate::sampler_bench::SamplerBench>(900),
    Entry::of::<crate::generative::GenerativeComparison>(400),
    Entry::of::<crate::rbm_exact::RbmExact>(66),
    Entry::of::<crate::gaussian_rbm::GaussianRbm>(31),
    Entry::of::<crate::rbm_mnist::RbmMnist>(366),
];

type Runner = fn(&toml::Table, Size, &Path, &Context) -> Result<Manifest>;
type Configurer = fn(&toml::Table, Size) -> Result<String>;

/// An experiment by name.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// The data set that must be downloaded first.
    pub data: Option<&'static str>,
    /// Whether `make figures` leaves it out.
    pub on_request: bool,
    /// About how many seconds its default size takes on two cores.
    pub seconds: u32,
    runner: Runner,
    configurer: Configurer,
}

impl Entry {
    const fn of<E: Experiment>(seconds: u32) -> Self {
        Entry {
            name: E::NAME,
            about: E::ABOUT,
            data: E::DATA,
            on_request: E::ON_REQUEST,
            seconds,
            runner: run_as::<E>,
            configurer: |overrides, size| to_toml(&configure::<E>(overrides, size)?),
        }
    }

    /// Runs it with `overrides` over the configuration of that size and writes everything to `dir`. Returns the manifest,
    /// whose notes say what was measured.
    ///
    /// # Errors
    /// `Param` for an unknown key or a value of the wrong type in `overrides`, and whatever the run refuses; to resume, a
    /// folder in which nothing or something else was begun; `Io` where `dir` cannot be written.
    pub fn run(&self, overrides: &toml::Table, size: Size, dir: &Path, context: &Context) -> Result<Manifest> {
        (self.runner)(overrides, size, dir, context)
    }

    /// How long its default size takes, in words.
    pub fn duration(&self) -> String {
        duration(self.seconds)
    }

    /// The configuration that [`run`](Entry::run) would use, as TOML.
    ///
    /// # Errors
    /// `Param` for an unknown key or a value of the wrong type in `overrides`.
    pub fn config(&self, overrides: &toml::Table, size: Size) -> Result<String> {
        (self.configurer)(overrides, size)
    }
}

/// The experiment of that name.
///
/// # Errors
/// `Param` where there is none; the message lists them.
pub fn find(name: &str) -> Result<&'static Entry> {
    ALL.iter().find(|e| e.name == name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|e| e.name).collect();
        let nearest = nearest(name, names.iter().copied()).map_or(String::new(), |n| format!("`{n}`? Else "));
        Error::param("experiment", name, format!("{nearest}one of {}", names.join(", ")))
    })
}

/// The experiments of `make figures`, the shortest first, so that the first figure comes soon.
pub fn plan() -> Vec<&'static Entry> {
    let mut entries: Vec<&Entry> = ALL.iter().filter(|e| !e.on_request).collect();
    entries.sort_by_key(|e| e.seconds);
    entries
}

/// Seconds in words: `5 s`, `3 min`.
pub fn duration(seconds: u32) -> String {
    if seconds < 100 { format!("{seconds} s") } else { format!("{} min", (seconds + 30) / 60) }
}

/// The experiments as a page of the documentation, `experiments/README.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# The experiments\n\n\
         Each is a file in `src/`: a configuration, tables, figures. `make figure-NAME` runs one (`ARGS='--seed 7 --full'` is\n\
         passed on), `make figures` all but those on request; `jarzynski --help` says what else there is. Results go to\n\
         `results/NAME/`, `results/index.html` shows them all. Times are rough ones on two cores. This page is written from\n\
         `src/registry.rs`.\n\n\
         | name | shows | takes about | data to download | `make figures` |\n|---|---|---|---|---|\n",
    );
    for e in ALL {
        let runs = if e.on_request { "on request" } else { "yes" };
        text += &format!("| `{}` | {} | {} | {} | {runs} |\n", e.name, e.about, e.duration(), e.data.unwrap_or("–"));
    }
    text
}

/// The experiment that was begun in `dir` and did not finish, with its configuration: what `resume` runs.
///
/// # Errors
/// `Param` where nothing was begun there, `Data` where what says so is damaged.
pub fn begun(dir: &Path) -> Result<(&'static Entry, toml::Table)> {
    let info = crate::context::begun(dir)?;
    let config = serde_json::from_value(info.config)
        .map_err(|e| Error::data(dir, "configuration", format!("the keys of {} ({e})", info.label)))?;
    Ok((find(&info.label)?, config))
}

fn run_as<E: Experiment>(overrides: &toml::Table, size: Size, dir: &Path, context: &Context) -> Result<Manifest> {
    let config = configure::<E>(overrides, size)?;
    let info = RunInfo::new(E::NAME, config.seed(), to_json(&config)?);
    if let Some(memory) = config.memory() {
        memory.check(context.device)?;
    }
    let mut results = Results::create(dir)?;
    results.experiment(E::NAME).device(context.device);
    let context = context.kept_in(dir, &info)?;
    let output = config.run_in(&context)?;
    for (name, df) in &output.tables {
        results.table(name, df)?;
    }
    #[cfg(feature = "plot")]
    for (name, figure) in &output.figures {
        results.figure(name, figure)?;
    }
    results.notes(&output.notes);
    let manifest = results.finish(&config, config.seed())?;
    context.clear()?;
    Ok(manifest)
}
