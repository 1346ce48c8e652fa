//! Open tables, footers, checkpoints and walkers in pandas, polars, DuckDB, ArviZ and R.

use jarzynski::io::frame::column_f64;
use jarzynski::io::write_parquet_with;
use jarzynski::model::Mixture;
use jarzynski::{Method, Rng, Run, Trainer, Ula};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A run kept in `dir/run`, its rows with a note of their seed in `dir/table`, its walkers, and what a reader must find.
fn write(dir: &Path) -> Run {
    let data = Mixture::new(&[vec![-2.0, 0.0], vec![2.0, 0.0]], &[0.3, 0.7]).unwrap().sample(60, &mut Rng::new(1));
    let mut model = Mixture::new(&[vec![-1.0, 0.0], vec![1.0, 0.5]], &[0.5, 0.5]).unwrap();
    let trainer = Trainer::new(Ula::new(2.5), Method::Jarzynski { ess_min: 0.9 }).walkers(50).steps(12).lr(0.1).seed(4);
    let run = trainer.quiet().checkpointing(dir.join("run")).train(&mut model, &data).unwrap();
    assert!(run.finished() && run.column("warning").is_err(), "text is among the columns too");
    std::fs::create_dir(dir.join("table")).unwrap();
    let info = serde_json::json!({ "seed": run.seed, "config": run.config }).to_string();
    write_parquet_with(&run.stats, dir.join("table/steps.parquet"), &[("jarzynski", info)]).unwrap();
    run.walkers.write_arviz(dir.join("walkers.json")).unwrap();
    let names: Vec<String> = run.stats.get_column_names().iter().map(|n| n.to_string()).collect();
    let table = serde_json::json!({ "columns": names, "log_z": column_f64(&run.stats, "log_z").unwrap(), "seed": 4 });
    let expected = serde_json::json!({
        "run/stats": table,
        "table/steps": table,
        "walkers": 50,
        "shape": [50, 2],
        "mean": run.walkers.mean(&run.walkers.x().select(1, 0)).unwrap().value,
    });
    std::fs::write(dir.join("expected.json"), expected.to_string()).unwrap();
    run
}

fn passes(mut command: Command) {
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    println!("{text}");
    assert!(out.status.success() && text.contains("ok"), "{text}{}", String::from_utf8_lossy(&out.stderr));
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

#[test]
#[ignore = "needs pandas, polars, DuckDB and ArviZ: `make interop` installs them"]
fn python_reads_what_is_written() {
    let cache = std::env::var("JZ_CACHE").expect("JZ_CACHE names the cache folder: run `make interop`");
    let home = PathBuf::from(cache).join("python-interop");
    assert!(home.join("ready").exists(), "pandas, polars, DuckDB and ArviZ are not installed: run `make interop`");
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let mut command = Command::new(home.join("bin/python"));
    command.arg(script("interop.py")).arg(dir.path());
    passes(command);
}

#[test]
#[ignore = "needs R with the package arrow or nanoparquet"]
fn r_reads_what_is_written() {
    let there = |package: &str| {
        let asked = Command::new("Rscript").args(["-e", &format!("library({package})")]).output();
        asked.is_ok_and(|out| out.status.success())
    };
    let package = ["arrow", "nanoparquet"].into_iter().find(|p| there(p));
    let package = package.expect("R with the package arrow or nanoparquet is not installed");
    let dir = tempfile::tempdir().unwrap();
    let run = write(dir.path());
    let last = *run.column("log_z").unwrap().last().unwrap();
    let code = format!(
        "d <- {package}::read_parquet('{}'); stopifnot(nrow(d) == 13, abs(tail(d$log_z, 1) - ({last:e})) < 1e-12); cat('ok\\n')",
        dir.path().join("run/stats.parquet").display()
    );
    let mut command = Command::new("Rscript");
    command.args(["-e", &code]);
    passes(command);
}
