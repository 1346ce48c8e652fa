//! Make a small crate with a model, a kernel and a notebook of one's own, which uses the library's compiled dependencies.

use jarzynski::{Error, Result};
use std::path::{Path, PathBuf};

/// The files of the crate: where they go, and what they hold.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../template/Cargo.toml.in")),
    ("build.rs", include_str!("../../template/build.rs.in")),
    ("README.md", include_str!("../../template/README.md.in")),
    (".gitignore", "/target\n/run*.svg\n/run*.png\n.ipynb_checkpoints\n"),
    ("src/lib.rs", include_str!("../../template/lib.rs.in")),
    ("src/main.rs", include_str!("../../template/main.rs.in")),
    ("src/model.rs", include_str!("../../template/model.rs.in")),
    ("src/kernel.rs", include_str!("../../template/kernel.rs.in")),
    ("notebooks/first.ipynb", include_str!("../../template/first.ipynb.in")),
];

/// The settings with which this program was built, as cargo reads them; written by `build.rs`.
const SETTINGS: &str = include_str!(concat!(env!("OUT_DIR"), "/cargo-config.toml"));

/// The library's manifest: its profile is copied, so that its compiled dependencies fit.
const MANIFEST: &str = include_str!("../../../Cargo.toml");

/// Writes the crate to `path`, whose last part is its name, and returns what to do next.
///
/// # Errors
/// `Param` for a name that cargo refuses, a folder with something in it, or a library that is not there; `Io` with the path.
pub fn write(path: &Path, library: Option<&Path>) -> Result<String> {
    let full = std::path::absolute(path).map_err(|e| Error::io(path, e))?;
    let name = full.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned());
    check(&name)?;
    let library = match library {
        Some(dir) => std::path::absolute(dir).map_err(|e| Error::io(dir, e))?,
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")),
    };
    let library = library.canonicalize().ok().filter(|dir| dir.join("src/prelude.rs").is_file()).ok_or_else(|| {
        Error::param("library", library.display(), "the folder of the library's sources; --library DIR names it")
    })?;
    match std::fs::read_dir(&full).map(|mut inside| inside.next().is_none()) {
        Ok(true) => {}
        Ok(false) => return Err(Error::param("folder", path.display(), "one that is empty or not there")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(Error::io(&full, e)),
    }
    let profile = MANIFEST.find("[profile.dev]").map_or("", |start| &MANIFEST[start..]);
    let profile = profile.split("\n[").next().unwrap_or(profile);
    let filled = |text: &str| {
        text.replace("@NAME@", &name)
            .replace("@CRATE@", &name.replace('-', "_"))
            .replace("@LIBRARY@", &toml::Value::String(library.display().to_string()).to_string())
            .replace("@PROFILE@", profile.trim_end())
    };
    for (file, text) in FILES {
        put(&full.join(file), &filled(text))?;
    }
    put(&full.join(".cargo/config.toml"), SETTINGS)?;
    // the versions that are compiled already; cargo removes what this crate does not use
    let lock = library.join("Cargo.lock");
    if lock.is_file() {
        std::fs::copy(&lock, full.join("Cargo.lock")).map_err(|e| Error::io(&lock, e))?;
    }
    let shown = path.display();
    Ok(format!(
        "{name}: a crate with a model, a kernel and a notebook in {shown}\n\n\
         \x20 cd {shown}\n\
         \x20 cargo run      tests the kernel, trains the model, prints log Z (the first time the library is compiled: a minute)\n\
         \x20 cargo test     the kernel keeps its contract\n\n\
         README.md there says what to change, and how to open the notebook.\n"
    ))
}

fn put(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
    }
    std::fs::write(path, text).map_err(|e| Error::io(path, e))
}

/// Names that cargo or rustc refuse, or that hide another crate.
const TAKEN: &[&str] = &[
    "as",
    "async",
    "await",
    "break",
    "const",
    "continue",
    "crate",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "match",
    "mod",
    "move",
    "mut",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "struct",
    "super",
    "trait",
    "true",
    "type",
    "unsafe",
    "use",
    "where",
    "while",
    "abstract",
    "become",
    "box",
    "do",
    "final",
    "macro",
    "override",
    "priv",
    "try",
    "typeof",
    "unsized",
    "virtual",
    "yield",
    "test",
    "core",
    "std",
    "alloc",
    "proc-macro",
    "build",
    "deps",
    "examples",
    "incremental",
    "jarzynski",
    "tch",
    "polars",
];

fn check(name: &str) -> Result<()> {
    let sound = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    if sound && !TAKEN.contains(&name) {
        return Ok(());
    }
    let expected =
        "small letters, digits, - and _, a letter first, and no word of Rust or name of a crate that is used";
    Err(Error::param("name", format!("{name:?}"), expected))
}
