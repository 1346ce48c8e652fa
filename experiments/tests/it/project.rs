//! Make a project, build it and run it as its user would; complete words as a shell does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn jarzynski(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jarzynski")).args(args).output().unwrap()
}

fn refusal(args: &[&str]) -> String {
    let out = jarzynski(args);
    assert_eq!(out.status.code(), Some(1), "{args:?}");
    String::from_utf8(out.stderr).unwrap()
}

/// In an empty folder, where cargo keeps what tests make.
fn make(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    let out = jarzynski(&["new", path.to_str().unwrap()]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    path
}

/// Cargo as a user calls it, with finished programs in the project.
fn cargo(project: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    command.args(args).arg("--offline").current_dir(project).env("CARGO_TARGET_DIR", project.join("target"));
    // cargo says of itself and of the test's crate what would confuse another cargo
    for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("CARGO_PKG") || n.starts_with("CARGO_MANIFEST")) {
        command.env_remove(name);
    }
    let out = command.env_remove("RUSTC_WORKSPACE_WRAPPER").output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "cargo {args:?}: {text}\n{}", String::from_utf8_lossy(&out.stderr));
    text
}

#[test]
fn a_new_project_builds_runs_and_passes_its_tests() {
    let project = make("first-project");
    let text = cargo(&project, &["run"]);
    assert!(text.contains("the kernel's weights are exact: yes"), "{text}");
    // the number and its error, within five of the exact one
    let words = |before: &str| -> Vec<f64> {
        let line = text.lines().find_map(|l| l.strip_prefix(before)).unwrap_or_else(|| panic!("{before}: {text}"));
        line.split([' ', ',']).filter_map(|w| w.parse().ok()).collect()
    };
    let (value, se, exact) = (words("log Z =")[0], words("log Z =")[1], words("log Z by quadrature =")[0]);
    assert!(se > 0.0 && (value - exact).abs() < 5.0 * se, "{text}");
    assert!(project.join("run.svg").is_file());
    // the program starts by itself, without cargo's settings
    let program =
        walk(&project.join("target")).into_iter().find(|p| p.file_name().unwrap() == "first-project").unwrap();
    let out = Command::new(program).env_clear().current_dir(&project).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = cargo(&project, &["test", "--lib"]);
    assert!(text.contains("2 passed"), "{text}");
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|p| if p.is_dir() { walk(&p) } else { vec![p] }).collect()
}

#[test]
fn a_project_holds_a_notebook_and_no_blank_is_left() {
    let project = make("rings_2");
    for file in walk(&project).iter().filter(|f| f.file_name().unwrap() != "Cargo.lock") {
        let text = std::fs::read_to_string(file).unwrap();
        for blank in ["@NAME@", "@CRATE@", "@LIBRARY@", "@PROFILE@"] {
            assert!(!text.contains(blank), "{}: {blank}", file.display());
        }
        if file.extension().is_some_and(|e| e == "ipynb") {
            let notebook: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(notebook["cells"].as_array().unwrap().len() > 5);
            assert!(text.contains(":dep rings_2 = "), "{text}");
        }
        if file.extension().is_some_and(|e| e == "toml") {
            text.parse::<toml::Table>().unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        }
    }
}

#[test]
fn a_project_is_refused_where_it_cannot_be_made() {
    let tmp = tempfile::tempdir().unwrap();
    let path = |name: &str| tmp.path().join(name).to_str().unwrap().to_string();
    std::fs::create_dir(path("full")).unwrap();
    std::fs::write(path("full/file"), "x").unwrap();
    for (args, named) in [
        (vec!["new"], "jarzynski new PATH"),
        (vec!["new", &path("full")], "empty or not there"),
        (vec!["new", &path("fn")], "no word of Rust"),
        (vec!["new", &path("Upper")], "small letters"),
        (vec!["new", &path("jarzynski")], "name of a crate"),
        (vec!["new", &path("ring"), "--library", &path("full")], "--library"),
        (vec!["new", &path("ring"), "--seed", "3"], "--seed"),
        (vec!["new", &path("full/file/ring")], "full/file/ring"),
    ] {
        let text = refusal(&args);
        assert!(text.contains(named), "{args:?}: {text}");
        assert!(!Path::new(&path("ring")).exists() && std::fs::read_dir(path("full")).unwrap().count() == 1);
    }
}

/// What bash offers after these words; the last one is begun.
fn offered(words: &[&str]) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_jarzynski"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let script = "source <(jarzynski completions bash); COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _jarzynski; \
                  printf '%s\\n' \"${COMPREPLY[@]}\"";
    let out = Command::new("bash").args(["-c", script, "bash"]).args(words).env("PATH", path).output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().split_whitespace().map(str::to_string).collect()
}

#[test]
fn bash_completes_commands_names_and_settings() {
    let first = offered(&["jarzynski", ""]);
    for word in ["run", "doctor", "new", "ula-bias", "quick", "--help"] {
        assert!(first.contains(&word.to_string()), "{word}: {first:?}");
    }
    assert_eq!(offered(&["jarzynski", "ula"]), ["ula-bias"]);
    assert_eq!(offered(&["jarzynski", "run", "mix"]), ["mixture"]);
    assert_eq!(offered(&["jarzynski", "quick", "--walk"]), ["--walkers"]);
    assert_eq!(offered(&["jarzynski", "config", "quick", "--f"]), ["--full"]);
    assert_eq!(offered(&["jarzynski", "quick", "--device", ""]), ["cpu", "cuda:0"]);
    assert_eq!(offered(&["jarzynski", "completions", "f"]), ["fish"]);
    assert_eq!(offered(&["jarzynski", "doctor", "--f"]), Vec::<String>::new());
}

#[test]
fn completions_are_for_three_shells() {
    for (shell, first) in [("bash", "# Completes"), ("zsh", "#compdef jarzynski\n"), ("fish", "# Completes")] {
        let out = jarzynski(&["completions", shell]);
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success() && text.starts_with(first) && text.contains("doctor"), "{shell}: {text}");
        // where the shell is there, it reads the script
        if shell != "bash" && Command::new(shell).arg("--version").output().is_ok() {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("completions.{shell}"));
            std::fs::write(&file, &text).unwrap();
            assert!(Command::new(shell).arg("-n").arg(&file).status().unwrap().success(), "{shell}");
        }
    }
    let text = refusal(&["completions", "tcsh"]);
    assert!(text.contains("tcsh") && text.contains("bash, zsh or fish"), "{text}");
}
