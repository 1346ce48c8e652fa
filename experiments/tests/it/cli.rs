//! Drive the binary as a user does: what it prints, what it writes, how it refuses.

use jarzynski_experiments::registry;
use jarzynski_experiments::results::Manifest;
use std::path::Path;
use std::process::{Command, Output};

fn jarzynski(args: &[&str]) -> Output {
    with_threads(args, None)
}

fn with_threads(args: &[&str], threads: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jarzynski"));
    command.args(args);
    if let Some(n) = threads {
        command.env("RAYON_NUM_THREADS", n).env("OMP_NUM_THREADS", n);
    }
    command.output().unwrap()
}

fn stdout(args: &[&str]) -> String {
    let out = jarzynski(args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    assert!(out.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Exit code 1, one line on standard error, which is returned, and at most one more with a hint.
fn refusal(args: &[&str]) -> String {
    refusal_and_hint(args).0
}

fn refusal_and_hint(args: &[&str]) -> (String, Option<String>) {
    let out = jarzynski(args);
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1), "{args:?}: {text}");
    let mut lines = text.lines().map(str::to_string);
    let (first, hint) = (lines.next().unwrap(), lines.next());
    assert!(lines.next().is_none() && hint.iter().all(|h| h.starts_with("hint: ")), "{args:?}: {text}");
    assert!(first.starts_with("jarzynski: "), "{text}");
    (first, hint)
}

const SMALL: [&str; 9] = ["ula-bias", "--walkers", "500", "--steps", "60", "--h", "[0.1, 0.2]", "--seeds", "2"];

fn small<'a>(more: &[&'a str]) -> Vec<&'a str> {
    SMALL.iter().copied().chain(more.iter().copied()).collect()
}

