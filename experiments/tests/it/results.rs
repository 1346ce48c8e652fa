//! A folder of results holds tables, figures and a manifest that says how they came about; a failure names the path.

use jarzynski::io::frame::Rows;
use jarzynski::io::read_metadata;
use jarzynski::polars::prelude::DataFrame;
use jarzynski_experiments::index;
use jarzynski_experiments::results::{Manifest, Results};
use std::process::Command;

fn sample() -> DataFrame {
    let mut rows = Rows::new(&["method", "seed", "value"]);
    rows.push(("jarzynski", 0, 0.1 + 0.2)).push(("pcd, \"quoted\"", 1, -1e-300)).push(("cd", -7, f64::NAN));
    rows.push(("ρ_θ <b>", i64::MAX, f64::INFINITY)).finish().unwrap()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[cfg(feature = "plot")]
#[test]
fn results_hold_both_formats() {
    let dir = folder();
    let df = Rows::new(&["method", "step", "ess", "ess_se"]).push(("pcd", 0, 1.0, 0.1)).finish().unwrap();
    use jarzynski::plot::{Figure, Panel};
    let panel = Panel::new("").frame(&df, "method", "step", "ess").unwrap();
    let mut results = Results::create(dir.path()).unwrap();
    results.figure("curves", &Figure::new(300, 200).panel(panel)).unwrap();
    let text = results.figure("../x", &Figure::new(300, 200)).unwrap_err().to_string();
    assert!(text.contains("../x"), "{text}");
    let manifest = results.finish(&(), 0).unwrap();
    assert_eq!(manifest.figures, ["curves"]);
    assert_eq!(&std::fs::read(dir.path().join("curves.png")).unwrap()[1..4], b"PNG");
    assert!(std::fs::read_to_string(dir.path().join("curves.svg")).unwrap().ends_with("</svg>\n"));
    assert!(Panel::new("").frame(&df, "method", "step", "loss").is_err());
}

#[test]
fn the_manifest_says_how_a_result_came_about() {
    let dir = folder();
    let path = dir.path().join("mixture");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("manifest.json"), "of an earlier run").unwrap();
    let mut results = Results::create(&path).unwrap();
    assert!(!path.join("manifest.json").exists(), "an old manifest does not describe new tables");
    results.table("steps", &sample()).unwrap();
    results.table("steps", &sample().head(Some(2))).unwrap();
    results.device(jarzynski::tch::Device::Cuda(1));
    let written = results.finish(&serde_json::json!({"h": 0.1}), 42).unwrap();
    assert_eq!(Manifest::read(&path).unwrap(), written);
    assert_eq!((written.info.label.as_str(), written.info.seed, written.device.as_str()), ("mixture", 42, "cuda:1"));
    assert_eq!((written.tables.len(), written.tables[0].rows), (1, 2));
    assert!(written.threads >= 1 && written.info.seconds >= 0.0);
    assert!(written.started.ends_with('Z') && written.started.starts_with("20") && written.started.len() == 20);
    let text = std::fs::read_to_string(path.join("manifest.json")).unwrap();
    assert!(!text.contains(dir.path().to_str().unwrap()) && !text.contains(env!("CARGO_MANIFEST_DIR")), "{text}");
    for version in ["jarzynski", "tch", "libtorch", "polars", "rustc"] {
        assert!(text.contains(&format!("\"{version}\": ")), "{text}");
    }
    std::fs::write(path.join("manifest.json"), "{\n \"seed\": \"x\"}").unwrap();
    let error = Manifest::read(&path).unwrap_err().to_string();
    assert!(error.contains("manifest.json: line 2"), "{error}");
}

#[test]
#[ignore = "needs python3"]
fn python_reads_csv_and_manifest_with_its_standard_library() {
    let (dir, df) = (folder(), sample());
    let mut results = Results::create(dir.path()).unwrap();
    results.table("t", &df).unwrap();
    results.finish(&serde_json::json!({"walkers": 10_000, "method": "pcd"}), 3).unwrap();
    let script = r#"
import csv, json, math
rows = list(csv.DictReader(open("t.csv", encoding="utf-8", newline="")))
assert [r["method"] for r in rows] == ["jarzynski", 'pcd, "quoted"', "cd", "ρ_θ <b>"], rows
assert [int(r["seed"]) for r in rows] == [0, 1, -7, 2**63 - 1], rows
v = [float(r["value"]) for r in rows]
assert v[0] == 0.1 + 0.2 and v[1] == -1e-300 and math.isnan(v[2]) and v[3] == math.inf, v
m = json.load(open("manifest.json"))
assert m["seed"] == 3 and m["config"] == {"walkers": 10000, "method": "pcd"}, m
assert m["tables"] == [{"name": "t", "rows": 4, "columns": ["method", "seed", "value"]}], m
"#;
    let program = std::env::var("JARZYNSKI_PYTHON").unwrap_or_else(|_| "python3".into());
    let out = Command::new(program).current_dir(dir.path()).args(["-c", script]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn parquet_files_carry_their_manifest() {
    let dir = folder();
    let df = Rows::new(&["step", "ess"]).push((0, 1.0)).push((1, 0.5)).finish().unwrap();
    let mut results = Results::create(dir.path().join("night")).unwrap();
    results.table("steps", &df).unwrap();
    results.table("steps", &df.head(Some(1))).unwrap();
    let manifest = results.finish(&serde_json::json!({"walkers": 10}), 7).unwrap();
    let found = read_metadata(dir.path().join("night/steps.parquet")).unwrap();
    let inside: Manifest = serde_json::from_str(&found["jarzynski"]).unwrap();
    assert_eq!(inside, manifest);
    assert_eq!((inside.info.seed, inside.info.status.as_str(), inside.tables[0].rows), (7, "finished", 1));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = folder();
    std::fs::write(dir.path().join("file"), "").unwrap();
    for path in ["file/below", "file"] {
        let text = Results::create(dir.path().join(path)).unwrap_err().to_string();
        assert!(text.contains(path), "{text}");
    }
}

#[test]
fn one_page_shows_all_results() {
    let dir = folder();
    let page = |dir: &std::path::Path| std::fs::read_to_string(index::write(dir).unwrap()).unwrap();
    let empty = page(dir.path());
    assert!(empty.contains("none yet") && empty.contains("make figure-quick"), "{empty}");
    let mut results = Results::create(dir.path().join("quick")).unwrap();
    results.table("summary", &sample()).unwrap();
    results.notes(&["log Z 3.1 < π".into()]);
    results.finish(&serde_json::json!({"walkers": 10_000}), 5).unwrap();
    std::fs::create_dir(dir.path().join("not-a-result")).unwrap();
    let text = page(dir.path());
    for word in [
        "id=\"quick\"",
        "Seed 5",
        "log Z 3.1 &lt; π",
        "ρ_θ &lt;b&gt;",
        "quick/summary.csv",
        "walkers",
        "make figure-digits",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("make figure-quick") && !text.contains("not-a-result") && !text.contains("://"), "{text}");
    assert!(!text.contains(dir.path().to_str().unwrap()), "no path of this machine");
    // every file that the page shows is there
    for link in text.split(&['"'][..]).filter(|l| l.starts_with("quick/")) {
        assert!(dir.path().join(link).is_file(), "{link}");
    }
    assert!(index::write(dir.path().join("missing")).unwrap_err().to_string().contains("missing"));
}
