//! What is written can be read back, here and by Python, and a failure leaves nothing behind.

use jarzynski::display::show;
use jarzynski::io::frame::{Rows, bands, column_f64, column_str, concat, distinct, filter, label, mean_se};
use jarzynski::io::{write_atomic, write_csv, write_parquet, write_table};
use jarzynski::polars::prelude::*;
use jarzynski::{Error, Result};
use std::path::Path;
use std::process::Command;

fn sample() -> DataFrame {
    let mut rows = Rows::new(&["method", "seed", "value"]);
    rows.push(("jarzynski", 0, 0.1 + 0.2)).push(("pcd, \"quoted\"", 1, -1e-300)).push(("cd", -7, f64::NAN));
    rows.push(("ρ_θ <b>", i64::MAX, f64::INFINITY)).finish().unwrap()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn tables_come_back_bit_for_bit() {
    let (dir, df) = (folder(), sample());
    write_table(&df, dir.path(), "t").unwrap();
    assert_eq!(names(dir.path()), ["t.csv", "t.parquet"]);
    let csv = CsvReader::new(std::fs::File::open(dir.path().join("t.csv")).unwrap()).finish().unwrap();
    let parquet = ParquetReader::new(std::fs::File::open(dir.path().join("t.parquet")).unwrap()).finish().unwrap();
    for back in [csv, parquet] {
        assert!(back.equals_missing(&df), "{back} {df}");
        assert_eq!(back.dtypes(), df.dtypes());
    }
}

/// The interpreter with pandas and pyarrow: `JARZYNSKI_PYTHON`, else `python3`.
fn python() -> Command {
    Command::new(std::env::var("JARZYNSKI_PYTHON").unwrap_or_else(|_| "python3".into()))
}

fn run_python(dir: &Path, script: &str) {
    let out = python().current_dir(dir).args(["-c", script]).output().unwrap();
    assert!(out.status.success(), "{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
}

#[test]
fn python_reads_csv_and_manifest_with_its_standard_library() {
    let (dir, df) = (folder(), sample());
    write_csv(&df, dir.path().join("t.csv")).unwrap();
    run_python(
        dir.path(),
        r#"
import csv, math
rows = list(csv.DictReader(open("t.csv", encoding="utf-8", newline="")))
assert [r["method"] for r in rows] == ["jarzynski", 'pcd, "quoted"', "cd", "ρ_θ <b>"], rows
assert [int(r["seed"]) for r in rows] == [0, 1, -7, 2**63 - 1], rows
v = [float(r["value"]) for r in rows]
assert v[0] == 0.1 + 0.2 and v[1] == -1e-300 and math.isnan(v[2]) and v[3] == math.inf, v
"#,
    );
}

#[test]
#[ignore = "needs Python with pandas and pyarrow: JARZYNSKI_PYTHON names it"]
fn pandas_reads_parquet() {
    let dir = folder();
    write_parquet(&sample(), dir.path().join("t.parquet")).unwrap();
    run_python(
        dir.path(),
        r#"
import pandas, math
t = pandas.read_parquet("t.parquet")
assert list(t.columns) == ["method", "seed", "value"] and str(t["seed"].dtype) == "int64", t.dtypes
assert list(t["method"]) == ["jarzynski", 'pcd, "quoted"', "cd", "ρ_θ <b>"], t
v = list(t["value"])
assert v[0] == 0.1 + 0.2 and v[1] == -1e-300 and math.isnan(v[2]) and v[3] == math.inf, v
"#,
    );
}

#[test]
fn a_failed_write_leaves_what_was_there() {
    let dir = folder();
    let path = dir.path().join("t.csv");
    write_csv(&sample(), &path).unwrap();
    let before = std::fs::read(&path).unwrap();
    let failed = write_atomic(&path, |out| {
        out.write_all(b"half a line").unwrap();
        Err(Error::param("disk", "full", "room"))
    });
    assert!(failed.is_err());
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(names(dir.path()), ["t.csv"], "no temporary file is left");
}

#[test]
fn errors_name_the_path() {
    let dir = folder();
    let missing = dir.path().join("missing/t.csv");
    let text = write_csv(&sample(), &missing).unwrap_err().to_string();
    assert!(text.contains("missing/t.csv") && text.contains("the folder does not exist"), "{text}");
    // Not even root can write into a folder that is a file.
    std::fs::write(dir.path().join("file"), "").unwrap();
    let text = write_parquet(&sample(), dir.path().join("file/t.parquet")).unwrap_err().to_string();
    assert!(text.contains("file/t.parquet"), "{text}");
    let text = write_table(&sample(), dir.path(), "../t").unwrap_err().to_string();
    assert!(text.contains("../t"), "{text}");
    assert_eq!(names(dir.path()), ["file"]);
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_is_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let dir = folder();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    let result = write_csv(&sample(), dir.path().join("t.csv"));
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    match result {
        // root may write everywhere: then the table must be there
        Ok(()) => assert_eq!(names(dir.path()), ["t.csv"]),
        Err(e) => {
            assert!(e.to_string().contains("t.csv: the folder cannot be written"), "{e}");
            assert!(names(dir.path()).is_empty());
        }
    }
}

#[test]
fn rows_become_typed_columns() -> Result<()> {
    let df = sample();
    assert_eq!(df.dtypes(), [DataType::String, DataType::Int64, DataType::Float64]);
    let mut mixed = Rows::new(&["a"]);
    mixed.push((1,)).push((0.5,));
    assert_eq!(column_f64(&mixed.finish()?, "a")?, [1.0, 0.5]);
    assert!(mixed.push(("text",)).finish().unwrap_err().to_string().contains("a with 1 strings and 2 numbers"));
    let mut short = Rows::new(&["a", "b"]);
    let text = short.push((1, 2)).push((1,)).finish().unwrap_err().to_string();
    assert!(text.contains("1 cells after row 1") && text.contains("a, b"), "{text}");
    assert_eq!(Rows::new(&["a", "b"]).finish()?.shape(), (0, 2));
    assert!(Rows::new(&["a", "a"]).push((1, 2)).finish().is_err());
    let text = column_f64(&df, "vlaue").unwrap_err().to_string();
    assert!(text.contains("vlaue") && text.contains("method, seed, value"), "{text}");
    assert!(column_f64(&df, "method").is_err());
    Ok(())
}

#[test]
fn frames_are_cut_and_joined() -> Result<()> {
    let df = sample();
    assert_eq!(column_f64(&filter(&df, "method", "cd")?, "seed")?, [-7.0]);
    assert_eq!(column_str(&filter(&df, "seed", "1")?, "method")?, ["pcd, \"quoted\""]);
    assert_eq!(filter(&df, "method", "none")?.height(), 0);
    let both = concat(&[label(&df, "run", "a")?, label(&df, "run", "b")?])?;
    assert_eq!((both.shape(), distinct(&both, "run")?), ((8, 4), vec!["a".to_string(), "b".to_string()]));
    assert!(concat(&[]).is_err());
    assert!(concat(&[df.clone(), both]).is_err());
    Ok(())
}

#[test]
fn bands_average_within_and_then_over_seeds() -> Result<()> {
    let mut rows = Rows::new(&["method", "seed", "step", "value"]);
    // Seed 1 has two rows of mean 3 at step 10; seeds 0, 1, 2 then have 1, 3, 8: mean 4, variance 13, se sqrt(13/3).
    rows.push(("pcd", 0, 10, 1.0)).push(("pcd", 1, 10, 2.0)).push(("pcd", 1, 10, 4.0)).push(("pcd", 2, 10, 8.0));
    rows.push(("pcd", 0, 9, 5.0)).push(("pcd", 1, 9, f64::NAN));
    rows.push(("cd", 0, 100, f64::NAN));
    let df = bands(&rows.finish()?, &["method", "step"], "seed", &["value"])?;
    assert_eq!(column_str(&df, "method")?, ["pcd", "pcd", "cd"]);
    assert_eq!(column_f64(&df, "step")?, [9.0, 10.0, 100.0]);
    assert_eq!(column_f64(&df, "value_n")?, [1.0, 3.0, 0.0]);
    let (mean, se) = (column_f64(&df, "value")?, column_f64(&df, "value_se")?);
    assert!(mean[0] == 5.0 && se[0].is_nan(), "one seed has no error");
    assert!((mean[1] - 4.0).abs() < 1e-14 && (se[1] - (13.0f64 / 3.0).sqrt()).abs() < 1e-14, "{mean:?} {se:?}");
    assert!(mean[2].is_nan());
    assert_eq!(df.column("step")?.dtype(), &DataType::Int64);
    assert_eq!(mean_se(&[1.0, 3.0]), (2.0, 1.0));
    Ok(())
}

#[test]
fn a_shown_frame_is_escaped_short_and_right_aligned() {
    let html = show(&sample()).html;
    assert!(html.contains("ρ_θ &lt;b&gt;") && html.contains("pcd, &quot;quoted&quot;") && !html.contains("<b>"));
    assert!(html.contains("text-align:right") && html.contains("4 rows × 3 columns") && !html.contains("⋮"));
    let mut rows = Rows::new(&["step"]);
    (0..1000).for_each(|i| {
        rows.push((i,));
    });
    let shown = show(&rows.finish().unwrap());
    assert!(shown.html.contains("⋮") && shown.html.contains(">999<") && !shown.html.contains(">500<"));
    assert!(shown.text.contains("1,000 rows × 1 column") && shown.text.lines().count() == 1 + 8 + 1 + 4 + 1);
    let empty = show(&Rows::new(&["a"]).finish().unwrap());
    assert!(empty.text.contains("0 rows × 1 column"));
}
