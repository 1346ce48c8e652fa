//! Print a kept run or a result, and put kept runs side by side.

use jarzynski::io::{frame, write_table};
use jarzynski::{Error, Result, Run, display};
use jarzynski_experiments::results::Manifest;
use std::path::{Path, PathBuf};

/// A checkpointed run or a result, as text.
pub fn look(dir: &Path) -> Result<String> {
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
    for note in &info.notes {
        text += &wrapped(note, 78);
    }
    if m.tables.iter().any(|t| t.name == "summary") {
        text += &format!("\n{}\n", display::show(&frame::read(dir.join("summary.parquet"))?).text);
    }
    Ok(text)
}

/// Lines of at most `width` characters; those after the first begin four further to the right.
fn wrapped(text: &str, width: usize) -> String {
    let (mut out, mut line) = (String::new(), "  ".to_string() + text.split(' ').next().unwrap_or(""));
    for word in text.split(' ').skip(1) {
        if line.chars().count() + 1 + word.chars().count() > width {
            out += &format!("{}\n", line.trim_end());
            line = "      ".to_string() + word;
        } else {
            line = line + " " + word;
        }
    }
    out + &line + "\n"
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width { text.into() } else { text.chars().take(width - 1).collect::<String>() + "…" }
}

/// Kept runs side by side: a table of their last rows, and their curves over each other.
pub fn compare(dirs: &[&Path], columns: Option<&str>, out: Option<PathBuf>) -> Result<()> {
    let name = |dir: &Path| {
        let path = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
        path.file_name().map_or_else(|| dir.display().to_string(), |n| n.to_string_lossy().into_owned())
    };
    let mut names: Vec<String> = dirs.iter().map(|d| name(d)).collect();
    if (1..names.len()).any(|i| names[..i].contains(&names[i])) {
        names = dirs.iter().map(|d| d.display().to_string()).collect();
    }
    let runs = dirs.iter().map(Run::open).collect::<Result<Vec<_>>>()?;
    let columns: Vec<String> = match columns {
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
    let out = out.unwrap_or_else(|| PathBuf::from("compare"));
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
