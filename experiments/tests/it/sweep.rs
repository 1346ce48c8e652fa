//! Hold a sweep by several processes, one of them killed, to the same sweep by one process.

use jarzynski::io::frame;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const SWEEP: &str = "experiment = \"rbm-exact\"\nsize = \"small\"\nseeds = 2\n\
    [config]\nsets = [\"bars\"]\nchecks = 2\nreplicates = 2\n[grid]\nsteps = [300, 400]\n";

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jarzynski"));
    command.args(args);
    command
}

fn told(out: Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn refused(args: &[&str]) -> String {
    let out = command(args).output().unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    // one line, and a hint where there is one
    let said = text.lines().filter(|l| !l.starts_with("hint: ")).count();
    assert!(out.status.code() == Some(1) && said == 1, "{args:?}: {text}");
    text
}

/// A sweep of that text, planned in so many shards.
fn planned(tmp: &Path, name: &str, text: &str, shards: &str) -> PathBuf {
    let (file, dir) = (tmp.join("sweep.toml"), tmp.join(name));
    std::fs::write(&file, text).unwrap();
    told(command(&["sweep", "plan", path(&file), "--shards", shards, "--out", path(&dir)]).output().unwrap());
    dir
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn shard(dir: &Path, number: &str) -> Child {
    command(&["sweep", "run", path(dir), "--shard", number])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Columns by name.
type Columns = Vec<(String, Vec<String>)>;

/// All collected tables but for what is measured in seconds.
fn collected(dir: &Path) -> Vec<(String, Columns)> {
    let names = ["members", "likelihood", "gradient", "summary"];
    let of = |table: &&str| {
        let df = frame::read(dir.join("collected").join(format!("{table}.parquet"))).unwrap();
        let columns: Vec<String> = df.get_column_names().iter().map(|n| n.to_string()).collect();
        let kept = columns.into_iter().filter(|c| c != "seconds");
        (table.to_string(), kept.map(|c| (c.clone(), frame::column_str(&df, &c).unwrap())).collect())
    };
    names.iter().map(of).collect()
}

fn members(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir.join("members")).unwrap().map(|e| e.unwrap().path()).collect()
}

#[test]
fn several_processes_and_a_killed_one_leave_the_tables_of_one() {
    let tmp = tempfile::tempdir().unwrap();
    let one = planned(tmp.path(), "one", SWEEP, "1");
    told(shard(&one, "0").wait_with_output().unwrap());
    told(command(&["sweep", "collect", path(&one)]).output().unwrap());

    let many = planned(tmp.path(), "many", SWEEP, "3");
    let mut child = shard(&many, "1");
    // in the second of its trainings
    let pcd = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("bars-pcd");
    let second = |m: &PathBuf| m.join(".runs").read_dir().is_ok_and(|d| d.flatten().any(pcd));
    let under_way = || members(&many).into_iter().find(second);
    let killed = loop {
        assert!(child.try_wait().unwrap().is_none(), "it was to be killed before it ends");
        if let Some(member) = under_way() {
            break member;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(killed.join("claim-0.json").exists() && !killed.join("member.json").exists());
    let e = refused(&["sweep", "collect", path(&many)]);
    assert!(e.contains("members = 0 of 4 that have ended"), "{e}");

    let at_once: Vec<Child> = ["0", "1", "2"].iter().map(|i| shard(&many, i)).collect();
    let said: String = at_once.into_iter().map(|c| told(c.wait_with_output().unwrap())).collect();
    for member in members(&many) {
        let name = member.file_name().unwrap().to_str().unwrap().to_string();
        let lines = said.lines().filter(|l| l.contains(&name)).collect::<Vec<_>>();
        assert!(lines.len() == 1 && lines[0].contains(" finished"), "{name} once: {said}");
        // the claim of the killed process was taken over; no other was
        assert_eq!(member.join("claim-1.json").exists(), member == killed, "{name}: {said}");
        assert!(!member.join(".runs").exists());
    }
    told(command(&["sweep", "collect", path(&many)]).output().unwrap());
    let (a, b) = (collected(&one), collected(&many));
    assert!(a[0].1[0].1.len() == 4 && a[1].1[0].1.len() > 4 * 2, "{a:?}");
    assert_eq!(a[1].1[0], ("steps".to_string(), b[1].1[0].1.clone()));
    assert_eq!(a, b);
    // nothing is left to do, and what is there stays
    let again = told(shard(&many, "2").wait_with_output().unwrap());
    assert!(again.contains("computed 0 members"), "{again}");
}

#[test]
fn a_larger_sweep_computes_what_is_new_and_a_failing_member_is_a_row() {
    let tmp = tempfile::tempdir().unwrap();
    let text = |more: &str| format!("experiment = \"ula-bias\"\nsize = \"small\"\n{more}");
    let run = |dir: &Path| told(shard(dir, "0").wait_with_output().unwrap());
    let few = "seeds = [3]\n[config]\nwalkers = 400\n[grid]\nh = [0.1]\n";
    let dir = planned(tmp.path(), "out", &text(few), "2");
    assert!(run(&dir).contains("computed 1 members, 0 of them failed; none is left"));
    // refused by the experiment itself, not by the type of the setting
    let more = "seeds = [3, 4]\n[config]\nwalkers = 400\n[grid]\nh = [0.1, -1.0]\n";
    planned(tmp.path(), "out", &text(more), "1");
    let said = run(&dir);
    assert!(said.contains("computed 3 members, 2 of them failed") && said.contains("h"), "{said}");
    told(command(&["sweep", "collect", path(&dir)]).output().unwrap());
    let all = frame::read(dir.join("collected/members.parquet")).unwrap();
    assert_eq!(frame::column_str(&all, "status").unwrap(), ["finished", "finished", "failed", "failed"]);
    assert_eq!(frame::column_f64(&all, "h").unwrap(), [0.1, 0.1, -1.0, -1.0]);
    assert_eq!(frame::column_f64(&all, "seed").unwrap(), [3.0, 4.0, 3.0, 4.0]);
    let causes = frame::column_str(&all, "cause").unwrap();
    assert!(causes[0].is_empty() && causes[2].contains("-1"), "{causes:?}");
    let moments = frame::read(dir.join("collected/moments.parquet")).unwrap();
    assert_eq!(frame::distinct(&moments, "seed").unwrap(), ["3", "4"]);
}

#[test]
fn a_plan_that_cannot_be_is_refused_before_anything_runs() {
    let tmp = tempfile::tempdir().unwrap();
    let (file, dir) = (tmp.path().join("sweep.toml"), tmp.path().join("out"));
    let head = "experiment = \"ula-bias\"\nseeds = 2\n";
    for (text, named) in [
        ("experiment = \"nope\"\nseeds = 2\n".to_string(), &["nope", "ula-bias"][..]),
        ("experiment = \"ula-bias\"\nseeds = []\n".into(), &["seeds = 0"]),
        ("experiment = \"ula-bias\"\n".into(), &["sweep.toml", "seeds"]),
        (format!("{head}sise = \"small\"\n"), &["sweep.toml: line 3", "sise"]),
        (format!("{head}[config]\nwlakers = 3\n"), &["wlakers", "expected `walkers`?"]),
        (format!("{head}[grid]\nwalkers = [10, \"many\"]\n"), &["walkers", "many"]),
        (format!("{head}[grid]\nwalkers = 10\n"), &["grid = walkers = 10", "list"]),
        (format!("{head}[grid]\nwalkers = [10, 10]\n"), &["twice"]),
        (format!("{head}[grid]\nseed = [1, 2]\n"), &["seed", "`seeds`"]),
    ] {
        std::fs::write(&file, &text).unwrap();
        let e = refused(&["sweep", "plan", path(&file), "--shards", "2", "--out", path(&dir)]);
        assert!(named.iter().all(|n| e.contains(n)), "{text}: {e}");
    }
    assert!(!dir.exists());
    std::fs::write(&file, head).unwrap();
    for (args, named) in [
        (&["plan", path(&file), "--out", path(&dir)][..], "--shards N"),
        (&["plan", path(&file), "--shards", "0", "--out", path(&dir)], "shards = 0"),
        (&["plan", path(&file), "--shards", "x", "--out", path(&dir)], "whole number"),
        (&["plan", path(&file), "--shards", "2", "--device", "gpu"], "device = gpu"),
        (&["run", path(&dir), "--shard", "0"], "`jarzynski sweep plan`"),
        (&["collect", path(&dir)], "`jarzynski sweep plan`"),
        (&["collect", path(&dir), "--walkers", "3"], "--walkers"),
        (&["mix", path(&dir)], "sweep plan FILE"),
    ] {
        let e = refused(&[&["sweep"], args].concat());
        assert!(e.contains(named), "{args:?}: {e}");
    }
    let dir = planned(tmp.path(), "fine", head, "2");
    for (args, named) in [
        (&["--shard", "2"][..], "shard = 2: expected below 2"),
        (&[], "--shard I"),
        (&["--shard", "0", "--lr", "1"], "--lr"),
    ] {
        let e = refused(&[&["sweep", "run", path(&dir)], args].concat());
        assert!(e.contains(named), "{args:?}: {e}");
    }
    let script = std::fs::read_to_string(dir.join("shards.slurm")).unwrap();
    assert!(script.starts_with("#!") && script.contains("--array=0-1") && script.contains(path(&dir)), "{script}");
    assert!(std::fs::read_to_string(dir.join("parallel.sh")).unwrap().contains("::: {0..1}"));
}
