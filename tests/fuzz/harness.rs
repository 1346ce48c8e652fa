//! Call a reader with damaged bytes and watch its time, its memory and its panics.
#![allow(dead_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, Once};
use std::time::{Duration, Instant};

use jarzynski::{Result, Rng};

/// The largest single request for memory since a reader was called. What libtorch and the standard library ask for by
/// themselves is not seen here, but in the memory of the whole process.
static LARGEST: AtomicUsize = AtomicUsize::new(0);

struct Watching;

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), SeqCst);
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), SeqCst);
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, SeqCst);
        unsafe { System.realloc(at, layout, size) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

static QUIET: AtomicBool = AtomicBool::new(false);

/// The most memory that the process has held so far, in bytes, where the system says.
pub fn most_resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<usize>().ok()).map_or(0, |kb| kb << 10)
}

/// A test by itself; at its end, the process must not have grown by much.
pub struct Alone {
    _turn: MutexGuard<'static, ()>,
    pub resident: usize,
}

impl Drop for Alone {
    fn drop(&mut self) {
        // the system counts in batches: its peak may be told as less than before
        let grown = most_resident().saturating_sub(self.resident);
        assert!(std::thread::panicking() || grown < 256 << 20, "{grown} bytes more than at the start");
    }
}

/// One test at a time, since they share what is measured.
pub fn alone() -> Alone {
    static ONE: Mutex<()> = Mutex::new(());
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.load(SeqCst) {
                before(info);
            }
        }));
    });
    let turn = ONE.lock().unwrap_or_else(|e| e.into_inner());
    Alone { _turn: turn, resident: most_resident() }
}

const SLOW: Duration = Duration::from_secs(10);

/// Calls a reader of files of `size` bytes that hold `input`; what it read, unless it refused.
pub fn probe<T>(what: &str, input: &[u8], size: usize, read: impl FnOnce() -> Result<T>) -> Option<T> {
    LARGEST.store(0, SeqCst);
    QUIET.store(true, SeqCst);
    let started = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(read));
    QUIET.store(false, SeqCst);
    let (elapsed, largest) = (started.elapsed(), LARGEST.load(SeqCst));
    let shown = String::from_utf8_lossy(&input[..input.len().min(3_000)]);
    assert!(elapsed < SLOW, "{what} took {elapsed:?} for {shown:?}");
    assert!(largest <= 64 * size + (16 << 20), "{what} took {largest} bytes for a file of {size}: {shown:?}");
    match result {
        Ok(result) => result.ok(),
        Err(_) => panic!("{what} panicked on {} bytes: {shown:?}\n{input:?}", input.len()),
    }
}

pub fn below(rng: &mut Rng, n: usize) -> usize {
    (rng.seed() % n.max(1) as u64) as usize
}

pub fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[below(rng, of.len())]
}

pub fn noise(rng: &mut Rng, n: usize) -> Vec<u8> {
    (0..n.div_ceil(8)).flat_map(|_| rng.seed().to_le_bytes()).take(n).collect()
}

/// A valid file with one kind of damage: flipped, replaced, lost, repeated or foreign bytes.
pub fn damage(rng: &mut Rng, valid: &[u8]) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    let (at, length) = (below(rng, bytes.len()), 1 + below(rng, 16));
    let end = (at + length).min(bytes.len());
    match below(rng, 8) {
        0 => bytes[at] ^= 1 << below(rng, 8),
        1 => (0..length).for_each(|_| {
            let at = below(rng, bytes.len());
            bytes[at] ^= 1 << below(rng, 8);
        }),
        2 => bytes[at] = pick(rng, &[0, 1, 0x7f, 0x80, 0xff, b'9', b'-', b'e', b'"', b',', b'\n', b'[', b'{', b'}']),
        3 => bytes[at..end].iter_mut().for_each(|b| *b = 0xff),
        4 => drop(bytes.drain(at..end)),
        5 => drop(bytes.splice(at..at, noise(rng, length))),
        6 => drop(bytes.splice(at..at, valid[at..end].to_vec())),
        _ => {
            let from = below(rng, valid.len());
            let part = valid[from..(from + length).min(valid.len())].to_vec();
            bytes.splice(at..end, part);
        }
    }
    bytes
}

/// Every truncation of `valid`, `damaged` files made of it and `random` bytes behind some of its first ones.
pub fn inputs(seed: u64, valid: &[u8], damaged: usize, random: usize) -> impl Iterator<Item = Vec<u8>> {
    let (mut rng, mut other) = (Rng::new(seed).split(1), Rng::new(seed).split(2));
    let cut = (0..valid.len()).map(|n| valid[..n].to_vec());
    let bad = (0..damaged).map(move |_| damage(&mut rng, valid));
    let foreign = (0..random).map(move |_| {
        let (head, tail) = (below(&mut other, 12).min(valid.len()), below(&mut other, 200));
        [&valid[..head], &noise(&mut other, tail)].concat()
    });
    cut.chain(bad).chain(foreign)
}

pub fn put(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let mut file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap();
    file.write_all(bytes.as_ref()).unwrap();
    file.set_len(bytes.as_ref().len() as u64).unwrap();
}
