//! Put the tables of a sweep's members below each other, in the order of the plan, whoever computed them.

use super::{Ended, Member, Plan, place};
use crate::results::Manifest;
use jarzynski::io::frame::{self, Cell};
use jarzynski::io::write_table;
use jarzynski::polars::prelude::{Column, DataFrame};
use jarzynski::{Error, Result};
use std::path::Path;

/// Writes into `dir/collected` each table of the experiment with the rows of all members that have finished, the grid's keys and
/// `seed` in front, and the table `members` with one row for each: the grid's keys, `seed`, `status` (`finished`, `failed`,
/// `missing`), `cause`, `seconds`. Returns the names of the tables.
///
/// Where an experiment's table has a column of a key's name, the key's column is called `config.KEY`.
///
/// # Errors
/// After what is there has been written, `Param` where members are missing; no plan; tables that are damaged.
pub fn collect(dir: &Path) -> Result<Vec<String>> {
    let plan = Plan::read(dir)?;
    let out = dir.join("collected");
    std::fs::create_dir_all(&out).map_err(|e| Error::io(&out, e))?;
    let head: Vec<&str> =
        plan.keys.iter().map(String::as_str).chain(["seed", "status", "cause", "seconds", "folder"]).collect();
    let mut rows = frame::Rows::new(&head);
    let mut tables: Vec<(String, Vec<DataFrame>)> = Vec::new();
    let mut missing = 0;
    for member in &plan.members {
        let place = place(dir, member);
        let ended = Ended::read(&place)?;
        missing += usize::from(ended.is_none());
        let (status, cause, seconds) = match &ended {
            Some(e) => (e.status.as_str(), e.cause.clone().unwrap_or_default(), e.seconds),
            None => ("missing", String::new(), f64::NAN),
        };
        let mut cells = cells(&plan, member);
        cells.extend([status.into(), cause.into(), seconds.into(), (&member.name).into()]);
        rows.push(cells);
        if status != "finished" {
            continue;
        }
        for table in Manifest::read(&place)?.tables {
            let df = frame::read(place.join(format!("{}.parquet", table.name)))?;
            let df = named(&plan, member, &df)?;
            match tables.iter_mut().find(|(name, _)| *name == table.name) {
                Some((_, frames)) => frames.push(df),
                None => tables.push((table.name, vec![df])),
            }
        }
    }
    let mut names = vec!["members".to_string()];
    write_table(&rows.finish()?, &out, "members")?;
    for (name, frames) in tables {
        // a table of the experiment's own that is called members would hide that of the sweep
        let name = if name == "members" { "members-of-members".into() } else { name };
        write_table(&frame::union(&frames)?, &out, &name)?;
        names.push(name);
    }
    if missing > 0 {
        let (all, ended) = (plan.members.len(), plan.members.len() - missing);
        let expected = "all of them: start the shards again, and collect when they have ended";
        return Err(Error::param("members", format!("{ended} of {all} that have ended"), expected));
    }
    Ok(names)
}

/// A member's place in the grid and its seed. A key has one type over all members: numbers where all values are, else text.
fn cells(plan: &Plan, member: &Member) -> Vec<Cell> {
    let cell = |key: &String| {
        let number = |v: &toml::Value| v.as_float().or(v.as_integer().map(|i| i as f64));
        let whole = plan.members.iter().all(|m| m.values[key].is_integer());
        let numbers = plan.members.iter().all(|m| number(&m.values[key]).is_some());
        let value = &member.values[key];
        match (value.as_integer(), number(value)) {
            (Some(i), _) if whole => Cell::Int(i),
            (_, Some(v)) if numbers => Cell::Float(v),
            _ => Cell::Str(value.as_str().map_or_else(|| value.to_string(), str::to_string)),
        }
    };
    plan.keys.iter().map(cell).chain([Cell::Int(i64::from(member.seed))]).collect()
}

/// A table with the member's place in front.
fn named(plan: &Plan, member: &Member, df: &DataFrame) -> Result<DataFrame> {
    let own: Vec<String> = df.get_column_names().iter().map(|n| n.to_string()).collect();
    let height = df.height();
    let mut columns = Vec::new();
    for (key, cell) in plan.keys.iter().map(String::as_str).chain(["seed"]).zip(cells(plan, member)) {
        let name = if own.iter().any(|n| n == key) { format!("config.{key}") } else { key.to_string() };
        columns.push(match cell {
            Cell::Int(i) => Column::new(name.as_str().into(), vec![i; height]),
            Cell::Float(v) => Column::new(name.as_str().into(), vec![v; height]),
            Cell::Str(s) => Column::new(name.as_str().into(), vec![s; height]),
        });
    }
    columns.extend(df.columns().iter().cloned());
    Ok(DataFrame::new(height, columns)?)
}
