//! Hold the order of the library's modules: every file imports from modules below its own, and no modules import in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// From the lowest layer to the highest; modules of one layer do not import from each other.
const LAYERS: [&[&str]; 13] = [
    &["error"],
    &["numeric"],
    &["io"],
    &["density", "data"],
    &["walkers"],
    &["kernel"],
    &["model"],
    &["run"],
    &["train", "transport"],
    &["tune", "sweep"],
    &["plot"],
    &["display"],
    &["experiments"],
];

/// Imports that break the order and are known: (file, module). To be empty.
const EXCEPTIONS: &[(&str, &str)] = &[
    // moves with the trait that Gibbs kernels ask for
    ("kernel/gibbs.rs", "model"),
];

/// Files that belong to no module: they gather what the modules offer.
const ROOT: [&str; 3] = ["lib.rs", "main.rs", "prelude.rs"];

/// What a file imports: (module, or the item where it comes from the crate's root).
type Imports = BTreeSet<String>;

/// Source text with comments, strings and characters blanked, so that braces and paths can be read.
fn code_only(text: &str) -> String {
    let source: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let at = |i: usize| source.get(i).copied().unwrap_or('\0');
    let ident = |c: char| c.is_alphanumeric() || c == '_';
    let mut i = 0;
    while i < source.len() {
        let start = i;
        match source[i] {
            '/' if at(i + 1) == '/' => {
                while i < source.len() && source[i] != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                while i < source.len() {
                    match (source[i], at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            'r' if (at(i + 1) == '"' || at(i + 1) == '#')
                && (i == 0 || !ident(source[i - 1]) || source[i - 1] == 'b') =>
            {
                let hashes = source[i + 1..].iter().take_while(|c| **c == '#').count();
                if at(i + 1 + hashes) != '"' {
                    out.push('r'); // r#name
                    i += 1;
                    continue;
                }
                i += hashes + 2;
                let closes = |i: usize| at(i) == '"' && (1..=hashes).all(|k| at(i + k) == '#');
                while i < source.len() && !closes(i) {
                    i += 1;
                }
                i += hashes + 1;
            }
            '"' => {
                i += 1;
                while i < source.len() && source[i] != '"' {
                    i += if source[i] == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            '\'' if at(i + 1) == '\\' => {
                i += 3; // past the escaped character, which may be a quote
                while i < source.len() && source[i] != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            c => {
                out.push(c);
                i += 1;
                continue;
            }
        }
        out.extend(source[start..i.min(source.len())].iter().filter(|c| **c == '\n'));
        out.push(' ');
    }
    out
}

/// The end of what begins at `from`: behind its closing brace, or behind its semicolon where that comes first.
fn end_of_item(code: &str, from: usize) -> usize {
    let mut depth = 0;
    for (i, c) in code[from..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return from + i + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return from + i + 1,
            _ => {}
        }
    }
    code.len()
}

/// Code without what is compiled for the file's own tests alone.
fn without_tests(code: &str) -> String {
    let (mut rest, mut out) = (code, String::new());
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        rest = &rest[end_of_item(rest, at)..];
    }
    out + rest
}

/// The first names of the paths in `list`, the inside of `{a::b, c::{d, e}, f as g}`.
fn heads(list: &str) -> Vec<String> {
    let (mut depth, mut part, mut out) = (0, String::new(), vec![]);
    for c in list.chars().chain([',']) {
        match c {
            ',' if depth == 0 => {
                out.push(head(&part));
                part.clear();
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        part.push(c);
    }
    out.retain(|name| !name.is_empty());
    out
}

fn head(path: &str) -> String {
    let path = path.trim_start();
    let path = path.strip_prefix("r#").unwrap_or(path);
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '*').collect()
}

/// How many `mod name { … }` of a file are open at `at`.
fn open_modules(code: &str, at: usize) -> usize {
    let (mut open, mut behind) = (vec![], 0);
    for (i, c) in code[..at].char_indices().filter(|(_, c)| "{};".contains(*c)) {
        match c {
            '{' => open.push(code[behind..i].split_whitespace().any(|word| word == "mod")),
            '}' => drop(open.pop()),
            _ => {}
        }
        behind = i;
    }
    open.iter().filter(|module| **module).count()
}

/// What a file of the module at `depth` names below the root `crate::`, or below as many `super::` as lead there.
fn imports(text: &str, depth: usize) -> Imports {
    let code = without_tests(&code_only(text));
    let mut found = Imports::new();
    for (at, start) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let mut rest = &code[at + start.len()..];
        if start == "super::" {
            let mut up = 1;
            while let Some(further) = rest.strip_prefix(start) {
                (rest, up) = (further, up + 1);
            }
            if up < depth + open_modules(&code, at) {
                continue;
            }
        }
        let rest = rest.trim_start();
        match rest.starts_with('{') {
            true => found.extend(heads(&rest[1..end_of_item(rest, 0) - 1])),
            false => found.extend([head(rest)]),
        }
    }
    found
}

/// Every file's imports by its path below `src`, which is `module/…` or `module.rs`.
fn read(src: &Path) -> BTreeMap<String, Imports> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![src.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(src).unwrap().to_str().unwrap().replace('\\', "/");
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && !ROOT.contains(&name.as_str()) {
                let depth = name.matches('/').count() + usize::from(!name.ends_with("mod.rs"));
                files.insert(name, imports(&std::fs::read_to_string(&path).unwrap(), depth));
            }
        }
    }
    files
}

fn module(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|names| names.contains(&module))
}

/// Imports against the order, as (file, what it imports).
fn upward(files: &BTreeMap<String, Imports>) -> Vec<(String, String)> {
    let mut out = vec![];
    for (file, imports) in files {
        let own = module(file);
        for name in imports.iter().filter(|name| *name != own) {
            let allowed = matches!((layer(own), layer(name)), (Some(own), Some(other)) if other < own);
            if !allowed {
                out.push((file.clone(), name.clone()));
            }
        }
    }
    out
}

/// Modules that import from each other, round by round of taking away those that nothing left imports or that import nothing left.
fn circles(files: &BTreeMap<String, Imports>) -> BTreeSet<String> {
    let mut edges: BTreeSet<(String, String)> = BTreeSet::new();
    for (file, imports) in files {
        edges.extend(imports.iter().filter(|n| *n != module(file)).map(|n| (module(file).to_string(), n.clone())));
    }
    loop {
        let (from, to): (BTreeSet<_>, BTreeSet<_>) = edges.iter().cloned().unzip();
        let before = edges.len();
        edges.retain(|(a, b)| to.contains(a) && from.contains(b));
        if edges.len() == before {
            return from;
        }
    }
}

#[test]
fn files_import_from_the_layers_below_them() {
    let files = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(files.len() > 100 && files["walkers/mod.rs"].contains("density"), "the sources were not read");
    let unknown: BTreeSet<&str> = files.keys().map(|f| module(f)).filter(|m| layer(m).is_none()).collect();
    assert!(unknown.is_empty(), "modules without a layer: {unknown:?}");
    let known: Vec<(String, String)> = EXCEPTIONS.iter().map(|(f, m)| (f.to_string(), m.to_string())).collect();
    let new: Vec<_> = upward(&files).into_iter().filter(|found| !known.contains(found)).collect();
    assert!(new.is_empty(), "a file imports from its own layer, from above it or from the crate's root: {new:#?}");
}

#[test]
fn modules_import_in_no_circle() {
    let mut files = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    for (file, module) in EXCEPTIONS {
        files.get_mut(*file).unwrap().remove(*module);
    }
    assert_eq!(circles(&files), BTreeSet::new());
}

/// The names that the `pub use` of a file bring in.
fn reexported(text: &str) -> Vec<String> {
    let code = code_only(text);
    let lists = code.split("pub use ").skip(1).map(|rest| rest.split(';').next().unwrap());
    let names = lists.flat_map(|list| {
        let items = list.rsplit_once("::").map_or(list, |(_, last)| last);
        let items = list.split_once('{').map_or(items, |(_, inside)| inside.trim_end().trim_end_matches('}'));
        items.split(',').map(|item| item.split_whitespace().last().unwrap_or("").to_string())
    });
    names.filter(|name| !name.is_empty()).collect()
}

#[test]
fn the_prelude_is_short() {
    let names = reexported(include_str!("../../src/prelude.rs"));
    assert!(names.iter().any(|name| name == "Trainer"), "the prelude was not read: {names:?}");
    assert!(names.len() <= 40, "{} names: {names:?}", names.len());
    let in_every_cell = ["Path", "Result", "Error", "Box", "Vec", "Option", "String"];
    assert!(names.iter().all(|name| name != "*" && !in_every_cell.contains(&name.as_str())), "{names:?}");
}

#[test]
fn reexported_names_are_counted() {
    let text = "//! pub use not::This;\nuse crate::a::B;\npub use crate::a::C;\npub use crate::{d,\n    E as Path, };\npub use f::*;";
    assert_eq!(reexported(text), ["C", "d", "Path", "*"]);
}

/// Files that hold to the order, and what `text` in `walkers/mod.rs` adds to them.
fn made_up(text: &str) -> BTreeMap<String, Imports> {
    let file = |name: &str, text: &str| (name.to_string(), imports(text, 1));
    BTreeMap::from([
        file("numeric/mod.rs", "use crate::error::Result;"),
        file("density/model.rs", "use crate::numeric::Rng;"),
        file("walkers/mod.rs", &format!("use crate::density::{{Base, Energy}};\n{text}")),
        file("kernel/ula.rs", "use crate::walkers::Walkers;"),
    ])
}

#[test]
fn made_up_faults_are_noticed() {
    let one = |name: &str| vec![("walkers/mod.rs".to_string(), name.to_string())];
    for (text, found) in [
        ("", vec![]),
        ("use crate::io::{frame::{self, Rows}, Checkpoint};", vec![]),
        ("use crate::run::Run;", one("run")),
        ("fn f() -> crate::train::Settings { todo!() }", one("train")),
        ("pub(crate) use crate::error::Error;", vec![]),
        ("use crate::{error::{Error, guard}, sweep::Sweep};", one("sweep")),
        ("use crate::Rng;", one("Rng")),
        ("use super::plot::Figure;", one("plot")),
        ("mod inner { use super::Walkers; }", vec![]),
        ("mod inner { fn f() {} }\nuse super::plot::Figure;", one("plot")),
        ("mod inner { fn f() { use super::super::plot::Figure; } }", one("plot")),
        ("use crate::data::Dataset;", vec![]),
        (
            "// crate::run::Run\n/* use crate::run::Run; */ const A: &str = \"crate::run\"; const B: char = '\"';",
            vec![],
        ),
        ("const A: char = '\\''; use crate::run::Run;", one("run")),
        ("const A: &str = r#\"{\" crate::run {\"#; use crate::tune::Tune;", one("tune")),
        ("#[cfg(test)]\nmod tests { use crate::run::Run; fn f<'a>() { if true { } } }", vec![]),
        ("#[cfg(test)]\nmod tests { fn f() { let _ = '}'; } }\nuse crate::run::Run;", one("run")),
        ("#[cfg(test)]\nuse crate::run::Run;\nuse crate::model::Rbm;", one("model")),
    ] {
        assert_eq!(upward(&made_up(text)), found, "{text}");
    }
    // density and data are of one layer
    let beside = BTreeMap::from([("data/mod.rs".to_string(), imports("use crate::density::Model;", 1))]);
    assert_eq!(upward(&beside), [("data/mod.rs".to_string(), "density".to_string())]);
}

#[test]
fn made_up_circles_are_noticed() {
    let names = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(circles(&made_up("")), names(&[]));
    assert_eq!(circles(&made_up("use crate::kernel::Kernel;")), names(&["kernel", "walkers"]));
    let mut three = made_up("");
    three.insert("density/path.rs".into(), imports("fn f(k: &crate::kernel::Ula) {}", 1));
    assert_eq!(circles(&three), names(&["density", "kernel", "walkers"]));
}
