//! Replay each beginning of the file operations of a checkpointed run as a loss of power would leave it, and go on from there.
//!
//! What a disk may hold then: of the names changed since the folder was last synced any, and of a file that was not synced its
//! old content, its new one, a part of it, or zeros. A run that goes on from any such folder must end with the bits of one that
//! was never interrupted, and must not go back behind the last checkpoint that was written before the power went.

use crate::error::Result;
use crate::io::Checkpoint;
use crate::io::disk::journal::{self, Op};
use crate::numeric::Rng;
use crate::run::{Checkpointing, Driver, Health, Outcome, Pace, Parts, Procedure, Recorder, Row, Tally};
use crate::walkers::Walkers;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// x ← 0.9 x + ξ with ξ from a generator: its end depends on every step and on the whole state.
#[derive(Debug)]
struct Decay {
    x: Tensor,
    rng: Rng,
    none: Walkers,
}

const STEPS: usize = 6;

impl Procedure<()> for Decay {
    fn name(&self) -> &'static str {
        "decay"
    }
    fn steps(&self) -> usize {
        STEPS
    }
    fn schedule(&self) -> Pace {
        Pace { every: 1, seed: 1, threads: 1, progress: 0.0, device: Device::Cpu }
    }
    fn config(&self) -> Value {
        "decay".into()
    }
    fn identity(&self, _on: &()) -> Result<Value> {
        Ok(Procedure::<()>::config(self))
    }
    fn weighted(&self) -> bool {
        false
    }
    fn begin(&mut self, _on: &(), _tally: &mut Tally) -> Result<()> {
        Ok(())
    }
    fn measure(&mut self, _on: &(), _k: usize, _last: bool, _tally: &mut Tally) -> Result<Health> {
        Ok(Health::Fine)
    }
    fn row(&mut self, _on: &(), _k: usize, _spent: &Tally, row: &mut Row) -> Result<()> {
        row.put("x", self.x.double_value(&[0]));
        Ok(())
    }
    fn step(&mut self, _on: &(), _k: usize, _tally: &mut Tally) -> Result<Health> {
        self.x = &self.x * 0.9 + self.rng.normal(&[40], Kind::Double, Device::Cpu);
        Ok(Health::Fine)
    }
    fn save(&self, _on: &(), to: &mut Checkpoint) -> Result<()> {
        to.put("x", &self.x);
        to.put_json("rng", &self.rng)
    }
    fn load(&mut self, _on: &(), _k: usize, from: &Checkpoint) -> Result<()> {
        self.x = from.get("x")?;
        self.rng = from.json("rng")?;
        Ok(())
    }
    fn walkers(&self) -> &Walkers {
        &self.none
    }
    fn details(&self, _k: usize, _rows: &Recorder) -> String {
        String::new()
    }
    fn finish(self: Box<Self>, _on: &(), _outcome: &Outcome) -> Result<Parts> {
        Ok(Parts { walkers: self.none, monitor: None })
    }
}

/// Begins or goes on, with a checkpoint every second step: where it began, and its rows in bits.
fn live(dir: &Path) -> Result<(usize, Vec<u64>)> {
    let decay = Decay { x: Tensor::zeros([40], (Kind::Double, Device::Cpu)), rng: Rng::new(5), none: Walkers::none() };
    let keep = Checkpointing::resume_or_start(dir).every_steps(2);
    let mut driver = Driver::<()>::open(Box::new(decay), (), Some(&keep))?;
    let from = driver.at();
    while let Some(view) = driver.step()? {
        if view.step.is_multiple_of(2) {
            journal::record(|| Op::Mark(view.step));
        }
    }
    let (run, ()) = driver.finish()?;
    assert!(run.finished(), "{:?}", run.outcome);
    Ok((from, run.column("x")?.iter().map(|v| v.to_bits()).collect()))
}

/// A file system after some operations: what programs see, and what is known to be on the disk.
#[derive(Debug, Default)]
struct Disk {
    /// Content on the disk, and content as programs see it.
    files: Vec<(Vec<u8>, Vec<u8>)>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since the folder was synced: a name that goes, a name that comes, and its file.
    pending: Vec<(Option<PathBuf>, PathBuf, usize)>,
}

impl Disk {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Create(path, content) => {
                self.files.push((Vec::new(), content.clone()));
                self.rename(None, path, self.files.len() - 1);
            }
            Op::Append(path, text) => self.files[self.names[path]].1.extend(text),
            Op::Sync(path) => {
                let (disk, seen) = &mut self.files[self.names[path]];
                *disk = seen.clone();
            }
            Op::Rename(from, to) => self.rename(Some(from), to, self.names[from]),
            Op::SyncFolder(_) => {
                self.synced_names = self.names.clone();
                self.pending.clear();
            }
            Op::Mark(_) => {}
        }
    }

    fn rename(&mut self, from: Option<&PathBuf>, to: &Path, file: usize) {
        from.map(|from| self.names.remove(from));
        self.names.insert(to.into(), file);
        self.pending.push((from.cloned(), to.into(), file));
    }

    /// All that may be found after the power went: file names without folders, and contents.
    fn after_power_loss(&self) -> BTreeSet<BTreeMap<PathBuf, Vec<u8>>> {
        let mut all = BTreeSet::new();
        for chosen in 0..1u32 << self.pending.len() {
            let mut names = self.synced_names.clone();
            for (i, (gone, come, file)) in self.pending.iter().enumerate() {
                if chosen >> i & 1 == 1 {
                    gone.as_ref().map(|gone| names.remove(gone));
                    names.insert(come.clone(), *file);
                }
            }
            for fate in 0..4 {
                let content = |file: usize| {
                    let (disk, seen) = &self.files[file];
                    let kept = disk.len().min(seen.len());
                    match fate {
                        0 => disk.clone(),
                        1 => seen.clone(),
                        2 => seen[..kept + (seen.len() - kept) / 2].to_vec(),
                        _ => [&seen[..kept], &vec![0; seen.len() - kept]].concat(),
                    }
                };
                let name = |path: &PathBuf| PathBuf::from(path.file_name().unwrap_or_default());
                all.insert(names.iter().map(|(path, file)| (name(path), content(*file))).collect());
            }
        }
        all
    }
}

