//! Let several processes, or threads, compute one thing together: ranks that gather what each has, in the order of the ranks.

use crate::error::{Error, Result};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The ranks that run one program together; this one is number [`rank`](World::rank) of [`size`](World::size).
///
/// All ranks call the same functions in the same order: a gathering waits until every rank has called it. What is computed from
/// gathered numbers is the same on all of them, to the last bit.
///
/// ```
/// use jarzynski::numeric::World;
/// # fn main() -> jarzynski::Result<()> {
/// let sums: Vec<f64> = std::thread::scope(|scope| {
///     let ranks = World::in_process(3).into_iter();
///     let ranks: Vec<_> = ranks.map(|w| scope.spawn(move || Ok(w.gather(&[w.rank() as f64])?.concat().iter().sum()))).collect();
///     ranks.into_iter().map(|r| r.join().unwrap()).collect::<jarzynski::Result<_>>()
/// })?;
/// assert_eq!(sums, [3.0; 3]);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct World {
    ranks: Arc<dyn Ranks>,
}

/// How bytes reach all ranks.
pub(crate) trait Ranks: Send + Sync {
    fn rank(&self) -> usize;
    fn size(&self) -> usize;
    /// What each rank passed, in their order.
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>>;
}

impl World {
    /// One rank.
    pub fn alone() -> Self {
        World { ranks: Arc::new(Alone) }
    }

    /// As many ranks as processes were started by `mpirun` (Open MPI); one where this process was started by itself. Needs the
    /// feature `mpi`.
    ///
    /// # Errors
    /// MPI that cannot be initialised, or that was finalised already: the last `World` of a process ends MPI there.
    #[cfg(feature = "mpi")]
    pub fn from_env() -> Result<Self> {
        Ok(World { ranks: super::mpi::ranks()? })
    }

    /// `n` ranks for as many threads of this process: what a program does on several ranks can be tested without MPI.
    ///
    /// A rank that is dropped while others wait for it makes them fail. Hold a [`Threads`](super::Threads) around all of them where
    /// they run on libtorch: its number of threads is that of the process.
    pub fn in_process(n: usize) -> Vec<Self> {
        let meeting = Arc::new(Meeting { size: n, state: Mutex::default(), changed: Condvar::new() });
        (0..n).map(|rank| World { ranks: Arc::new(Thread { rank, meeting: meeting.clone() }) }).collect()
    }

    /// The number of this rank, from 0.
    pub fn rank(&self) -> usize {
        self.ranks.rank()
    }

    /// How many ranks there are.
    pub fn size(&self) -> usize {
        self.ranks.size()
    }

    /// What each rank passes, in the order of the ranks, on all of them; lengths may differ.
    ///
    /// # Errors
    /// A rank that is gone.
    pub fn gather(&self, own: &[f64]) -> Result<Vec<Vec<f64>>> {
        let bytes: Vec<u8> = own.iter().flat_map(|v| v.to_le_bytes()).collect();
        let number = |b: &[u8]| f64::from_le_bytes(b.try_into().unwrap_or_default());
        Ok(self.ranks.gather(&bytes)?.iter().map(|b| b.chunks_exact(8).map(number).collect()).collect())
    }

    /// The same for text.
    ///
    /// # Errors
    /// A rank that is gone.
    pub fn gather_text(&self, own: &str) -> Result<Vec<String>> {
        Ok(self.ranks.gather(own.as_bytes())?.into_iter().map(|b| String::from_utf8_lossy(&b).into_owned()).collect())
    }

    /// Those of `n` things, in their order, that rank number `rank` has: equal shares, up to one.
    pub fn share(&self, rank: usize, n: usize) -> Range<usize> {
        rank * n / self.size()..(rank + 1) * n / self.size()
    }

