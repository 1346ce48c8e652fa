//! Collect what a sweep's members left: one tidy frame, one row per member, means and bands over seeds.

use super::{Done, Ended};
use crate::error::{Error, Result};
use crate::io::{frame, write_table};
use polars::prelude::{Column, DataFrame, NamedFrom, Series};
use serde_json::Value;
use std::path::Path;

/// What a sweep leaves.
#[derive(Debug)]
#[non_exhaustive]
pub struct SweepSummary {
    /// All members' rows, one below the other: the configuration's columns, `seed`, then those of
    /// [`Run::stats`](crate::Run::stats). A column that a member has not is null in its rows.
    pub rows: DataFrame,
    /// One row per member: configuration, seed, `status` (`finished`, `paused`, `diverged`, `failed`, or `elsewhere` while another
    /// process has it), `cause`, `ended_at` (the step), `run_seconds`, and the last value of every column of its rows.
    pub members: DataFrame,
    /// Names of the configuration's columns.
    pub keys: Vec<String>,
    /// Members that an earlier call had finished, and that this one's run agrees with.
    pub reused: usize,
}

/// `a.b` for nested keys; what is no table has the name `config`.
pub(super) fn flat(config: &Value) -> Vec<(String, Value)> {
    match config {
        Value::Object(map) => {
            let pairs = map.iter().flat_map(|(key, value)| {
                let inner = flat(value).into_iter();
                let nested = value.is_object();
                inner.map(move |(k, v)| (if nested { format!("{key}.{k}") } else { key.clone() }, v))
            });
            pairs.collect()
        }
        other => vec![("config".into(), other.clone())],
    }
}

/// Values of one key as a column: numbers where all of them are, else text.
fn key_column(name: &str, values: &[Value]) -> Column {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_string);
    if values.iter().all(Value::is_i64) {
        return Column::new(name.into(), values.iter().map(Value::as_i64).collect::<Vec<_>>());
    }
    if values.iter().all(Value::is_number) {
        return Column::new(name.into(), values.iter().map(Value::as_f64).collect::<Vec<_>>());
    }
    Column::new(name.into(), values.iter().map(text).collect::<Vec<_>>())
}

pub(super) fn collect(members: Vec<Done>) -> Result<SweepSummary> {
    let configs: Vec<Vec<(String, Value)>> = members.iter().map(|m| flat(&m.ended.config)).collect();
    let mut keys: Vec<String> = Vec::new();
    for (key, _) in configs.iter().flatten() {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    // a value for each member and key; a column keeps one type over all rows
    let value = |m: usize, key: &str| configs[m].iter().find(|(k, _)| k == key).map_or(Value::Null, |(_, v)| v.clone());
    let columns = |which: &dyn Fn(usize) -> usize| -> Vec<Column> {
        let repeated = |key: &String| {
            let values: Vec<Value> =
                (0..members.len()).flat_map(|m| std::iter::repeat_n(value(m, key), which(m))).collect();
            key_column(key, &values)
        };
        let seeds: Vec<i64> =
            members.iter().enumerate().flat_map(|(m, d)| std::iter::repeat_n(d.ended.seed as i64, which(m))).collect();
        keys.iter().map(repeated).chain([Column::new("seed".into(), seeds)]).collect()
    };
    let frames: Vec<DataFrame> = members.iter().map(|m| m.rows.clone().unwrap_or_default()).collect();
    let stacked = frame::union(&frames)?;
    let mut all = columns(&|m| frames[m].height());
    all.extend(stacked.columns().iter().filter(|c| !keys.contains(&c.name().to_string())).cloned());
    let rows = DataFrame::new(stacked.height(), all)?;
    let mut one = columns(&|_| 1);
    let text = |f: &dyn Fn(&Ended) -> Option<String>| members.iter().map(|m| f(&m.ended)).collect::<Vec<_>>();
    one.push(Column::new("status".into(), text(&|e| Some(e.status.clone()))));
    one.push(Column::new("cause".into(), text(&|e| e.cause.clone())));
    one.push(
        Series::new("ended_at".into(), members.iter().map(|m| m.ended.step.map(|s| s as i64)).collect::<Vec<_>>())
            .into(),
    );
    one.push(Column::new("run_seconds".into(), members.iter().map(|m| m.ended.seconds).collect::<Vec<_>>()));
    for c in stacked.columns() {
        let name = c.name().as_str();
        if one.iter().any(|o| o.name() == name) || !c.dtype().is_primitive_numeric() {
            continue;
        }
        let last = |f: &DataFrame| frame::column_f64(f, name).ok().and_then(|v| v.last().copied());
        one.push(Column::new(name.into(), frames.iter().map(last).collect::<Vec<_>>()));
    }
    let reused = members.iter().filter(|m| m.reused).count();
    Ok(SweepSummary { rows, members: DataFrame::new(members.len(), one)?, keys, reused })
}

impl SweepSummary {
    /// Means and standard errors over seeds for each configuration and step: `c`, `c_se`, `c_n` for every column `c`.
    ///
    /// # Errors
    /// `Param` for a column that the rows have not, `step` included.
    pub fn bands(&self, columns: &[&str]) -> Result<DataFrame> {
        let by: Vec<&str> = self.keys.iter().map(String::as_str).chain(["step"]).collect();
        frame::bands(&self.rows, &by, "seed", columns)
    }

    /// Members that did not finish, with their causes.
    ///
    /// # Errors
    /// None for a frame that polars accepted once.
    pub fn failed(&self) -> Result<DataFrame> {
        let status = frame::column_str(&self.members, "status")?;
        let mask: polars::prelude::BooleanChunked = status.iter().map(|s| Some(s != "finished")).collect();
        frame::unhashed(&frame::unhashed(&self.members)?.filter(&mask)?)
    }

    /// Writes `rows` and `members` as CSV and Parquet into a folder.
    ///
    /// # Errors
    /// `Io` for a folder that cannot be written.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<()> {
        std::fs::create_dir_all(&dir).map_err(|e| Error::io(dir.as_ref(), e))?;
        write_table(&self.rows, &dir, "rows")?;
        write_table(&self.members, &dir, "members")
    }

    /// One line in all, and one for each member that did not finish.
    pub fn summary(&self) -> String {
        let column = |name: &str| frame::column_str(&self.members, name).unwrap_or_default();
        let (status, cause, seeds) = (column("status"), column("cause"), column("seed"));
        let finished = status.iter().filter(|s| *s == "finished").count();
        let mut text = format!("{finished} of {} members finished", status.len());
        for i in (0..status.len()).filter(|i| status[*i] != "finished") {
            let config: Vec<String> = self.keys.iter().map(|k| format!("{k} {}", column(k)[i])).collect();
            text += &format!("\n{}  seed {}: {}: {}", config.join("  "), seeds[i], status[i], cause[i]);
        }
        text
    }
}
