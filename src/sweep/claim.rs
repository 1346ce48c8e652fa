//! Take a folder for one of several processes that share a file system, and say when a claim of a killed process is void.

use crate::error::{Error, Result};
use crate::io::write_atomic;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A folder that this process alone works in, among all processes and machines that see the same files.
///
/// Claims are the files `claim-0.json`, `claim-1.json`, … in the folder. Number g + 1 is created, with the flag that lets exactly one
/// creator succeed, only where number g is free, and none is ever removed: two processes cannot hold the folder by one number. A
/// claim is free where
///
/// - it was given back: its holder dropped it;
/// - its process was on this machine and is no more (Linux: process number, start time, boot and namespace are compared);
/// - it has not been renewed for the time `stale`. Its holder renews it every sixth of that time; times are those that the file
///   system gives to files, so that the clocks of machines need not agree.
///
/// A process that stands still for longer than `stale` and then continues has lost its claim: [`is_lost`](Claim::is_lost).
///
/// ```
/// use jarzynski::sweep::Claim;
/// # fn main() -> jarzynski::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// let dir = folder.path().join("member");
/// let claim = Claim::take(&dir, Claim::STALE)?.expect("nobody has it");
/// assert!(Claim::take(&dir, Claim::STALE)?.is_none());
/// drop(claim);
/// assert!(Claim::take(&dir, Claim::STALE)?.is_some());
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "the folder is given back when this is dropped"]
pub struct Claim {
    dir: PathBuf,
    number: u64,
    renewal: Option<(Sender<()>, JoinHandle<()>)>,
}

/// What a claim's file says.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Note {
    /// `held` or `free`.
    state: String,
    /// Whose it is, on Linux: boot, namespace of processes, process, start time.
    process: Option<String>,
}

impl Claim {
    /// The usual time after which a claim that is not renewed is void: five minutes, longer than a network file system keeps
    /// what it knows of a file.
    pub const STALE: Duration = Duration::from_secs(300);

    /// Claims `dir`, which is made where it is missing; `None` where another process has it.
    ///
    /// # Errors
    /// `Param` where `stale` is 0, `Io` with the path.
    pub fn take(dir: impl AsRef<Path>, stale: Duration) -> Result<Option<Claim>> {
        let dir = dir.as_ref();
        if stale.is_zero() {
            return Err(Error::param("stale", "0 s", "a time above 0, longer than any process stands still"));
        }
        std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        let newest = newest(dir)?;
        if let Some(number) = newest
            && !is_free(dir, number, stale)?
        {
            return Ok(None);
        }
        let number = newest.map_or(0, |n| n + 1);
        let path = file(dir, number);
        let mut claim = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            // another process was faster
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(None),
            Err(e) => return Err(Error::io(path, e)),
        };
        let note = Note { state: "held".into(), process: process::this() };
        let text = serde_json::to_string(&note).unwrap_or_default();
        renew(&mut claim, &text).map_err(|e| Error::io(&path, e))?;
        let (stop, stopped) = channel();
        let renewal = std::thread::spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(stale / 6) {
                // where the file system does not answer now, it may at the next time
                let _ = renew(&mut claim, &text);
            }
        });
        Ok(Some(Claim { dir: dir.into(), number, renewal: Some((stop, renewal)) }))
    }

    /// Whether another process has taken the folder since, because this one had not renewed its claim in time.
    ///
    /// # Errors
    /// `Io` with the path.
    pub fn is_lost(&self) -> Result<bool> {
        Ok(newest(&self.dir)?.is_none_or(|n| n != self.number))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((stop, renewal)) = self.renewal.take() {
            drop(stop);
            let _ = renewal.join();
        }
        let path = file(&self.dir, self.number);
        // where it cannot be written it becomes stale
        let _ = write_atomic(&path, |out| {
            let note = Note { state: "free".into(), process: None };
            serde_json::to_writer(out, &note).map_err(|e| Error::io(&path, e.into()))
        });
    }
}

fn file(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("claim-{number}.json"))
}

/// Writes the same text again, which gives the file the present time of its file system.
fn renew(file: &mut File, text: &str) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

/// The largest number of a claim in a folder.
fn newest(dir: &Path) -> Result<Option<u64>> {
    let failed = |e| Error::io(dir, e);
    let mut newest = None;
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix("claim-")?.strip_suffix(".json")?.parse().ok());
        newest = newest.max(number);
    }
    Ok(newest)
}