/// In memory, where there is such a place: syncing is what is simulated here.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Replays all beginnings of `log` from its operation `first` on: how many folders were tried, or what went wrong with one.
fn replay(log: &[Op], first: usize, expected: &[u64]) -> std::result::Result<usize, String> {
    let (mut disk, mut written, mut tried, mut seen) = (Disk::default(), None, 0, BTreeSet::new());
    for (at, op) in log.iter().enumerate() {
        disk.apply(op);
        if let Op::Mark(step) = op {
            written = Some(*step);
        }
        if at < first {
            continue;
        }
        for files in disk.after_power_loss() {
            if !seen.insert((written, files.clone())) {
                continue;
            }
            let dir = folder();
            for (name, content) in &files {
                std::fs::write(dir.path().join(name), content).unwrap();
            }
            tried += 1;
            let place = || format!("after operation {at} of {}, {op:?}", log.len());
            let (from, rows) = live(dir.path()).map_err(|e| format!("{e} {}", place()))?;
            if from < written.unwrap_or(0) {
                return Err(format!("back to step {from} although {written:?} was written {}", place()));
            }
            if rows != expected {
                return Err(format!("other rows, from step {from} {}", place()));
            }
        }
    }
    Ok(tried)
}

#[test]
fn a_loss_of_power_at_any_moment_costs_no_checkpoint_and_no_bit() {
    let dir = folder();
    let (whole, log) = journal::recorded(|| live(dir.path()));
    let (_, rows) = whole.unwrap();
    let count = |kind: fn(&Op) -> bool| log.iter().filter(|op| kind(op)).count();
    assert_eq!(count(|op| matches!(op, Op::Mark(_))), 4);
    assert!(count(|op| matches!(op, Op::Append(..))) >= 3, "{log:?}");
    let tried = replay(&log, 0, &rows).unwrap();
    assert!(tried > log.len(), "{tried} folders");
    println!("{} operations, {tried} folders", log.len());
}

#[test]
fn a_loss_of_power_while_a_damaged_checkpoint_is_replaced_costs_nothing_either() {
    let dir = folder();
    let (whole, log) = journal::recorded(|| live(dir.path()));
    let (_, rows) = whole.unwrap();
    let end = log.iter().position(|op| *op == Op::Mark(4)).unwrap();
    let mut disk = Disk::default();
    log[..end].iter().for_each(|op| disk.apply(op));
    let again = folder();
    for (path, file) in &disk.names {
        let mut content = disk.files[*file].1.clone();
        if path.ends_with(super::found::NEWEST) {
            content.truncate(100);
        }
        std::fs::write(again.path().join(path.file_name().unwrap()), content).unwrap();
    }
    let start: Vec<Op> = std::fs::read_dir(again.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name != super::LOCK))
        .flat_map(|path| [Op::Create(path.clone(), std::fs::read(&path).unwrap()), Op::Sync(path)])
        .chain([Op::SyncFolder(again.path().into()), Op::Mark(2)])
        .collect();
    let setup = start.len();
    let (resumed, log) = journal::recorded(|| live(again.path()));
    assert_eq!(resumed.unwrap(), (2, rows.clone()));
    let whole: Vec<Op> = start.into_iter().chain(log).collect();
    replay(&whole, setup, &rows).unwrap();
}

#[test]
fn without_one_of_its_syncs_a_loss_of_power_is_noticed() {
    let dir = folder();
    let (whole, log) = journal::recorded(|| live(dir.path()));
    let (_, rows) = whole.unwrap();
    let rows_file = |path: &Path| path.file_name().is_some_and(|name| name == "stats.csv");
    let without = |drop: &dyn Fn(&Op) -> bool| {
        let log: Vec<Op> = log.iter().filter(|op| !drop(op)).cloned().collect();
        replay(&log, 0, &rows)
    };
    assert!(without(&|op| matches!(op, Op::Mark(7))).is_ok(), "nothing dropped");
    let files = without(&|op| matches!(op, Op::Sync(path) if !rows_file(path)));
    let folders = without(&|op| matches!(op, Op::SyncFolder(_)));
    let appended = without(&|op| matches!(op, Op::Sync(path) if rows_file(path)));
    for (what, outcome) in [("files", files), ("folders", folders), ("rows", appended)] {
        println!("{what}: {outcome:?}");
        assert!(outcome.is_err(), "{what}");
    }
}