#[test]
fn help_list_and_version() {
    for args in [&[][..], &["--help"], &["-h"], &["help"]] {
        let text = stdout(args);
        assert!(text.contains("--config FILE") && text.contains("jarzynski list"), "{text}");
    }
    // every command that the overview names explains itself, with an example
    let overview = stdout(&["help"]);
    let commands: Vec<&str> = overview.lines().filter_map(|l| l.strip_prefix("  jarzynski ")).collect();
    assert!(commands.len() > 10, "{overview}");
    for line in commands {
        let name = line.split(' ').next().unwrap();
        let text = stdout(&["help", name]);
        assert!(text.contains("Examples:\n  ") && text.starts_with(&format!("jarzynski {name}")), "{text}");
        assert_eq!(stdout(&[name, "--help"]), text);
    }
    // an experiment shows its settings
    let text = stdout(&["ula-bias", "--help"]);
    assert!(text.contains("--config FILE") && text.contains("\n  walkers = "), "{text}");
    assert_eq!(stdout(&["help", "ula-bias"]), text);
    assert_eq!(stdout(&["run", "ula-bias", "--help"]), text);
    let text = stdout(&["list"]);
    for entry in registry::ALL {
        let line = text.lines().find(|l| l.starts_with(entry.name)).unwrap_or_else(|| panic!("{text}"));
        assert!(line.ends_with(entry.about));
    }
    let lines = |args: &[&str]| stdout(args).lines().map(str::to_string).collect::<Vec<_>>();
    assert_eq!(lines(&["list", "names"]), registry::ALL.iter().map(|e| e.name).collect::<Vec<_>>());
    let plan = lines(&["list", "plan"]);
    let seconds: Vec<u32> = plan.iter().map(|l| l.split_once(' ').unwrap().1.parse().unwrap()).collect();
    assert!(seconds.is_sorted() && seconds[0] < 60, "the first figure comes within a minute: {plan:?}");
    let figures = lines(&["list", "figures"]);
    assert_eq!(figures, plan.iter().map(|l| l.split(' ').next().unwrap()).collect::<Vec<_>>());
    assert!(figures.contains(&"rbm-mnist".into()) && !figures.contains(&"mnist".into()), "{figures:?}");
    assert_eq!(lines(&["list", "data"]), ["mnist mnist", "mnist-one-level mnist", "rbm-mnist mnist"]);
    assert_eq!(stdout(&["--version"]).trim(), format!("jarzynski {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_program_starts_without_the_settings_it_was_built_with() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jarzynski"));
    let out = command.args(["list", "names"]).env_clear().output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_configuration_can_be_shown_changed_and_read_back() {
    let table: toml::Table = stdout(&["config", "ula-bias"]).parse().unwrap();
    assert_eq!(table["walkers"].as_integer(), Some(20_000));
    let text = stdout(&["config", "ula-bias", "--walkers=7", "--angle", "45", "--h", "0.1"]);
    let table: toml::Table = text.parse().unwrap();
    assert_eq!((table["walkers"].as_integer(), table["angle"].as_float()), (Some(7), Some(45.0)));
    assert_eq!(table["h"].as_array().unwrap().len(), 1);
    // Numbers as people write them.
    let written =
        stdout(&["config", "ula-bias", "--walkers", "1e4", "--angle", ".5", "--h", "[.1, 2e-1]", "--steps", "1e2"]);
    let written: toml::Table = written.parse().unwrap();
    assert_eq!((written["walkers"].as_integer(), written["steps"].as_integer()), (Some(10_000), Some(100)));
    assert_eq!((written["angle"].as_float(), written["h"][1].as_float()), (Some(0.5), Some(0.2)));

    let tmp = tempfile::tempdir().unwrap();
    let file = tmp.path().join("config.toml");
    std::fs::write(&file, &text).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(stdout(&["config", "ula-bias", "--config", file]), text);
    // A key on the command line wins over the file, wherever it stands.
    for args in [["--seed", "9", "--config", file], ["--config", file, "--seed", "9"]] {
        let text = stdout(&[&["config", "ula-bias"], &args[..]].concat());
        assert_eq!(text.parse::<toml::Table>().unwrap()["seed"].as_integer(), Some(9));
        assert!(text.contains("walkers = 7"), "{text}");
    }
}

#[test]
fn a_run_writes_tables_figures_and_manifest() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().join("deep").join("folder");
    let text = stdout(&small(&["--seed", "5", "--out", dir.to_str().unwrap()]));
    assert!(text.contains("moments") && text.contains(dir.to_str().unwrap()), "{text}");
    for file in ["moments.csv", "moments.parquet"] {
        assert!(std::fs::metadata(dir.join(file)).unwrap().len() > 100, "{file}");
    }
    let csv = std::fs::read_to_string(dir.join("moments.csv")).unwrap();
    assert_eq!(csv.lines().next(), Some("case,method,quantity,value,se,exact,biased,ess"));
    assert_eq!(csv.lines().count(), 1 + 2 * 7);
    assert_eq!(&std::fs::read(dir.join("moments.parquet")).unwrap()[..4], b"PAR1");

    let manifest = Manifest::read(&dir).unwrap();
    assert_eq!((manifest.info.label.as_str(), manifest.info.seed), ("ula-bias", 5));
    let config = &manifest.info.config;
    assert_eq!(
        (config["walkers"].as_u64(), config["seed"].as_u64(), config["seeds"].as_u64()),
        (Some(500), Some(5), Some(2))
    );
    let raw: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    for name in ["jarzynski", "tch", "libtorch", "polars"] {
        assert!(raw["versions"][name].as_str().is_some_and(|v| v.contains('.')), "{raw}");
    }
    assert_eq!(manifest.tables.len(), 1);
    assert_eq!((manifest.tables[0].name.as_str(), manifest.tables[0].rows), ("moments", 14));
    if cfg!(feature = "plot") {
        assert_eq!(manifest.figures, ["covariance"]);
        assert!(std::fs::read_to_string(dir.join("covariance.svg")).unwrap().starts_with("<svg"));
        assert_eq!(&std::fs::read(dir.join("covariance.png")).unwrap()[1..4], b"PNG");
    }
}

