//! Plan a sweep of an experiment, seeds × configurations, as shards that any scheduler can start on a shared folder.

mod collect;
mod scripts;
mod work;

pub use collect::collect;
pub use scripts::{parallel, slurm};
pub use work::{Shard, work};

use crate::config::Size;
use crate::registry::{Entry, find};
use jarzynski::io::write_atomic;
use jarzynski::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A sweep as its file describes it:
///
/// ```toml
/// experiment = "mixture"      # a name that `jarzynski list` prints
/// size = "small"              # small, usual (the default) or full
/// seeds = 4                   # 0, 1, 2, 3; or a list
/// [config]                    # settings of all members
/// walkers = 2_000
/// [grid]                      # every combination of these values, the last key running fastest
/// lr = [0.02, 0.05]
/// ```
///
/// A member has one seed: an experiment's own setting `seeds` is 1 unless it is set here.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sweep {
    experiment: String,
    #[serde(default)]
    size: Size,
    seeds: Seeds,
    #[serde(default)]
    config: toml::Table,
    #[serde(default)]
    grid: toml::Table,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Seeds {
    Count(u32),
    List(Vec<u32>),
}

/// What a sweep's folder holds in `plan.json`: all members, in the order of the collected tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// The experiment's name.
    pub experiment: String,
    /// What the settings are laid over.
    pub size: Size,
    /// The device that members compute on, as on the command line.
    pub device: String,
    /// Number of shards.
    pub shards: usize,
    /// The grid's keys, with dots between the names of nested ones.
    pub keys: Vec<String>,
    /// One for each configuration and seed.
    pub members: Vec<Member>,
}

/// One member of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Member {
    /// Its folder's name below `members/`: the grid's values, the seed, and a digest of the whole configuration.
    pub name: String,
    /// Its seed.
    pub seed: u32,
    /// Its place in the grid.
    pub values: BTreeMap<String, toml::Value>,
    /// The settings laid over the experiment's default.
    pub overrides: toml::Table,
}

/// The file of the plan.
const PLAN: &str = "plan.json";
/// The folder of the members.
const MEMBERS: &str = "members";

impl Plan {
    /// The plan of a sweep's file, with `more` settings laid over its own. All members' configurations are checked.
    ///
    /// # Errors
    /// `Io` or `Data` for a file that is no sweep; `Param` for an unknown experiment, an unknown key, a value of the wrong type,
    /// no seed, no shard, or two members that are the same.
    pub fn read_file(path: &Path, more: &toml::Table, device: &str, shards: usize) -> Result<Plan> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let sweep: Sweep = toml::from_str(&text).map_err(|e| {
            let line = e.span().and_then(|s| text.get(..s.start)).map_or(1, |before| before.matches('\n').count() + 1);
            Error::data(path, format!("line {line}"), format!("a sweep ({})", e.message().trim().replace('\n', " ")))
        })?;
        jarzynski::device(device)?;
        let entry = find(&sweep.experiment)?;
        let seeds = match sweep.seeds {
            Seeds::Count(n) => (0..n).collect(),
            Seeds::List(seeds) => seeds,
        };
        for (name, n) in [("seeds", seeds.len()), ("shards", shards)] {
            if n == 0 {
                return Err(Error::param(name, n, "at least 1"));
            }
        }
        let mut common = sweep.config;
        common.extend(more.clone());
        let axes = axes(&sweep.grid, "")?;
        if let Some(key) = common.keys().chain(axes.iter().map(|(key, _)| key)).find(|key| *key == "seed") {
            return Err(Error::param("sweep", format!("{key} as a setting"), "`seeds` for all members"));
        }
        let known: toml::Table = entry.config(&toml::Table::new(), sweep.size)?.parse().unwrap_or_default();
        if known.contains_key("seeds") && !common.contains_key("seeds") {
            common.insert("seeds".into(), toml::Value::Integer(1));
        }
        let mut members = Vec::new();
        for values in points(&axes) {
            for &seed in &seeds {
                members.push(member(entry, sweep.size, &common, &values, seed)?);
            }
        }
        let mut names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::param(
                "sweep",
                format!("{} twice", twice[0]),
                "members that differ in a setting or the seed",
            ));
        }
        let keys = axes.into_iter().map(|(key, _)| key).collect();
        Ok(Plan { experiment: sweep.experiment, size: sweep.size, device: device.into(), shards, keys, members })
    }

    /// Writes `plan.json` into a folder, which is made where it is missing. Members that are there stay as they are: a plan with
    /// more seeds or a larger grid computes only what is new.
    ///
    /// # Errors
    /// `Io` with the path.
    pub fn write(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir.join(MEMBERS)).map_err(|e| Error::io(dir, e))?;
        write_json(self, &dir.join(PLAN))
    }

    /// The plan of a folder.
    ///
    /// # Errors
    /// `Param` where none was made there, `Data` where it is damaged.
    pub fn read(dir: &Path) -> Result<Plan> {
        read_json(&dir.join(PLAN))?
            .ok_or_else(|| Error::param("folder", dir.display(), "one that `jarzynski sweep plan` has made"))
    }

    /// The experiment.
    fn entry(&self) -> Result<&'static Entry> {
        find(&self.experiment)
    }
}

