//! Feed damaged and random configurations and manifests to the experiments: each answers with a value or an error.

#[path = "../../tests/fuzz/harness.rs"]
mod harness;

use harness::{alone, below, inputs, pick, probe, put};
use jarzynski::Rng;
use jarzynski::io::frame::Rows;
use jarzynski_experiments::results::{Manifest, Results};
use jarzynski_experiments::{Size, find, registry};
use std::fs;

/// Another value for a key: of any type, and extreme.
fn value(rng: &mut Rng, depth: usize) -> toml::Value {
    match below(rng, if depth < 4 { 8 } else { 6 }) {
        0 => toml::Value::Integer(pick(rng, &[0, 1, -1, i64::MIN, i64::MAX, 1 << 31, 1 << 32, 7])),
        1 => toml::Value::Float(pick(rng, &[0.0, -0.0, f64::NAN, f64::INFINITY, -1e308, 5e-324, 0.5, 1e300])),
        2 => toml::Value::Boolean(rng.uniform() < 0.5),
        3 => toml::Value::String(pick(rng, &["", "x", "jarzynski", "\n", "🦀", "in `", ", expected "]).into()),
        4 => toml::Value::Array(vec![]),
        5 => toml::Value::Table(toml::Table::new()),
        6 => toml::Value::Array((0..below(rng, 4)).map(|_| value(rng, depth + 1)).collect()),
        _ => toml::Value::Table((0..below(rng, 4)).map(|i| (format!("k{i}"), value(rng, depth + 1))).collect()),
    }
}

/// Changes the value of a random key, within tables too.
fn disturb(rng: &mut Rng, table: &mut toml::Table) {
    let keys: Vec<String> = table.keys().cloned().collect();
    if keys.is_empty() || rng.uniform() < 0.05 {
        table.insert(pick(rng, &["", "seed", "unknown", "a.b", "é", "`"]).into(), value(rng, 0));
        return;
    }
    let key = &keys[below(rng, keys.len())];
    match table.get_mut(key) {
        Some(toml::Value::Table(inner)) if rng.uniform() < 0.8 => disturb(rng, inner),
        Some(toml::Value::Array(list)) if !list.is_empty() && rng.uniform() < 0.5 => {
            let at = below(rng, list.len());
            list[at] = value(rng, 0);
        }
        _ => drop(table.insert(key.clone(), value(rng, 0))),
    }
}

fn nested(open: &str, close: &str, depth: usize) -> String {
    open.repeat(depth) + &close.repeat(depth)
}

#[test]
fn configurations() {
    let _one = alone();
    let mut count = 0;
    for (i, entry) in registry::ALL.iter().enumerate() {
        let name = entry.name;
        let mut rng = Rng::new(100 + i as u64);
        let valid = entry.config(&toml::Table::new(), Size::Usual).unwrap();
        let table: toml::Table = valid.parse().unwrap();
        assert_eq!(
            entry.config(&table, Size::Full).unwrap(),
            valid,
            "{name}: a whole configuration replaces the full one"
        );
        for j in 0..400 {
            let mut changed = table.clone();
            (0..1 + below(&mut rng, 3)).for_each(|_| disturb(&mut rng, &mut changed));
            let text = changed.to_string();
            count += 1;
            let config = probe(name, text.as_bytes(), text.len(), || {
                find(name)?.config(&changed, if j % 2 == 0 { Size::Full } else { Size::Usual })
            });
            // what is accepted is shown as what is accepted
            if let Some(config) = config.filter(|c| !c.contains("nan")) {
                assert_eq!(entry.config(&config.parse().unwrap(), Size::Usual).unwrap(), config, "{name}");
            }
        }
        for bytes in inputs(200 + i as u64, valid.as_bytes(), 400, 20) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            count += 1;
            // text that is no TOML is refused by the same parser before an experiment sees it
            probe(name, &bytes, bytes.len(), || match text.parse::<toml::Table>() {
                Ok(table) => entry.config(&table, Size::Usual).map(|_| ()),
                Err(_) => Ok(()),
            });
        }
    }
    for deep in [nested("a = [", "]", 1), format!("a = {}", nested("[", "]", 100_000)), "a.".repeat(100_000) + "a = 1"]
    {
        count += 1;
        probe("deep TOML", b"", deep.len(), || {
            let Ok(table) = deep.parse::<toml::Table>() else { return Ok(()) };
            registry::ALL[0].config(&table, Size::Usual).map(|_| ())
        });
    }
    println!("TOML: {count} inputs");
    assert!(count >= 10_000);
}

#[test]
fn the_program_refuses_what_is_no_configuration() {
    let _one = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let deep = format!("a = {}", nested("[", "]", 100_000));
    for content in [
        b"seed = ".as_slice(),
        b"\xff\xfe",
        b"seed = 99999999999999999999",
        b"seed = 1\nseed = 2",
        b"seed = -1",
        b"= 1",
        b"[a",
        "é = 1é".as_bytes(),
        deep.as_bytes(),
    ] {
        put(&path, content);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_jarzynski"));
        let out = command.args(["config", "mixture", "--config"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(1) && said.starts_with("jarzynski: "), "{:?} {said}", out.status);
    }
}

#[test]
fn manifests() {
    let _one = alone();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut results = Results::create(dir).unwrap();
    results.table("a", &Rows::new(&["x", "y"]).push((1, 2.5)).finish().unwrap()).unwrap();
    results.finish(&serde_json::json!({ "walkers": 10, "list": [1.5, "é"] }), 7).unwrap();
    let valid = fs::read(dir.join("manifest.json")).unwrap();
    let deep = [b"{\"config\":".to_vec(), nested("[", "]", 100_000).into_bytes()].concat();
    let mut count = 0;
    for bytes in inputs(40, &valid, 3_000, 300).chain([deep]) {
        put(dir.join("manifest.json"), &bytes);
        count += 1;
        if let Some(read) = probe("Manifest::read", &bytes, bytes.len(), || Manifest::read(dir)) {
            // what was read can be written and is the same again
            read.write(dir).unwrap();
            assert_eq!(Manifest::read(dir).unwrap(), read);
        }
    }
    println!("manifest: {count} inputs");
}