#[test]
fn results_go_to_a_folder_of_the_experiments_name() {
    let tmp = tempfile::tempdir().unwrap();
    let args = ["divergences", "--points", "2", "--n", "20", "--seeds", "2", "--draws", "50"];
    let out = Command::new(env!("CARGO_BIN_EXE_jarzynski")).args(args).current_dir(tmp.path()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let dir = tmp.path().join("results/divergences");
    for table in ["divergences", "summary", "histogram"] {
        assert!(dir.join(table).with_extension("csv").exists(), "{table}");
    }
    assert_eq!(Manifest::read(&dir).unwrap().info.label, "divergences");
}

#[test]
fn refusals_name_what_is_wrong_in_one_line() {
    let tmp = tempfile::tempdir().unwrap();
    let path = |name: &str| tmp.path().join(name).to_str().unwrap().to_string();
    let (missing, broken, strange) = (path("missing.toml"), path("broken.toml"), path("strange.toml"));
    std::fs::write(&broken, "walkers = 500\nh = [0.1\nsteps = 5\n").unwrap();
    std::fs::write(&strange, "[walkers]\nn = 3\n").unwrap();
    let out = path("out");
    let cases: &[(&[&str], &[&str])] = &[
        (&["nope"], &["nope", "ula-bias", "divergences"]),
        (&["config", "nope"], &["nope"]),
        (&["config"], &["config"]),
        (&["ula-bias", "divergences"], &["one experiment"]),
        (&["ula-bias", "--wlakers", "5"], &["wlakers", "expected `walkers`?"]),
        (&["run", "ula-bais"], &["ula-bais", "expected `ula-bias`?"]),
        (&["digits", "--device", "gpu"], &["device = gpu", "cuda:N"]),
        (&["show", &out], &["out", "run.json", "manifest.json"]),
        (&["resume", &out], &["out", "begun and not finished"]),
        (&["compare", &out, &missing], &["run.json"]),
        (&["ula-bias", "--walkers", "many"], &["walkers (\"many\"): expected a whole number, 0 or more;"]),
        (&["ula-bias", "--walkers", "1.5"], &["walkers (1.5): expected a whole number, 0 or more;"]),
        (&["ula-bias", "--angle", "wide"], &["angle (\"wide\"): expected a number;"]),
        (&["ula-bias", "--eigenvalues", "[1]"], &["eigenvalues", "expected a list of 2;"]),
        (&["digits", "--mixed", "2"], &["mixed (2): expected true or false;"]),
        (&["ula-bias", "--walkers", "-3"], &["walkers", "-3"]),
        (&["ula-bias", "--walkers", "0"], &["walkers"]),
        (&["ula-bias", "--seed", "x"], &["seed", "\"x\""]),
        (&["ula-bias", "--walkers"], &["--walkers"]),
        (&["ula-bias", "-x"], &["'x'"]),
        (&["ula-bias", "--config", &missing], &["missing.toml"]),
        (&["ula-bias", "--config", &broken], &["broken.toml", "line 3, column 1"]),
        (&["ula-bias", "--config", &strange], &["walkers (a table): expected a whole number, 0 or more;"]),
        (&["ula-bias", "--config"], &["--config"]),
    ];
    for (args, named) in cases {
        // an option that a command does not take would be refused before anything else
        let plain =
            ["config", "show", "resume"].contains(&args[0]) || ["--walkers", "--config"].contains(args.last().unwrap());
        let text = refusal(&[*args, &["--out", &out][..if plain { 0 } else { 2 }]].concat());
        named.iter().for_each(|n| assert!(text.contains(n), "{args:?}: {n} not in {text}"));
    }
    // A folder that cannot be made: its parent is a file.
    let text = refusal(&small(&["--out", &format!("{broken}/below")]));
    assert!(text.contains("broken.toml"), "{text}");
}

#[test]
fn options_that_do_not_apply_are_refused() {
    for (args, named) in [
        (&["list", "--full"][..], "no option after `jarzynski list`"),
        (&["show", "results", "--seed", "3"], "--seed"),
        (&["doctor", "--walkers", "3"], "--walkers"),
        (&["resume", "results", "--full"], "one of --device"),
        (&["config", "quick", "--device", "cpu"], "--device"),
        (&["quick", "--columns", "ess"], "--columns"),
        (&["compare", "a", "b", "--small"], "one of --columns, --out"),
    ] {
        let text = refusal(args);
        assert!(text.contains(named), "{args:?}: {text}");
    }
}

#[test]
fn hints_say_what_to_do_next() {
    for (args, named) in [
        (&["nope"][..], "jarzynski list"),
        (&["list", "--full"], "jarzynski help"),
        (&["quick", "divergences"], "jarzynski help"),
        (&["quick", "--device", "gpu"], "jarzynski doctor"),
    ] {
        let hint = refusal_and_hint(args).1.unwrap_or_else(|| panic!("{args:?}: no hint"));
        assert!(hint.contains(named), "{args:?}: {hint}");
    }
    // an error that says it all has none
    assert_eq!(refusal_and_hint(&["quick", "--walkers", "many"]).1, None);
}

fn csv(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("moments.csv")).unwrap()
}

#[test]
fn the_seed_alone_decides_the_bytes() {
    let tmp = tempfile::tempdir().unwrap();
    // 40,000 walkers: large enough that libtorch and rayon do share the work between threads.
    let run = |name: &str, threads, seed| {
        let dir = tmp.path().join(name);
        let big = ["ula-bias", "--walkers", "40000", "--steps", "21", "--h", "0.2", "--seeds", "1"];
        let args = [&big[..], &["--seed", seed, "--out", dir.to_str().unwrap()]].concat();
        let out = with_threads(&args, Some(threads));
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        csv(&dir)
    };
    let one = run("one", "1", "3");
    assert!(one == run("two", "2", "3"), "one thread and two");
    assert!(one == run("again", "2", "3"), "twice");
    assert!(one != run("other", "2", "4"), "another seed");
}