/// How a member ended: `member.json` in its folder, written last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Ended {
    /// `finished` or `failed`.
    status: String,
    cause: Option<String>,
    seconds: f64,
}

impl Ended {
    fn read(place: &Path) -> Result<Option<Ended>> {
        read_json(&place.join("member.json"))
    }
}

fn place(dir: &Path, member: &Member) -> PathBuf {
    dir.join(MEMBERS).join(&member.name)
}

fn write_json(what: &impl Serialize, path: &Path) -> Result<()> {
    write_atomic(path, |out| serde_json::to_writer_pretty(out, what).map_err(|e| Error::io(path, e.into())))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, e)),
    };
    let bad = |e: serde_json::Error| {
        Error::data(path, format!("line {}, column {}", e.line(), e.column()), format!("what a sweep writes ({e})"))
    };
    serde_json::from_str(&text).map(Some).map_err(bad)
}

type Axis = (String, Vec<toml::Value>);

/// The grid's keys with their values; nested tables give keys with dots.
fn axes(grid: &toml::Table, above: &str) -> Result<Vec<Axis>> {
    let mut axes = Vec::new();
    for (key, value) in grid {
        let key = format!("{above}{key}");
        match value {
            toml::Value::Table(inner) => axes.extend(self::axes(inner, &format!("{key}."))?),
            toml::Value::Array(values) if !values.is_empty() => axes.push((key, values.clone())),
            _ => {
                return Err(Error::param(
                    "grid",
                    format!("{key} = {value}"),
                    "a list of at least one value for each key",
                ));
            }
        }
    }
    Ok(axes)
}

/// Every combination, the last key running fastest.
fn points(axes: &[Axis]) -> Vec<BTreeMap<String, toml::Value>> {
    axes.iter().fold(vec![BTreeMap::new()], |points, (key, values)| {
        let with = |p: &BTreeMap<String, toml::Value>, v: &toml::Value| {
            let mut p = p.clone();
            p.insert(key.clone(), v.clone());
            p
        };
        points.iter().flat_map(|p| values.iter().map(move |v| with(p, v))).collect()
    })
}

fn member(
    entry: &Entry,
    size: Size,
    common: &toml::Table,
    values: &BTreeMap<String, toml::Value>,
    seed: u32,
) -> Result<Member> {
    let mut overrides = common.clone();
    for (key, value) in values {
        let mut table = &mut overrides;
        let mut names: Vec<&str> = key.split('.').collect();
        let last = names.pop().unwrap_or(key);
        for name in names {
            let inner = table.entry(name).or_insert_with(|| toml::Table::new().into());
            table = inner.as_table_mut().ok_or_else(|| {
                Error::param("grid", key, format!("{name} to be a table, as its settings have values in the grid"))
            })?;
        }
        table.insert(last.into(), value.clone());
    }
    overrides.insert("seed".into(), i64::from(seed).into());
    // the whole configuration: other defaults of a later version are another member
    let config = entry.config(&overrides, size)?;
    let readable: String = values
        .iter()
        .map(|(key, value)| format!("{key}-{value}_"))
        .chain([format!("seed-{seed}")])
        .collect::<String>()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c))
        .take(80)
        .collect();
    let digest = fnv(&format!("{}\n{config}", entry.name));
    let name = format!("{}-{digest:016x}", readable.trim_start_matches('.'));
    Ok(Member { name, seed, values: values.clone(), overrides })
}

/// The 64-bit FNV-1a digest: two configurations in one folder's name would be noticed when the plan is made.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