    /// The value, or an error on all ranks where one of them has an error: a rank that ended by itself would leave the others
    /// waiting for it. For what can fail on one machine alone, such as reading a file.
    ///
    /// # Errors
    /// That of the first rank that has one.
    pub fn agree<T>(&self, own: Result<T>) -> Result<T> {
        let said = own.as_ref().err().map_or(String::new(), |e| format!("rank {}: {e}", self.rank()));
        let cause = self.gather_text(&said)?.into_iter().find(|text| !text.is_empty());
        match (own, cause) {
            (Ok(value), None) => Ok(value),
            (Err(e), _) if self.size() == 1 => Err(e),
            (_, cause) => Err(Error::param("run", cause.unwrap_or_default(), "no failure on any rank")),
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}

struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }
    fn size(&self) -> usize {
        1
    }
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![own.to_vec()])
    }
}

/// Where threads hand over what they have.
struct Meeting {
    size: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What has arrived of the present gathering.
    arrived: Vec<(usize, Vec<u8>)>,
    /// The result of the last one, and its number.
    complete: Arc<Vec<Vec<u8>>>,
    number: u64,
    /// Whether a rank is gone.
    broken: bool,
}

impl Meeting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Thread {
    rank: usize,
    meeting: Arc<Meeting>,
}

impl Ranks for Thread {
    fn rank(&self) -> usize {
        self.rank
    }
    fn size(&self) -> usize {
        self.meeting.size
    }
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut state = self.meeting.lock();
        let number = state.number;
        state.arrived.push((self.rank, own.to_vec()));
        if state.arrived.len() == self.meeting.size {
            state.arrived.sort_by_key(|(rank, _)| *rank);
            state.complete = Arc::new(std::mem::take(&mut state.arrived).into_iter().map(|(_, bytes)| bytes).collect());
            state.number += 1;
            self.meeting.changed.notify_all();
        }
        while state.number == number {
            if state.broken {
                return Err(Error::param("ranks", "one is gone", format!("{} until the end", self.meeting.size)));
            }
            state = self.meeting.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // nobody can complete the next one before this rank has arrived there
        let complete = state.complete.clone();
        drop(state);
        Ok(complete.to_vec())
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.meeting.lock().broken = true;
        self.meeting.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_gets_what_all_have_in_their_order() {
        for n in 1..5 {
            std::thread::scope(|scope| {
                for world in World::in_process(n) {
                    scope.spawn(move || {
                        for round in 0..50 {
                            let own = vec![round as f64; world.rank()];
                            let all = world.gather(&own).unwrap();
                            assert_eq!(all, (0..n).map(|r| vec![round as f64; r]).collect::<Vec<_>>());
                        }
                        let texts = world.gather_text(&format!("rank {}", world.rank())).unwrap();
                        assert_eq!(texts, (0..n).map(|r| format!("rank {r}")).collect::<Vec<_>>());
                        let shares: Vec<_> = (0..n).map(|r| world.share(r, 13)).collect();
                        assert_eq!(shares.iter().map(|s| s.len()).sum::<usize>(), 13);
                        assert!(shares.windows(2).all(|s| s[0].end == s[1].start));
                    });
                }
            });
        }
        assert_eq!(World::alone().gather(&[1.5, f64::NAN]).unwrap()[0][0], 1.5);
    }

    #[test]
    fn a_failure_on_one_rank_is_one_on_all_and_a_rank_that_is_gone_holds_nobody_up() {
        std::thread::scope(|scope| {
            for world in World::in_process(3) {
                scope.spawn(move || {
                    let own = if world.rank() == 1 { Err(Error::param("x", 7, "8")) } else { Ok(world.rank()) };
                    let e = world.agree(own).unwrap_err().to_string();
                    assert!(e.contains("rank 1: x = 7: expected 8"), "{e}");
                    assert_eq!(world.agree(Ok(3)).unwrap(), 3);
                    if world.rank() > 0 {
                        assert!(world.gather(&[]).unwrap_err().to_string().contains("one is gone"));
                    }
                });
            }
        });
    }
}