#[test]
fn an_experiment_that_was_killed_is_resumed() {
    let tmp = tempfile::tempdir().unwrap();
    let (whole, killed) = (tmp.path().join("whole"), tmp.path().join("killed"));
    let args = |dir: &Path| {
        let dir = dir.to_str().unwrap().to_string();
        let sets =
            ["rbm-exact", "--sets", "bars", "--seeds", "2", "--steps", "1500", "--checks", "2", "--replicates", "2"];
        sets.iter().map(|s| s.to_string()).chain(["--out".to_string(), dir]).collect::<Vec<String>>()
    };
    let program = env!("CARGO_BIN_EXE_jarzynski");
    assert!(Command::new(program).args(args(&whole)).output().unwrap().status.success());
    let mut child = Command::new(program).args(args(&killed)).stdout(std::process::Stdio::null()).spawn().unwrap();
    // when the second of its methods is under way
    while !killed.join(".runs/bars-pcd-1-1/run.json").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it was to be killed before it ends");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!killed.join("manifest.json").exists());
    let text = stdout(&["show", killed.join(".runs/bars-jarzynski-0").to_str().unwrap()]);
    assert!(text.contains("jarzynski: finished") && text.contains("log_z_monitor"), "{text}");
    let e = refusal(&["show", killed.to_str().unwrap()]);
    assert!(e.contains("manifest.json"), "{e}");
    stdout(&["resume", killed.to_str().unwrap()]);
    assert!(!killed.join(".runs").exists());
    let timeless = |dir: &Path| {
        let df = jarzynski::io::frame::read(dir.join("likelihood.parquet")).unwrap();
        let names: Vec<String> = df.get_column_names().iter().map(|n| n.to_string()).collect();
        let kept = names.into_iter().filter(|n| n != "seconds");
        kept.map(|n| (n.clone(), jarzynski::io::frame::column_str(&df, &n).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(timeless(&killed), timeless(&whole));
    assert_eq!(std::fs::read(killed.join("gradient.csv")).unwrap(), std::fs::read(whole.join("gradient.csv")).unwrap());
    let text = stdout(&["show", killed.to_str().unwrap()]);
    assert!(text.contains("rbm-exact, seed 0") && text.contains("likelihood") && text.contains("log_lik"), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
}

#[test]
fn kept_runs_are_shown_and_compared_at_eighty_columns() {
    use jarzynski::{Method, Rng, Trainer, Ula, model::Mixture};
    let tmp = tempfile::tempdir().unwrap();
    let data = Mixture::new(&[vec![-2.0], vec![2.0]], &[0.3, 0.7]).unwrap().sample(100, &mut Rng::new(1));
    for (name, h) in [("small", 0.1), ("large", 2.5)] {
        let mut model = Mixture::new(&[vec![-1.0], vec![1.0]], &[0.5, 0.5]).unwrap();
        let trainer = Trainer::new(Ula::new(h), Method::Jarzynski { ess_min: 0.5 }).walkers(200).steps(30).lr(0.05);
        trainer.quiet().checkpointing(tmp.path().join(name)).train(&mut model, &data).unwrap();
    }
    let dir = |name: &str| tmp.path().join(name).to_str().unwrap().to_string();
    let text = stdout(&["show", &dir("large")]);
    assert!(text.contains("warning, step: ULA's step is above its bound") && text.contains('█'), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    // no colours into a file or a pipe
    assert!(!text.contains('\u{1b}'));
    let text = stdout(&["compare", &dir("small"), &dir("large"), "--out", &dir("both"), "--columns", "ess,log_z"]);
    assert!(text.contains("small") && text.contains("large") && text.contains("log_z"), "{text}");
    let table = jarzynski::io::frame::read(tmp.path().join("both/compare.parquet")).unwrap();
    assert_eq!(jarzynski::io::frame::column_str(&table, "run").unwrap(), ["small", "large"]);
    assert_eq!(tmp.path().join("both/compare.svg").exists(), cfg!(feature = "plot"));
    let e = refusal(&["compare", &dir("small"), &dir("large"), "--columns", "nope", "--out", &dir("both")]);
    assert!(e.contains("nope"), "{e}");
}