fn is_free(dir: &Path, number: u64, stale: Duration) -> Result<bool> {
    let path = file(dir, number);
    let failed = |e| Error::io(&path, e);
    // of a process that was killed while it wrote, only the time is known
    let note: Note = serde_json::from_slice(&std::fs::read(&path).map_err(failed)?).unwrap_or_default();
    if note.state == "free" || note.process.as_deref().is_some_and(process::is_gone) {
        return Ok(true);
    }
    let renewed = std::fs::metadata(&path).and_then(|m| m.modified()).map_err(failed)?;
    let mut probe = tempfile::Builder::new().prefix(".clock-").tempfile_in(dir).map_err(failed)?;
    probe.write_all(b"0").map_err(failed)?;
    let now = probe.as_file().metadata().and_then(|m| m.modified()).map_err(failed)?;
    Ok(now.duration_since(renewed).is_ok_and(|age| age > stale))
}

/// Tells a process of this machine from any other, and whether it still runs. Elsewhere than on Linux nothing is known.
mod process {
    /// Boot, namespace of processes, process, start time.
    pub fn this() -> Option<String> {
        let pid = std::process::id();
        Some(format!("{} {pid} {}", machine()?, start_time(pid)?))
    }

    /// Whether the process was one of this machine and has ended.
    pub fn is_gone(told: &str) -> bool {
        let Some(machine) = machine() else { return false };
        let Some(rest) = told.strip_prefix(&machine) else { return false };
        let mut numbers = rest.split_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(pid)), Some(Ok(start))) => u32::try_from(pid).is_ok_and(|pid| start_time(pid) != Some(start)),
            _ => false,
        }
    }

    fn machine() -> Option<String> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
        Some(format!("{} {}", boot.trim(), namespace.display()))
    }

    /// Clock ticks from the boot to the start of a process that runs.
    fn start_time(pid: u32) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // the name before the bracket may hold anything
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // Z, X: it has ended and its parent has not asked for its status
        if matches!(fields.first(), Some(&"Z" | &"X")) {
            return None;
        }
        fields.get(19)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(dir: &Path) -> Option<u64> {
        newest(dir).unwrap()
    }

    #[test]
    fn one_of_many_takes_a_folder_and_the_next_one_after_it() {
        let tmp = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let taken: Vec<Option<Claim>> = std::thread::scope(|scope| {
                let all: Vec<_> =
                    (0..8).map(|_| scope.spawn(|| Claim::take(tmp.path(), Claim::STALE).unwrap())).collect();
                all.into_iter().map(|t| t.join().unwrap()).collect()
            });
            assert_eq!(taken.iter().flatten().count(), 1, "round {round}");
            assert!(taken.iter().flatten().all(|c| !c.is_lost().unwrap()));
        }
        assert_eq!(claims(tmp.path()), Some(19));
    }

    #[test]
    fn only_a_claim_that_is_void_is_taken_over() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path();
        let write = |number: u64, text: &str| std::fs::write(file(dir, number), text).unwrap();
        let note = |process: &str| serde_json::to_string(&Note { state: "held".into(), process: Some(process.into()) });
        let own = process::this().unwrap();
        let (machine, start) = own.rsplit_once(' ').unwrap();
        // this very process; one of another machine; one of which nothing is known: held until they are stale
        for text in [note(&own).unwrap(), note("elsewhere pid:[1] 1 1").unwrap(), String::new()] {
            write(0, &text);
            assert!(Claim::take(dir, Claim::STALE).unwrap().is_none(), "{text}");
        }
        // its number was given to another process
        write(0, &note(&format!("{machine} {}", start.parse::<u64>().unwrap() + 1)).unwrap());
        drop(Claim::take(dir, Claim::STALE).unwrap().unwrap());
        write(2, &note("elsewhere pid:[1] 1 1").unwrap());
        let short = Duration::from_millis(200);
        assert!(Claim::take(dir, Duration::from_secs(60)).unwrap().is_none());
        std::thread::sleep(2 * short);
        let own = Claim::take(dir, short).unwrap().unwrap();
        // it is renewed, however long it takes
        std::thread::sleep(3 * short);
        assert!(Claim::take(dir, short).unwrap().is_none() && !own.is_lost().unwrap());
        write(own.number + 1, "");
        assert!(own.is_lost().unwrap());
        assert!(Claim::take(dir, Duration::ZERO).unwrap_err().to_string().contains("stale = 0 s"));
    }
}
